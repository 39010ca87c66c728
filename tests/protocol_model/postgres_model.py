"""Postgres as the protocol sees it. Every method is one statement and one transaction: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.protocol_model.acts_model import Acts
from tests.protocol_model.engine import SECOND
from tests.protocol_model.lanes_model import Limits
from tests.protocol_model.redis_model import Paused
from tests.protocol_model.rows_model import TERMINAL, Claimed, Counters, Row, State

Verdict = Literal["pending", "refused", "locked"]
Counter = Literal["attempts", "interruptions", "none"]

MAX_RECOVERIES = 3
SWEEP_AGE = 5 * SECOND
RECONCILE_MARGIN = 60 * SECOND
RECONCILE_PAUSE = 10 * SECOND
HORIZON = 10 * SECOND  #: what is due later is far off; an hour in the code


@dataclass(frozen=True, slots=True)
class Due:
    """When a new job is due, and whether its producer takes that for far off."""

    at: int
    is_far: bool


AT_ONCE = Due(0, False)
NONE_DUE: Mapping[str, Due] = {}


@dataclass
class Postgres(Acts):
    run: int | None = None
    n: int = 0
    reconciled_at: int = -RECONCILE_PAUSE
    pauses: Paused = field(default_factory=Paused)
    limits: Limits = field(default_factory=Limits)

    def pause(self, paused: bool) -> Paused:
        self.pauses = Paused(self.pauses.version + 1, paused)
        return self.pauses

    def limit(self, scope: str, running: int) -> Limits:
        """0: no limit."""
        others = {each: most for each, most in self.limits.running.items() if each != scope}
        self.limits = Limits(self.limits.version + 1, others | ({scope: running} if running else {}))
        return self.limits

    # --- submit

    def insert(self, ids: list[str], batch: str, pushed: list[str], due: Mapping[str, Due] = NONE_DUE) -> None:
        for job in ids:
            when = due.get(job, AT_ONCE)
            self.make(job, Row("pending", self.clock(), run_at=when.at, is_far=when.is_far))
        near = [job for job in ids if not self.rows[job].is_far]
        if near and self.switches.on("submit-outbox"):
            self.add_to_outbox(batch, near)
        self.delete_outbox(pushed)

    def bring(self, batch: str) -> None:
        """What was far off and is no longer goes into the outbox, old enough for the sweep at once."""
        due = [job for job, row in self.rows.items() if row.is_far and 0 < row.run_at <= self.clock() + HORIZON]
        for job in due:
            if not self.is_locked(job):
                row = self.rows[job]
                row.is_far, row.updated_at = False, self.clock()
                if row.state == "pending" and self.switches.on("bring-outbox"):
                    self.add_to_outbox(batch, [job])
                    self.outbox[batch].at = 0

    def insert_once(self, key: str, job: str, batch: str) -> str:
        """Insert under an idempotency key; returns the job that holds it."""
        if key not in self.keys:
            self.keys[key] = job
            self.insert([job], batch, [])
        return self.keys[key]

    def join(self, job: str) -> bool:
        """False: it was refused meanwhile, its key is free again."""
        if (row := self.rows.get(job)) is None:
            return True  # it had ended, and a person has deleted it
        if row.state == "cancelled" and job not in self.keys.values():
            return False
        row.joined = True
        return True

    def refuse(self, ids: list[str], batch: str) -> set[str]:
        """Submit's step 3; returns those that will never run."""
        self.wait_for(ids)
        refused = set()
        joined = [job for job in ids if job in self.rows and self.rows[job].joined and self.switches.on("joined")]
        joined = [job for job in joined if self.rows[job].state == "pending"]
        for job in ids:
            if self.state_of(job) == "pending" and self._never_claimed(self.rows[job]) and job not in joined:
                self.become(job, "cancelled", "refuse")
                self.free_keys(job)
                if self.switches.on("unique-refused"):
                    self.unique = {key: held for key, held in self.unique.items() if held.job != job}
            if self.state_of(job) == "cancelled" and (
                not self.rows[job].last_run or not self.switches.on("refused-ran")
            ):
                refused.add(job)
        self.delete_outbox([batch] if not joined else [])
        if batch in self.outbox:
            self.outbox[batch].ids = joined
        return refused

    def _never_claimed(self, row: Row) -> bool:
        return not (row.requeued or row.counted) or not self.switches.on("never-claimed")

    # --- claim

    def claim(
        self, ids: list[str], lease: str, token: str, earlier: list[str], done: Iterable[str]
    ) -> dict[str, Counters]:
        claimed = {}
        for job in sorted(set(ids)):
            row = self.rows.get(job)
            if row is None or self.is_locked(job):
                continue
            mine = row.state == "processing" and row.token in {token, *earlier} and self.switches.on("second-token")
            due = row.run_at <= self.clock() or not self.switches.on("early-stays")
            free = row.state == "pending" and due
            if not self.switches.on("claim-cas"):
                free = row.state not in TERMINAL and due
            if free or mine:
                self.become(job, "processing", "claim", token)
                replaced = row.replaced and self.switches.on("unique-replaced")
                claimed[job] = Counters(row.attempts, row.recoveries, row.interruptions, replaced)
        self.forget_claims(done)
        self._note(token, lease, claimed)
        return claimed

    def adopt(self, ids: list[str], lease: str, token: str) -> set[str]:
        """Insert external tasks as `processing`, on conflict do nothing; what was inserted."""
        new = [job for job in ids if job not in self.rows]
        if self.switches.on("adopt-deleted"):
            new = [job for job in new if job not in self.deleted]
        for job in new:
            self.make(job, Row("processing", self.clock(), token=token))
        self._note(token, lease, new)
        return set(new)

    def _note(self, token: str, lease: str, ids: Iterable[str]) -> None:
        if noted := list(ids):
            claimed = self.claimed.setdefault(token, Claimed(lease, []))
            claimed.ids.extend(job for job in noted if job not in claimed.ids)

    def look(self, ids: list[str]) -> dict[str, tuple[State, str, int]]:
        """State, token and delay until due of the rows that exist, or did."""
        found = {job: self.rows[job] for job in ids if job in self.rows}
        rows = {job: (row.state, row.token, max(0, row.run_at - self.clock())) for job, row in found.items()}
        return rows | self.status_of_deleted(ids)

    def owned(self, lease: str) -> dict[str, set[str]]:
        """Token -> what is processing under it, for every claim of this lease."""
        return {
            token: {job for job in claimed.ids if self._is_under(job, token)}
            for token, claimed in self.claimed.items()
            if claimed.owner == lease
        }

    def _is_under(self, job: str, token: str) -> bool:
        return self.state_of(job) == "processing" and self.rows[job].token == token

    # --- settle

    def _take(self, job: str, token: str) -> Row | None:
        """The row, if it is still ours and free."""
        return self.rows[job] if self._is_under(job, token) and not self.is_locked(job) else None

    def finish(self, job: str, token: str, state: State, done: Iterable[str]) -> bool:
        """False: done before, locked, or refused; `judge` tells."""
        self.forget_claims(done)
        if (row := self._take(job, token)) is None:
            return False
        asked = row.cancel_at and self.switches.on("finish-cancelled")
        self.become(job, "cancelled" if state == "failed" and asked else state, "settle")
        row.attempts += state == "failed"
        row.earlier_runs += state == "cancelled" and self.switches.on("cancelled-number")
        row.requeued, row.run_at = False, 0
        if state != "completed":
            self.note_run(job)
        return True

    def release(self, job: str, token: str, delay: int, counter: Counter, batch: str, done: Iterable[str] = ()) -> bool:
        """Retry, give back, snooze: `pending` and in the outbox, or `cancelled` where that was asked for."""
        self.forget_claims(done)
        if (row := self._take(job, token)) is None:
            return False
        row.attempts += counter == "attempts"
        row.interruptions += counter == "interruptions"
        asked = row.cancel_at and self.switches.on("requeue-cancelled")
        self.become(job, "cancelled" if asked else "pending", "settle")
        row.requeued = not asked
        row.run_at = 0 if asked else self.clock() + delay if delay else row.run_at  # past, or it was not claimed
        if counter != "none":
            self.note_run(job)
        if not asked and self.switches.on("release-outbox"):
            self.add_to_outbox(batch, [job])
        return not asked

    def decide(self, job: str, token: str) -> Verdict:
        """The look at what a statement did not return."""
        if self._is_under(job, token):
            return "locked"
        return "pending" if self.state_of(job) == "pending" else "refused"

    def recover(self, lease: str, blameless: bool, noted: set[str], batch: str) -> list[str]:
        """The rows of a lease that is gone; returns (and outbox entries) those that are `pending` now."""
        owned = self.owned(lease)
        mine = sorted(job for ids in owned.values() for job in ids)
        self.wait_for(mine)
        for job in mine:
            row = self.rows[job]
            blamed = row.recoveries == 0 or job in noted or not self.switches.on("noted")
            row.interruptions += blameless
            row.recoveries += blamed and not blameless
            state: State = "failed" if row.recoveries >= MAX_RECOVERIES else "pending"
            if row.cancel_at and self.switches.on("recover-cancelled"):
                state = "cancelled"
            self.become(job, state, "recover")
            row.requeued, row.run_at = state == "pending", row.run_at if state == "pending" else 0
            if blamed or blameless:
                self.note_run(job)
        waiting = [job for job in mine if self.rows[job].state == "pending"]
        if waiting and self.switches.on("recover-outbox"):
            self.add_to_outbox(batch, waiting)
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
            waiting = [job for job in entry.ids if self.state_of(job) == "pending"]
            free = [job for job in waiting if not self.is_locked(job)]
            if self.switches.on("sweep-touch"):
                for job in free:
                    self.rows[job].updated_at = self.clock()
            taken.append((batch, list(entry.ids), len(free) == len(waiting)))
        return taken

    def fetch_pending(self, ids: list[str]) -> dict[str, tuple[int, Counters]]:
        found = {}
        for job in ids:
            if self.state_of(job) == "pending" and not self._stays_away(self.rows[job]):
                row = self.rows[job]
                counters = Counters(row.attempts, row.recoveries, row.interruptions, payload=row.payload)
                found[job] = (max(0, row.run_at - self.clock()), counters)
        return found

    def _stays_away(self, row: Row) -> bool:
        """A task of it would take room in Redis for long."""
        return row.is_far and self.switches.on("far-stays-away")

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
        waiting = [(job, row) for job, row in self.rows.items() if row.state == "pending" and not self._stays_away(row)]
        lost = [job for job, row in waiting if row.updated_at >= limit]
        if lost:
            self.add_to_outbox(batch, lost)
        return True

    def advance(self, run: int, old: int, new: int) -> bool:
        if self.run != run or self.n != old:
            return False
        self.n = new
        return True
