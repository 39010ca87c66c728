"""The statements of what a person does to jobs, and of what deletes rows that ended long ago.

`deleted` remembers ids whose tasks may lie in Redis for longer than their rows are kept: such a task must not count as
one that another program pushed.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.protocol_model.engine import SECOND
from tests.protocol_model.rows_model import TERMINAL, Row, Rows, State

KEEP_CANCELLED = 3 * SECOND
KEEP_ENDED = 12 * SECOND
KEEP_DELETED = 3 * SECOND


class Acts(Rows):
    # --- a person

    def cancel(self, job: str) -> str:
        """Returns the token of the run that is asked to end, or nothing."""
        self.wait_for([job])
        if (row := self.rows.get(job)) is None:
            return ""
        if row.state == "processing":
            row.cancel_at, row.updated_at = True, self.clock()
            self.watcher.asked(job, row.token)
            return row.token
        if row.state == "pending":
            self.leave_scheduled(job, row, "cancel-remembers")
            self.become(job, "cancelled", "cancel")
            row.requeued, row.run_at, row.is_far = False, 0, False
        return ""

    def retry(self, job: str, batch: str) -> bool:
        self.wait_for([job])
        row = self.rows.get(job)
        if row is None or row.state not in {"failed", "cancelled"}:
            return False
        self.become(job, "pending", "retry", token="")
        if self.switches.on("earlier-runs"):
            row.earlier_runs += row.counted
        row.attempts = row.recoveries = row.interruptions = 0
        row.requeued, row.run_at = self.switches.on("retry-requeued"), 0
        row.cancel_at = row.cancel_at and not self.switches.on("retry-clears-cancel")
        if self.switches.on("retry-outbox"):
            self.add_to_outbox(batch, [job])
        return True

    def run_now(self, job: str, batch: str) -> bool:
        self.wait_for([job])
        row = self.rows.get(job)
        if row is None or row.state != "pending" or row.run_at <= self.clock():
            return False
        self.leave_scheduled(job, row, "run-now-remembers")
        row.run_at, row.updated_at = 0, self.clock()
        row.is_far = row.is_far and not self.switches.on("run-now-not-far")
        if self.switches.on("run-now-outbox"):
            self.add_to_outbox(batch, [job])
        return True

    def delete(self, job: str) -> bool:
        self.wait_for([job])
        if self.state_of(job) not in TERMINAL:
            return False
        if self.switches.on("delete-remembers"):
            self._remember(job, self.clock())
        self._remove(job)
        return True

    def asked_to_end(self, ids: list[str]) -> list[tuple[str, str]]:
        """`cancelled_jobs`: token and id of the runs among these that a person has cancelled."""
        found = [(job, self.rows[job]) for job in ids if job in self.rows]
        return [(row.token, job) for job, row in found if row.state == "processing" and row.cancel_at]

    # --- what ended long ago

    def delete_old(self, is_forgotten: Callable[[str], bool]) -> None:
        """Retention. `is_forgotten`: no task of this job is left anywhere; else it has not ended long ago."""
        for job, row in list(self.rows.items()):
            kept = row.state not in TERMINAL or job in self.keys.values() or self.is_locked(job)
            age = KEEP_CANCELLED if row.state == "cancelled" else KEEP_ENDED
            if kept or row.updated_at > self.clock() - age:
                continue
            if row.state != "cancelled" and not is_forgotten(job):
                continue
            if row.state == "cancelled" and self.switches.on("retention-remembers"):
                self._remember(job, self.clock())
            self._remove(job)

    def prune_deleted(self, is_forgotten: Callable[[str], bool]) -> None:
        """Forget deleted jobs whose tasks can no longer be in Redis; `is_forgotten` as above."""
        for job, at in list(self.deleted.items()):
            if at < self.clock() - KEEP_DELETED and is_forgotten(job):
                del self.deleted[job]

    def status_of_deleted(self, ids: list[str]) -> dict[str, tuple[State, str, int]]:
        return {job: ("cancelled", "", 0) for job in ids if job in self.deleted and job not in self.rows}

    def leave_scheduled(self, job: str, row: Row, mechanism: str) -> None:
        if row.run_at > self.clock():
            self.watcher.left(job, row.run_at)
            if self.switches.on(mechanism):
                self._remember(job, row.run_at)

    def _remember(self, job: str, at: int) -> None:
        self.deleted[job] = max(at, self.deleted.get(job, at))

    def _remove(self, job: str) -> None:
        self.free_keys(job)
        del self.rows[job]
        self.watcher.gone(job)
