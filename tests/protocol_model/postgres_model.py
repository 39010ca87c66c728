"""Postgres as the protocol sees it. Every method is one statement and one transaction: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.protocol_model.engine import SECOND, LockTimeout
from tests.protocol_model.mechanisms import Switches

State = Literal["pending", "processing", "completed", "failed", "cancelled"]
Verdict = Literal["pending", "refused", "locked"]
Counter = Literal["attempts", "interruptions", "none"]

TERMINAL: frozenset[State] = frozenset({"completed", "failed", "cancelled"})
MAX_RECOVERIES = 3
SWEEP_AGE = 5 * SECOND
RECONCILE_MARGIN = 60 * SECOND
RECONCILE_PAUSE = 10 * SECOND


@dataclass(slots=True)
class Row:
    state: State
    updated_at: int
    token: str = ""
    run_at: int = 0  #: 0: due whatever the clock says, as NULL is, and the created_at of what waits again without delay
    attempts: int = 0
    recoveries: int = 0
    interruptions: int = 0
    joined: bool = False
    cancel_at: bool = False
    completions: int = 0

    @property
    def untouched(self) -> bool:
        return self.attempts == self.recoveries == self.interruptions == 0


@dataclass(frozen=True, slots=True)
class Counters:
    attempts: int
    recoveries: int
    interruptions: int


@dataclass(slots=True)
class OutboxEntry:
    at: int
    ids: list[str]


@dataclass(slots=True)
class Claimed:
    """A batch on its way through a worker: a row of the table `claimed`."""

    owner: str
    ids: list[str]


@dataclass
class Postgres:
    clock: Callable[[], int]
    switches: Switches
    rows: dict[str, Row] = field(default_factory=dict)
    outbox: dict[str, OutboxEntry] = field(default_factory=dict)
    claimed: dict[str, Claimed] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    locked_until: dict[str, int] = field(default_factory=dict)
    run: int | None = None
    n: int = 0
    reconciled_at: int = -RECONCILE_PAUSE

    # --- locks and outbox entries

    def lock(self, job: str, until: int) -> None:
        """A psql session holds the row."""
        self.locked_until[job] = until

    def _locked(self, job: str) -> bool:
        return self.locked_until.get(job, 0) > self.clock()

    def _wait_for(self, jobs: Iterable[str]) -> None:
        if any(self._locked(job) for job in jobs):
            raise LockTimeout

    def _add_to_outbox(self, batch: str, ids: Iterable[str]) -> None:
        """Only where a mechanism is off does a batch meet an outbox entry of its own."""
        entry = self.outbox.setdefault(batch, OutboxEntry(self.clock(), []))
        entry.ids.extend(job for job in ids if job not in entry.ids)

    def delete_outbox(self, batches: Iterable[str], done: Iterable[str] = ()) -> None:
        for batch in batches:
            self.outbox.pop(batch, None)
        self.forget_claims(done)

    def read_outbox(self, batches: Iterable[str]) -> dict[str, list[str]]:
        """The outbox entries that there are."""
        return {batch: list(self.outbox[batch].ids) for batch in batches if batch in self.outbox}

    def forget_claims(self, done: Iterable[str]) -> None:
        """Bookkeeping that rides along: claims of which every job has a verdict."""
        for token in done:
            self.claimed.pop(token, None)

    # --- submit

    def insert(self, ids: list[str], batch: str, pushed: list[str]) -> None:
        for job in ids:
            self.rows[job] = Row("pending", self.clock())
        if self.switches.on("submit-outbox"):
            self._add_to_outbox(batch, ids)
        self.delete_outbox(pushed)

    def insert_once(self, key: str, job: str, batch: str) -> str:
        """Insert under an idempotency key; returns the job that holds it."""
        if key not in self.keys:
            self.keys[key] = job
            self.insert([job], batch, [])
        return self.keys[key]

    def join(self, job: str) -> bool:
        """False: it was refused meanwhile, its key is free again."""
        row = self.rows[job]
        if row.state == "cancelled" and job not in self.keys.values():
            return False
        row.joined = True
        return True

    def refuse(self, ids: list[str], batch: str) -> set[str]:
        """Submit's step 3; returns those that will never run."""
        self._wait_for(ids)
        refused = set()
        for job in ids:
            row = self.rows[job]
            never_ran = row.untouched or not self.switches.on("zero-counters")
            protected = row.joined and self.switches.on("joined")
            if row.state == "pending" and never_ran and not protected:
                row.state, row.updated_at = "cancelled", self.clock()
                self.keys = {key: holder for key, holder in self.keys.items() if holder != job}
            if row.state == "cancelled":
                refused.add(job)
        entry = self.read_outbox([batch]).get(batch, [])
        joined = [job for job in entry if self.rows[job].joined and self.rows[job].state == "pending"]
        self.delete_outbox([batch])
        if joined:
            self._add_to_outbox(batch, joined)
        return refused

    # --- claim

    def claim(
        self, ids: list[str], lease: str, token: str, earlier: list[str], done: Iterable[str]
    ) -> dict[str, Counters]:
        claimed = {}
        for job in sorted(set(ids)):
            row = self.rows.get(job)
            if row is None or self._locked(job):
                continue
            mine = row.state == "processing" and row.token in {token, *earlier} and self.switches.on("second-token")
            due = row.run_at <= self.clock() or not self.switches.on("early-stays")
            free = row.state == "pending" and due
            if not self.switches.on("claim-cas"):
                free = row.state not in TERMINAL and due
            if free or mine:
                row.state, row.token, row.updated_at = "processing", token, self.clock()
                claimed[job] = Counters(row.attempts, row.recoveries, row.interruptions)
        self.forget_claims(done)
        self._note(token, lease, claimed)
        return claimed

    def adopt(self, ids: list[str], lease: str, token: str) -> set[str]:
        """Insert external tasks as `processing`, on conflict do nothing; what was inserted."""
        new = [job for job in ids if job not in self.rows]
        for job in new:
            self.rows[job] = Row("processing", self.clock(), token=token)
        self._note(token, lease, new)
        return set(new)

    def _note(self, token: str, lease: str, ids: Iterable[str]) -> None:
        if noted := list(ids):
            claimed = self.claimed.setdefault(token, Claimed(lease, []))
            claimed.ids.extend(job for job in noted if job not in claimed.ids)

    def look(self, ids: list[str]) -> dict[str, tuple[State, str, int]]:
        """State, token and delay until due of the rows that exist."""
        found = {job: self.rows[job] for job in ids if job in self.rows}
        return {job: (row.state, row.token, max(0, row.run_at - self.clock())) for job, row in found.items()}

    def owned(self, lease: str) -> dict[str, set[str]]:
        """Token -> what is processing under it, for every claim of this lease."""
        return {
            token: {job for job in claimed.ids if self._is_under(job, token)}
            for token, claimed in self.claimed.items()
            if claimed.owner == lease
        }

    def _is_under(self, job: str, token: str) -> bool:
        return self.rows[job].state == "processing" and self.rows[job].token == token

    # --- settle

    def _take(self, job: str, token: str) -> Row | None:
        """The row, if it is still ours and free."""
        return self.rows[job] if self._is_under(job, token) and not self._locked(job) else None

    def finish(self, job: str, token: str, state: State, done: Iterable[str]) -> bool:
        """False: done before, locked, or refused; `judge` tells."""
        self.forget_claims(done)
        if (row := self._take(job, token)) is None:
            return False
        row.state, row.updated_at = state, self.clock()
        row.attempts += state == "failed"
        row.completions += state == "completed"
        return True

    def release(self, job: str, token: str, delay: int, counter: Counter, batch: str, done: Iterable[str] = ()) -> bool:
        """Retry, give back, snooze: `pending` and in the outbox, or `cancelled` where that was asked for."""
        self.forget_claims(done)
        if (row := self._take(job, token)) is None:
            return False
        row.updated_at, row.run_at = self.clock(), self.clock() + delay if delay else 0
        row.attempts += counter == "attempts"
        row.interruptions += counter == "interruptions"
        row.state = "cancelled" if row.cancel_at else "pending"
        if row.state == "pending" and self.switches.on("release-outbox"):
            self._add_to_outbox(batch, [job])
        return row.state == "pending"

    def decide(self, job: str, token: str) -> Verdict:
        """The look at what a statement did not return."""
        if self._is_under(job, token):
            return "locked"
        return "pending" if self.rows[job].state == "pending" else "refused"

    def recover(self, lease: str, blameless: bool, noted: set[str], batch: str) -> list[str]:
        """The rows of a lease that is gone; returns (and outbox entries) those that are `pending` now."""
        owned = self.owned(lease)
        mine = sorted(job for ids in owned.values() for job in ids)
        self._wait_for(mine)
        for job in mine:
            row = self.rows[job]
            blamed = row.recoveries == 0 or job in noted or not self.switches.on("noted")
            row.interruptions += blameless
            row.recoveries += blamed and not blameless
            row.state, row.updated_at, row.run_at = "pending", self.clock(), 0
            if row.cancel_at:
                row.state = "cancelled"
            elif row.recoveries >= MAX_RECOVERIES:
                row.state = "failed"
        waiting = [job for job in mine if self.rows[job].state == "pending"]
        if waiting and self.switches.on("recover-outbox"):
            self._add_to_outbox(batch, waiting)
        self.forget_claims(owned)
        return waiting

    def owners(self) -> set[str]:
        return {claimed.owner for claimed in self.claimed.values()}

    # --- sweep and loss

    def take_outbox(self) -> list[tuple[str, list[str], bool]]:
        """Outbox entries that are old enough: batch, ids, and whether all that is pending could be touched."""
        old = [(batch, entry) for batch, entry in self.outbox.items() if entry.at <= self.clock() - SWEEP_AGE][:20]
        taken = []
        for batch, entry in old:
            entry.at = self.clock()
            waiting = [job for job in entry.ids if self.rows[job].state == "pending"]
            free = [job for job in waiting if not self._locked(job)]
            if self.switches.on("sweep-touch"):
                for job in free:
                    self.rows[job].updated_at = self.clock()
            taken.append((batch, list(entry.ids), len(free) == len(waiting)))
        return taken

    def fetch_pending(self, ids: list[str]) -> dict[str, tuple[int, Counters]]:
        found = {}
        for job in ids:
            row = self.rows[job]
            if row.state == "pending":
                counters = Counters(row.attempts, row.recoveries, row.interruptions)
                found[job] = (max(0, row.run_at - self.clock()), counters)
        return found

    def read_run(self) -> tuple[int | None, int, int]:
        return self.run, self.n, self.clock()

    def reconcile(self, old: tuple[int | None, int], run: int, since: int | None, batch: str) -> bool:
        """Mark what Redis may have lost; guarded by the old values, at most every 10 s."""
        if (self.run, self.n) != old or self.clock() - self.reconciled_at < RECONCILE_PAUSE:
            return False
        if self.run is None and not self.switches.on("first-look"):
            self.run = run
            return True
        if self.run is not None:  # the first look ever is no loss that others would have to wait for
            self.reconciled_at = self.clock()
        self.run = run
        limit = -1 if since is None else since - RECONCILE_MARGIN
        lost = [job for job, row in self.rows.items() if row.state == "pending" and row.updated_at >= limit]
        if lost:
            self._add_to_outbox(batch, lost)
        return True

    def advance(self, run: int, old: int, new: int) -> bool:
        if self.run != run or self.n != old:
            return False
        self.n = new
        return True

    # --- a person

    def cancel(self, job: str) -> None:
        row = self.rows[job]
        if row.state == "pending":
            row.state, row.updated_at = "cancelled", self.clock()
        elif row.state == "processing":
            row.cancel_at = True

    def reopen(self, job: str, batch: str) -> bool:
        row = self.rows[job]
        if row.state not in {"failed", "cancelled"}:
            return False
        row.state, row.updated_at, row.run_at, row.cancel_at = "pending", self.clock(), 0, False
        row.attempts = row.recoveries = row.interruptions = 0
        self._add_to_outbox(batch, [job])
        return True
