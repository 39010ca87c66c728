"""The verdict on a chaos run: what became of every job, and whether what ran twice had to. Pure.

What is demanded, job by job:

1. An accepted job has exactly one end (with Postgres: its row is completed or failed; without: it ended in the ledger,
   or lies in the dead letters) and ran at least once; else it is *lost*. So does a task pushed by RPUSH, unless Redis
   lost it before a worker had taken it.
2. A row does not lie. `completed`: the ledger knows a run that came to its end. `failed`: its failures are used up, or
   its worker died too often. `cancelled` (an enqueue that was refused): it never ran, and was not accepted.
3. No two runs of a job have the same number, and (with Postgres) there are at most as many runs as its row counts:
   attempts + recoveries + interruptions + 1 if it is completed. Each run that was cut short was counted.
4. A run that follows one which did not fail is a *duplicate*. It is explained if something that we did to the worker of
   the run before it, while it had the job, makes it inevitable:
   - we killed that worker, or
   - we told it to end, and could then not say what had become of its jobs: a server was out of its reach, or
   - it stood still (stopped by us, or without a processor), or was cut off from Redis alone, for so long that its lease
     may have run out: half a term in one piece, in which short gaps count for nothing, or
   - Redis lost what it had.
   "While it had the job" is from a term before the run began (the fault that costs a lease begins earlier) until the
   next run, but not longer than SETTLE_SECONDS after the run's end, plus what outages of its servers lasted just then.
   A job that failed because its worker died too often wants such a cause for its last run as well.
5. A job that has a delay begins no earlier. Acts of a person explain more: a job that a person cancelled may end
   `cancelled`, though it ran; one that was deleted has no row; one that was retried runs again. After the answer to a
   cancellation or a deletion no run of the job begins, unless a person retried it since. Where the answer said that the
   job was claimed already, and for paused types and queues, a worker may need HEARD_SECONDS to hear of it, and longer
   while it is kept from hearing.
6. An enqueue refused with `failed to enqueue task` did not run, unless (README.md) the server that could tell failed
   just then as well: with Postgres, Postgres, without it, Redis; or the producer itself stood still. Its row, if there
   is one, is cancelled. `failed to persist job` may have run; its row, if there is one, has an end as all others.
"""

from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct

from workqueue.services.chaos.history import History, Stretch, joined
from workqueue.services.chaos.ledger import Ledger, Run
from workqueue.services.chaos.limits import LimitSet, overruns
from workqueue.services.chaos.load import LONG_SECONDS, Told
from workqueue.services.chaos.person import BULK_TYPE, Act, Pause

SETTLE_SECONDS = 5.0
LEASE_SHARE = 0.5  #: of a term: what may cost a lease
GAP_SHARE = 0.25  #: of a term: no renewal fits into a shorter gap for certain
HEARD_SECONDS = 4.0  #: two looks of a worker that a message did not reach
RUN_SECONDS = LONG_SECONDS + 0.5  #: a run without an end may have lasted so long


class Row(Struct, frozen=True):
    """A job's row at the end."""

    n: int
    id: str
    state: str
    attempts: int
    recoveries: int
    interruptions: int
    retries: int
    error: str | None = None
    earlier_runs: int = 0  #: before the last retry by hand, and cancelled ones


class Kind(StrEnum):
    LOST = "lost"
    DUPLICATE = "duplicate that nothing explains"
    LIE = "not as it was told"
    OVERRUN = "more at once than a limit allows"


class Fault(Struct, frozen=True):
    """What is wrong with one job."""

    n: int
    kind: Kind
    text: str


class Evidence(Struct):
    """All that is known at the end of a run."""

    told: dict[int, Told]
    foreign: dict[int, Told]
    ledger: Ledger
    history: History
    term_seconds: float
    rows: dict[int, list[Row]] | None  #: None: without Postgres
    dead: dict[int, int] = {}  #: without Postgres: job -> how often it lies in the dead letters
    violations: list[str] = []  #: what concerns no single job
    acts: dict[int, list[Act]] = {}  #: what a person did to jobs
    pauses: list[Pause] = []
    retried_many: list[float] = []  #: when a person asked for all failed jobs of BULK_TYPE to be retried
    kinds: dict[int, frozenset[str]] = {}  #: by what each job may be paused: its type, its queue
    delays: dict[int, float] = {}  #: seconds, of the jobs that have one
    limits: list[LimitSet] = []
    scopes: dict[int, frozenset[str]] = {}  #: by what limits each job is counted
    acted: dict[str, int] = {}  #: act -> how often it was done


class Verdict(Struct):
    """The result."""

    faults: list[Fault] = []
    violations: list[str] = []
    runs: int = 0
    explained: dict[str, int] = {}  #: cause -> duplicates
    poisoned: int = 0  #: jobs that failed because their workers died too often
    foreign_lost: int = 0  #: tasks of an RPUSH that were lost with Redis before a worker had taken them

    def count(self, kind: Kind) -> int:
        return len({fault.n for fault in self.faults if fault.kind is kind})

    @property
    def is_good(self) -> bool:
        return not self.faults and not self.violations


def judge(evidence: Evidence) -> Verdict:
    """Judge every job that occurs in the evidence."""
    return _Judge(evidence).judge()


class _Judge:
    """Mutable state: the verdict as it grows."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._history = evidence.history
        self._term = evidence.term_seconds
        self._verdict = Verdict(violations=[*evidence.violations, *evidence.ledger.faults])

    def judge(self) -> Verdict:
        evidence = self._evidence
        runs = evidence.ledger.runs
        rows = evidence.rows or {}
        for n in sorted({*evidence.told, *evidence.foreign, *runs, *rows, *evidence.dead}):
            ran = runs.get(n, [])
            self._verdict.runs += len(ran)
            self._judge_runs(n, ran)
            self._judge_acts(n, ran)
            if evidence.rows is None:
                self._judge_in_redis(n, ran)
            else:
                self._judge_row(n, ran, rows.get(n, []))
        self._judge_limits()
        return self._verdict

    def _fault(self, n: int, kind: Kind, text: str) -> None:
        self._verdict.faults.append(Fault(n, kind, text))

    def _told(self, n: int) -> Told:
        return self._evidence.told.get(n) or self._evidence.foreign.get(n) or Told("unknown", "", 0.0, 0.0)

    # --- its end

    def _judge_row(self, n: int, ran: list[Run], rows: list[Row]) -> None:
        told = self._told(n)
        if len(rows) > 1:
            self._fault(n, Kind.LIE, f"it has {len(rows)} rows")
        cancelled = any(act.kind == "cancel" and act.may_have_happened for act in self._acts(n))
        if not rows and any(act.kind == "delete" and act.may_have_happened for act in self._acts(n)):
            return
        if not rows:
            if told.answer == "accepted" and not (n in self._evidence.foreign and self._lost_with_redis(told, ran)):
                self._fault(n, Kind.LOST, "it was accepted and has no row")
            elif ran:
                self._fault(n, Kind.LIE, "it ran and has no row")
            return
        row = rows[0]
        counted = row.attempts + row.recoveries + row.interruptions + row.earlier_runs + (row.state == "completed")
        if len(ran) > counted:
            self._fault(n, Kind.LIE, f"it ran {len(ran)} times, and its row counts {counted}")
        died = (row.error or "").startswith("its worker died")
        match row.state:
            case "pending" | "processing":
                self._fault(n, Kind.LOST, f"it is {row.state} at the end")
            case "cancelled":
                if told.answer == "accepted" and not cancelled:
                    self._fault(n, Kind.LOST, "it was accepted and is cancelled")
                if ran and not cancelled:
                    self._fault(n, Kind.LIE, "it is cancelled, and ran")
            case "completed":
                if not any(run.how == "end" for run in ran):
                    self._fault(n, Kind.LOST, "it is completed, and no run came to its end")
            case "failed" if died:
                self._judge_deaths(n, ran)
            case "failed":
                if not ran:
                    self._fault(n, Kind.LOST, "it failed and never ran")
                if row.attempts != row.retries + 1:
                    self._fault(n, Kind.LIE, f"it failed after {row.attempts} of {row.retries + 1} failures")
        if told.answer == "duplicate":
            self._fault(n, Kind.LIE, f"it was answered as a duplicate, and is {row.state}")
        if told.answer == "failed to enqueue task" and row.state != "cancelled" and not self._is_excused(told):
            self._fault(n, Kind.LIE, f"it was refused, and is {row.state}")

    def _judge_in_redis(self, n: int, ran: list[Run]) -> None:
        told = self._told(n)
        dead = self._evidence.dead.get(n, 0)
        ended = any(run.how == "end" for run in ran)
        if told.answer == "accepted" and not (ended or dead):
            self._fault(n, Kind.LOST, f"it was accepted and has no end; it ran {len(ran)} times")
        if told.answer == "failed to enqueue task" and (ran or dead) and not self._is_excused(told):
            self._fault(n, Kind.LIE, "it was refused, and ran")
        if told.answer == "duplicate" and (ran or dead):
            self._fault(n, Kind.LIE, "it was answered as a duplicate, and ran")
        if dead > 1:
            self._fault(n, Kind.LIE, f"it lies in the dead letters {dead} times")
        if dead and ended and len(ran) == 1:
            self._fault(n, Kind.LIE, "it ended, and lies in the dead letters")
        elif dead and not any(run.how == "fail" for run in ran):
            self._judge_deaths(n, ran)

    def _lost_with_redis(self, told: Told, ran: list[Run]) -> bool:
        lost = not ran and any(at >= told.sent for at in self._history.losses)
        self._verdict.foreign_lost += lost
        return lost

    def _is_excused(self, told: Told) -> bool:
        """Refused, and it could not be taken back: the other server failed, or the producer stood still."""
        server = "Redis" if self._evidence.rows is None else "Postgres"
        pids = {life.pid for life in self._history.lives if life.name == told.producer}
        stretches: list[Stretch] = [
            *self._troubles(told.producer, server),
            *(stop for stop in self._history.stops if stop.pid in pids),
        ]
        return any(stretch.touches(told.sent, told.answered) for stretch in stretches)

    # --- acts of a person

    def _acts(self, n: int) -> list[Act]:
        return self._evidence.acts.get(n, [])

    def _judge_acts(self, n: int, ran: list[Run]) -> None:
        acts = self._acts(n)
        for act in acts:
            if not act.happened or act.kind not in {"cancel", "delete"}:
                continue
            again = min((each.sent for each in acts if self._retries(each) and each.sent > act.sent), default=None)
            for run in ran:
                if run.begun <= act.answered or (again is not None and run.begun >= again):
                    continue
                if act.was == "processing" and (
                    run.begun < act.answered + HEARD_SECONDS or self._is_kept_from_hearing(run)
                ):
                    continue  # it was claimed and had not started: its worker is told, or looks at the row
                self._fault(n, Kind.LIE, f"run {run.number} began after it was answered {act.status} to {act.kind}")
        for run in ran:
            if self._is_paused(n, run) and not self._is_kept_from_hearing(run):
                self._fault(n, Kind.LIE, f"run {run.number} began while its type or queue was paused")
        delay = self._evidence.delays.get(n)
        if delay is not None and ran and not acts and ran[0].begun < self._told(n).sent + delay:
            self._fault(n, Kind.LIE, f"it has a delay of {delay} s, and began before")

    @staticmethod
    def _retries(act: Act) -> bool:
        return act.kind == "retry" and act.may_have_happened

    def _is_paused(self, n: int, run: Run) -> bool:
        kinds = self._evidence.kinds.get(n, frozenset())
        return any(
            pause.what in kinds and pause.begun + HEARD_SECONDS < run.begun < pause.ended
            for pause in self._evidence.pauses
        )

    def _is_kept_from_hearing(self, run: Run) -> bool:
        """Something kept its worker from messages and looks just before it began."""
        life = self._history.life(run.pid, run.begun)
        stretches = [*self._stillness(run.pid)]
        if life is not None:
            stretches += [*self._troubles(life.name, "Redis"), *self._troubles(life.name, "Postgres")]
        return any(stretch.touches(run.begun - 2 * HEARD_SECONDS, run.begun) for stretch in stretches)

    # --- limits

    def _judge_limits(self) -> None:
        runs = [run for ran in self._evidence.ledger.runs.values() for run in ran]
        for limit in self._evidence.limits:
            for run in overruns(limit, self._evidence.scopes, runs, self._counts_no_more, grace_seconds=HEARD_SECONDS):
                text = f"run {run.number} began at {run.begun:.3f}, when {limit.running} of {limit.scope} went on"
                self._fault(run.n, Kind.OVERRUN, text)

    def _counts_no_more(self, run: Run, at: float) -> bool:
        """Was its worker taken for dead, or did Redis lose what it had counted, perhaps before the run began?"""
        since = self._claimed_since(run)
        return any(since <= loss <= run.begun for loss in self._history.losses) or self._cause(run, at) is not None

    def _claimed_since(self, run: Run) -> float:
        """Since when its worker may have had the permit: outages hold up a claim after Redis's part of it."""
        life = self._history.life(run.pid, run.begun)
        name = life.name if life is not None else ""
        held_up = [*self._stillness(run.pid), *self._troubles(name, "Redis"), *self._troubles(name, "Postgres")]
        since = run.begun - SETTLE_SECONDS
        for stretch in reversed(joined(stretch for stretch in held_up if stretch.begun <= run.begun)):
            if stretch.ended >= since:
                since = min(since, stretch.begun - SETTLE_SECONDS)
        return since

    # --- its runs

    def _judge_runs(self, n: int, ran: list[Run]) -> None:
        known: set[int] = set()  # of the numbers since a person retried it
        twice = False
        for before, run in zip([None, *ran], ran, strict=False):
            if before is not None and self._retried(n, before, run):
                known.clear()
            twice = twice or run.number in known
            known.add(run.number)
        if twice:
            self._fault(n, Kind.LIE, f"two of its runs have the same number: {[run.number for run in ran]}")
        for before, after in pairwise(ran):
            if before.how == "fail" and after.number > before.number:
                continue  # a retry
            if cause := self._cause(before, after.begun) or self._retried(n, before, after):
                self._verdict.explained[cause] = self._verdict.explained.get(cause, 0) + 1
            else:
                self._fault(n, Kind.DUPLICATE, f"run {after.number} after run {before.number}, which did not fail")

    def _retried(self, n: int, before: Run, after: Run) -> str | None:
        """A person did, between the beginnings of these runs; the numbers begin anew then."""
        retries = [act for act in self._acts(n) if self._retries(act)]
        if any(before.begun < act.answered and act.sent < after.begun for act in retries):
            return "retried by hand"
        of_many = (
            BULK_TYPE in self._evidence.kinds.get(n, ()) and before.how == "fail" and after.number <= before.number
        )
        return "retried with many" if of_many and any(at < after.begun for at in self._evidence.retried_many) else None

    def _judge_deaths(self, n: int, ran: list[Run]) -> None:
        """It failed because its worker died too often."""
        self._verdict.poisoned += 1
        if ran and not self._cause(ran[-1], float("inf")):
            self._fault(n, Kind.LIE, "it failed because its worker died, and nothing killed the last one")

    def _cause(self, before: Run, until: float) -> str | None:
        """The fault that took the job away from the worker of a run, before `until`; None: there was none."""
        life = self._history.life(before.pid, before.begun)
        if life is None:
            return None
        begun = before.begun - self._term
        ended = min(until, self._settled_by(life.name, before))
        if life.asked_at is not None and Stretch(life.asked_at, life.ended).touches(before.begun, ended):
            if life.killed:
                return "killed"
            reach = [*self._troubles(life.name, "Redis"), *self._troubles(life.name, "Postgres")]
            if any(trouble.touches(life.asked_at - SETTLE_SECONDS, life.ended) for trouble in reach):
                return "ended out of reach"
        if any(begun <= at <= ended for at in self._history.losses):
            return "Redis lost"
        for stretch in self._without_lease(life.name, before.pid):
            if stretch.ended - stretch.begun >= LEASE_SHARE * self._term and stretch.touches(begun, ended):
                return "lease lost"
        return None

    def _without_lease(self, name: str, pid: int) -> list[Stretch]:
        """When this process could not renew its lease, and others could."""
        gap = GAP_SHARE * self._term
        stretches = [
            *self._stillness(pid),
            *(trouble for trouble in self._history.troubles if trouble.process == name and trouble.server == "Redis"),
        ]
        widened = joined(Stretch(stretch.begun, stretch.ended + gap) for stretch in stretches)
        return [Stretch(stretch.begun, stretch.ended - gap) for stretch in widened]

    def _settled_by(self, name: str, run: Run) -> float:
        """Until when its worker may have had the job: outages hold outcomes up."""
        until = (run.ended if run.ended is not None else run.begun + RUN_SECONDS) + SETTLE_SECONDS
        held_up = [
            *self._stillness(run.pid),
            *self._troubles(name, "Redis"),
            *self._troubles(name, "Postgres"),
        ]
        for stretch in joined(stretch for stretch in held_up if stretch.ended >= run.begun):
            if stretch.begun <= until:
                until = max(until, stretch.ended + SETTLE_SECONDS)
        return until

    def _stillness(self, pid: int) -> Iterable[Stretch]:
        yield from (stop for stop in self._history.stops if stop.pid == pid)
        yield from (Stretch(still.begun, still.ended) for still in self._evidence.ledger.stillness if still.pid == pid)

    def _troubles(self, process: str, server: str) -> Iterable[Stretch]:
        """The faults between this process and that server."""
        return (
            trouble
            for trouble in self._history.troubles
            if trouble.server == server and trouble.process in {process, ""}
        )
