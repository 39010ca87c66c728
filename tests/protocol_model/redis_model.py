"""Redis as the protocol sees it: plain data and the contracts of the Lua scripts.

Every method is one script or one command, hence atomic. Nothing here waits, fails or knows of time but through `clock`;
losing replies, arriving late and losing data is the business of `engine.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from tests.protocol_model.mechanisms import Switches
from tests.protocol_model.rows_model import Counters

FENCED = 0
ENDED = -1


@dataclass(frozen=True, slots=True)
class Task:
    """A task as raw text. `origin` tells the checks whose it is; no part of the text, so equal tasks are equal."""

    job: str
    attempts: int = 0
    recoveries: int = 0
    interruptions: int = 0
    payload: int = 0
    origin: str = field(default="", compare=False)

    def named(self, job: str) -> Task:
        return replace(self, job=job)


@dataclass(frozen=True, slots=True)
class Paused:
    """Whether the type that may be paused is."""

    version: int = 0
    is_paused: bool = False


@dataclass(slots=True)
class Flight:
    """What a lease has claimed; `at` is the start of the last claim."""

    at: int = 0
    tasks: dict[int, Task] = field(default_factory=dict)


@dataclass
class Redis:
    clock: Callable[[], int]
    switches: Switches
    run: int = 1
    ready: list[Task] = field(default_factory=list)
    front: list[Task] = field(default_factory=list)
    leases: dict[str, int] = field(default_factory=dict)
    workers: set[str] = field(default_factory=set)
    flights: dict[str, Flight] = field(default_factory=dict)
    started: dict[str, set[int]] = field(default_factory=dict)
    scheduled: dict[Task, int] = field(default_factory=dict)
    dead: list[tuple[Task, str]] = field(default_factory=list)
    checkpoint: int | None = None
    keys: dict[str, str] = field(default_factory=dict)
    pauses: Paused = field(default_factory=Paused)
    parked: list[Task] = field(default_factory=list)

    def snapshot(self) -> Redis:
        return replace(
            self,
            ready=list(self.ready),
            front=list(self.front),
            leases=dict(self.leases),
            workers=set(self.workers),
            flights={lease: Flight(flight.at, dict(flight.tasks)) for lease, flight in self.flights.items()},
            started=copy.deepcopy(self.started),
            scheduled=dict(self.scheduled),
            dead=list(self.dead),
            keys=dict(self.keys),
            parked=list(self.parked),
        )

    # --- leases

    def lives(self, lease: str) -> bool:
        return self.leases.get(lease, FENCED) > 0

    def register(self, lease: str) -> None:
        self.leases.setdefault(lease, self.clock())
        self.workers.add(lease)

    def renew(self, lease: str) -> bool:
        if not self.lives(lease):
            return False
        self.leases[lease] = self.clock()
        self.workers.add(lease)
        return True

    def read_leases(self) -> dict[str, int]:
        return dict(self.leases)

    def fence(self, lease: str, seen: int) -> bool:
        if not self.lives(lease) or (self.leases[lease] != seen and self.switches.on("score-cas")):
            return False
        self.leases[lease] = FENCED
        return True

    def end(self, lease: str) -> None:
        if self.lives(lease):
            self.leases[lease] = ENDED

    def inspect(self, lease: str) -> tuple[int | None, dict[int, Task], set[int]]:
        flight = self.flights.get(lease, Flight())
        return self.leases.get(lease), dict(flight.tasks), set(self.started.get(lease, ()))

    def retire(self, lease: str) -> bool:
        """Remove a lease that does not live and whose flight is empty, with all that is its own."""
        if self.lives(lease) or self.flights.get(lease, Flight()).tasks:
            return False
        self.leases.pop(lease, None)
        self.workers.discard(lease)
        self.flights.pop(lease, None)
        self.started.pop(lease, None)
        return True

    # --- tasks

    def push(self, tasks: Iterable[Task]) -> None:
        self.ready.extend(tasks)

    def push_waiting(self, waiting: dict[str, tuple[int, Counters]]) -> None:
        """What rows say that wait: each job with its delay and its counters."""
        for job, (delay, counters) in waiting.items():
            task = Task(job, counters.attempts, counters.recoveries, counters.interruptions, counters.payload)
            if delay > 0:
                self.schedule(task, delay)
            else:
                self.push([task])

    def push_once(self, key: str, task: Task) -> str:
        """`submit_once`: the job that holds the key; the task is pushed if that is its own, and only the first time."""
        if key not in self.keys:
            self.keys[key] = task.job
            self.ready.append(task)
        return self.keys[key]

    def schedule(self, task: Task, delay: int) -> None:
        self.scheduled[task] = self.clock() + delay

    def schedule_all(self, delays: dict[Task, int]) -> None:
        for task, delay in delays.items():
            self.schedule(task, delay)

    def blmove(self) -> None:
        if self.ready:
            self.front.append(self.ready.pop(0))

    def claim(
        self, lease: str, count: int, start: int, name: Callable[[Task], Task] | None = None
    ) -> dict[int, Task] | None:
        """Take up to `count` tasks under the numbers from `start`; None: the lease is lost. `name`: for the first one,
        where it has none."""
        if not self.lives(lease):
            return None
        flight = self.flights.setdefault(lease, Flight())
        numbers = range(start, start + count)
        if self.switches.on("at"):
            if flight.at > start:
                return {}
            if flight.at == start:
                return {number: flight.tasks[number] for number in numbers if number in flight.tasks}
        elif start in flight.tasks:
            return {number: flight.tasks[number] for number in numbers if number in flight.tasks}
        flight.at = start
        taken: dict[int, Task] = {}
        for source in (self.front, self.ready):
            while source and len(taken) < count:
                taken[start + len(taken)] = source.pop(0)
        if name is not None and start in taken and not taken[start].job:
            taken[start] = name(taken[start])
        flight.tasks.update(taken)
        return dict(taken)

    def name_id(self, lease: str, number: int, task: Task) -> bool:
        """False: the task is no longer in this flight, or the lease is lost; no row may be made then."""
        flight = self.flights.get(lease)
        if not self.lives(lease) or flight is None or number not in flight.tasks:
            return False
        flight.tasks[number] = task
        return True

    def note_start(self, lease: str, number: int) -> None:
        if self.lives(lease):
            self.started.setdefault(lease, set()).add(number)

    def ack(self, lease: str, number: int) -> Task | None:
        return self._leave(lease, number)

    def back(self, lease: str, number: int, delay: int = 0, text: Task | None = None, due: int | None = None) -> bool:
        """Out of the flight, to the head of ready or into scheduled. `due` is for the ablation of relative delays."""
        task = self._leave(lease, number)
        if task is None:
            return False
        task = text or task
        if due is not None:
            self.scheduled[task] = due
        elif delay > 0:
            self.schedule(task, delay)
        else:
            self.ready.insert(0, task)
        return True

    def bury(self, lease: str, number: int, reason: str) -> bool:
        task = self._leave(lease, number)
        if task is None:
            return False
        self.dead.append((task, reason))
        return True

    def set_paused(self, paused: Paused) -> Paused:
        if self.pauses.version < paused.version or not self.switches.on("pause-version"):
            self.pauses = paused
        return self.pauses

    def park(self, lease: str, number: int) -> bool:
        """False: it is not paused any more, and the task is still in the flight."""
        if not self.pauses.is_paused and self.switches.on("park-checks"):
            flight = self.flights.get(lease)
            return flight is None or number not in flight.tasks
        if (task := self._leave(lease, number)) is not None:
            self.parked.append(task)
        return True

    def unpark(self) -> None:
        if not self.pauses.is_paused:
            self.ready[:0] = self.parked
            self.parked.clear()

    def promote(self) -> int:
        due = [task for task, at in self.scheduled.items() if at <= self.clock()]
        for task in due:
            self.ready.append(task)
            del self.scheduled[task]
        return len(due)

    def _leave(self, lease: str, number: int) -> Task | None:
        flight = self.flights.get(lease)
        return flight.tasks.pop(number, None) if flight else None

    # --- the watch for loss

    def tick(self) -> tuple[int, int | None]:
        return self.run, self.checkpoint

    def set_checkpoint(self, old: int | None, new: int) -> bool:
        if self.checkpoint != old and self.switches.on("checkpoint-cas"):
            return False
        self.checkpoint = new
        return True

    # --- what the checks ask

    def jobs_in_lists(self) -> set[str]:
        return self.jobs_ready() | {task.job for task in self.scheduled}

    def jobs_ready(self) -> set[str]:
        """Without those that wait for their time."""
        tasks = [*self.ready, *self.front, *self.parked]
        tasks += [task for flight in self.flights.values() for task in flight.tasks.values()]
        return {task.job for task in tasks}
