"""The tables of the protocol, and what every statement does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tests.protocol_model.engine import LockTimeout
from tests.protocol_model.mechanisms import Switches

State = Literal["pending", "processing", "completed", "failed", "cancelled"]
Cause = Literal["claim", "settle", "recover", "refuse", "cancel", "retry"]

TERMINAL: frozenset[State] = frozenset({"completed", "failed", "cancelled"})


@dataclass(slots=True)
class Row:
    state: State
    updated_at: int
    token: str = ""
    run_at: int = 0  #: 0: due whatever the clock says, as NULL is
    attempts: int = 0
    recoveries: int = 0
    interruptions: int = 0
    earlier_runs: int = 0
    requeued: bool = False
    is_far: bool = False  #: due so late that it is in no list yet, and has no outbox entry
    joined: bool = False
    cancel_at: bool = False
    runs: set[int] = field(default_factory=set)  #: numbers in the table `runs`
    payload: int = 0
    replaced: bool = False  #: it waited when its unique key came again: its tasks in Redis are old
    unique_key: str = ""
    until_started: bool = False  #: its key is free when it is claimed, not when it has ended
    for_seconds: bool = False  #: its key is free after a time

    @property
    def counted(self) -> int:
        return self.attempts + self.recoveries + self.interruptions

    @property
    def last_run(self) -> int:
        """The number of the run that a counter has counted last."""
        return self.earlier_runs + self.counted


@dataclass(frozen=True, slots=True)
class Counters:
    attempts: int
    recoveries: int
    interruptions: int
    replaced: bool = field(default=False, compare=False)
    payload: int = field(default=0, compare=False)  #: of a task that is made from the row


@dataclass(frozen=True, slots=True)
class Held:
    """A unique key that was taken, a row of the table `unique_keys`."""

    job: str
    until_started: bool
    free_at: int  #: 0: that depends on what becomes of the job


@dataclass(slots=True)
class OutboxEntry:
    at: int
    ids: list[str]


@dataclass(slots=True)
class Claimed:
    """A batch on its way through a worker: a row of the table `claimed`."""

    owner: str
    ids: list[str]


class Watcher(Protocol):
    """Is told of each change in the moment in which it is made (`wishes.py`)."""

    def made(self, job: str) -> None:
        """A row came to be."""

    def becomes(self, job: str, row: Row, state: State, by: Cause, token: str) -> None:
        """`row` is still as it was; `token` is the one that it will have."""

    def asked(self, job: str, token: str) -> None:
        """A run is to end: its row has `cancel_at` now."""

    def left(self, job: str, until: int) -> None:
        """A task stays in the scheduled set until then, of a job that no longer waits for it."""

    def gone(self, job: str) -> None:
        """The row was deleted."""

    def meets(self, job: str, other: str) -> None:
        """`other` gets the unique key of `job`, which has not let it go."""

    def run_is_lost(self, job: str, number: int) -> None:
        """The number of a run that has ended is taken in `runs`."""


@dataclass
class Rows:
    clock: Callable[[], int]
    switches: Switches
    watcher: Watcher
    rows: dict[str, Row] = field(default_factory=dict)
    outbox: dict[str, OutboxEntry] = field(default_factory=dict)
    claimed: dict[str, Claimed] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    unique: dict[str, Held] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    locked_until: dict[str, int] = field(default_factory=dict)

    def state_of(self, job: str) -> State | None:
        return self.rows[job].state if job in self.rows else None

    def make(self, job: str, row: Row) -> None:
        self.watcher.made(job)
        self.rows[job] = row

    def become(self, job: str, state: State, by: Cause, token: str | None = None) -> None:
        row = self.rows[job]
        token = row.token if token is None else token
        self.watcher.becomes(job, row, state, by, token)
        row.state, row.token, row.updated_at = state, token, self.clock()

    def note_run(self, job: str) -> None:
        """The run that a counter has just counted gets its row in `runs` (on conflict do nothing)."""
        row = self.rows[job]
        if row.last_run in row.runs:
            self.watcher.run_is_lost(job, row.last_run)
        row.runs.add(row.last_run)

    def free_keys(self, job: str) -> None:
        self.keys = {key: holder for key, holder in self.keys.items() if holder != job}

    # --- locks

    def lock(self, job: str, until: int) -> None:
        """A psql session holds the row."""
        self.locked_until[job] = until

    def is_locked(self, job: str) -> bool:
        return self.locked_until.get(job, 0) > self.clock()

    def wait_for(self, jobs: Iterable[str]) -> None:
        if any(self.is_locked(job) for job in jobs):
            raise LockTimeout

    # --- outbox entries and claims

    def add_to_outbox(self, batch: str, ids: Iterable[str]) -> None:
        """Only where a mechanism is off does a batch meet an outbox entry of its own."""
        entry = self.outbox.setdefault(batch, OutboxEntry(self.clock(), []))
        entry.ids.extend(job for job in ids if job not in entry.ids)

    def delete_outbox(self, batches: Iterable[str], done: Iterable[str] = ()) -> None:
        for batch in batches:
            self.outbox.pop(batch, None)
        self.forget_claims(done)

    def forget_claims(self, done: Iterable[str]) -> None:
        """Bookkeeping that rides along: claims of which every job has a verdict."""
        for token in done:
            self.claimed.pop(token, None)
