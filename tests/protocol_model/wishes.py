"""What people asked for, and what every row may become after it. Is told of each change when it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.protocol_model.rows_model import TERMINAL, Cause, Row, State


@dataclass
class Wishes:
    violate: Callable[[str], None]
    born: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    retried: set[str] = field(default_factory=set)
    cancelled: dict[str, str] = field(default_factory=dict)  # job -> the run that may still end itself; "": it waited
    runs_asked: set[tuple[str, str]] = field(default_factory=set)  # job and token of each run that was asked to end
    scheduled_until: dict[str, int] = field(default_factory=dict)  # jobs with a task in the scheduled set, not needed
    completions: Counter[str] = field(default_factory=Counter)

    # --- the Watcher of rows_model

    def made(self, job: str) -> None:
        if job in self.deleted:
            self.violate(f"{job} was deleted and has a row again")
        self.born.add(job)

    def becomes(self, job: str, row: Row, state: State, by: Cause, token: str) -> None:
        self.completions[job] += state == "completed"
        if by == "retry":
            self.cancelled.pop(job, None)
            self.retried.add(job)
            return
        if row.state in TERMINAL:
            self.violate(f"{job} had ended {row.state} and became {state}")
        if by == "cancel":
            self.cancelled[job] = ""
        elif by == "claim" and (job, row.token) in self.runs_asked:
            self._is_now_under(job, row.token, token)
        elif job in self.cancelled:
            was_quicker = state == "completed" and self.cancelled[job] == row.token
            if state != "cancelled" and not was_quicker:
                self.violate(f"{job} was cancelled and became {state}")
        elif state == "cancelled" and (by != "refuse" or job in self.retried):
            self.violate(f"{job} became cancelled, and no person had asked for it")

    def asked(self, job: str, token: str) -> None:
        self.cancelled[job] = token
        self.runs_asked.add((job, token))

    def left(self, job: str, until: int) -> None:
        self.scheduled_until[job] = max(until, self.scheduled_until.get(job, 0))

    def gone(self, job: str) -> None:
        self.deleted.add(job)

    def meets(self, job: str, other: str) -> None:
        if job not in self.retried:  # by hand: nobody asks for its key then
            self.violate(f"{other} was accepted under the unique key of {job}, which has it still")

    def run_is_lost(self, job: str, number: int) -> None:
        self.violate(f"{job} has lost a run: number {number} is taken")

    def _is_now_under(self, job: str, before: str, token: str) -> None:
        """The claim's answer was lost: the same run has another token now."""
        self.runs_asked.add((job, token))
        if self.cancelled.get(job) == before:
            self.cancelled[job] = token

    # --- what workers do

    def starts(self, job: str, token: str) -> None:
        """Of a claim that is valid."""
        if self.cancelled.get(job, token) != token:
            self.violate(f"{job} was cancelled and started again")

    def is_hit(self, job: str, token: str) -> None:
        """A run ends because it was cancelled."""
        if (job, token) not in self.runs_asked:
            self.violate(f"{job} was cancelled in a run that no person had cancelled")
