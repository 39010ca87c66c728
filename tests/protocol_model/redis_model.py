"""Redis as the protocol sees it: plain data and the contracts of the Lua scripts.

Every method is one script or one command, hence atomic. Nothing here waits, fails or knows of time but through `clock`;
losing replies, arriving late and losing data is the business of `engine.py`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from tests.protocol_model.lanes_model import Lane, Lanes
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
    lanes: Lanes | None = None  #: where jobs have groups, and types limits
    pushes: Counter[str] = field(default_factory=Counter)  #: for the checks: of each job, whatever was lost since

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
            lanes=self.lanes.snapshot() if self.lanes else None,
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

    def retire(self, lease: str, older: bool = False) -> bool:
        """Remove a lease that does not live and whose flight is empty, with all that is its own.

        `older`: said by a worker of the release before, which knows nothing of lanes.
        """
        if self.lives(lease) or self.flights.get(lease, Flight()).tasks:
            return False
        self.leases.pop(lease, None)
        self.workers.discard(lease)
        self.flights.pop(lease, None)
        self.started.pop(lease, None)
        if self.lanes is not None and not older and self.switches.on("retire-releases"):
            self.lanes.release_leftovers(lease)
        return True

    # --- tasks

    def rpush(self, tasks: Iterable[Task]) -> None:
        """A program that knows the list alone."""
        self.ready.extend(tasks)

    def push(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self.pushes[task.job] += 1
            self._append(task)

    def _append(self, task: Task) -> None:
        if self.lanes is None or not self.lanes.put(task):
            self.ready.append(task)

    def push_waiting(self, waiting: dict[str, tuple[int, Counters]]) -> None:
        """What rows say that wait: each job with its delay and its counters."""
        for job, (delay, counters) in waiting.items():
            task = Task(job, counters.attempts, counters.recoveries, counters.interruptions, counters.payload)
            if delay > 0:
                self.schedule_all({task: delay})
            else:
                self.push([task])

    def push_once(self, key: str, task: Task) -> str:
        """`submit_once`: the job that holds the key; the task is pushed if that is its own, and only the first time."""
        if key not in self.keys:
            self.keys[key] = task.job
            self.push([task])
        return self.keys[key]

    def schedule(self, task: Task, delay: int) -> None:
        self.scheduled[task] = self.clock() + delay

    def schedule_all(self, delays: dict[Task, int]) -> None:
        for task, delay in delays.items():
            self.pushes[task.job] += 1
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
        if self.lanes is not None:
            self._take((count + 1) // 2, start, taken)
            taken |= self.lanes.take(lease, start + len(taken), count - len(taken))
        self._take(count, start, taken)
        if name is not None and start in taken and not taken[start].job:
            taken[start] = name(taken[start])
        flight.tasks.update(taken)
        if self.lanes is not None:
            for number in taken:
                self.lanes.note(lease, number)
        return dict(taken)

    def claim_ahead(self, lease: str, lane: Lane, count: int, start: int) -> dict[int, Task] | None:
        """A claim of the first tasks of one lane, without permits: to look for copies of jobs that have ended."""
        if not self.lives(lease):
            return None
        flight = self.flights.setdefault(lease, Flight())
        if flight.at >= start:
            numbers = range(start, start + count) if flight.at == start else ()
            return {number: flight.tasks[number] for number in numbers if number in flight.tasks}
        assert self.lanes is not None
        flight.at = start
        taken = self.lanes.take_ahead(lane, start, count)
        flight.tasks.update(taken)
        return taken

    def return_ahead(self, lease: str, lane: Lane, numbers: Iterable[int]) -> None:
        assert self.lanes is not None
        tasks = [task for number in sorted(numbers) if (task := self.leave(lease, number)) is not None]
        self.lanes.return_ahead(lane, tasks)

    def _take(self, count: int, start: int, taken: dict[int, Task]) -> None:
        """From the plain lists, until there are so many."""
        for source in (self.front, self.ready):
            while source and len(taken) < count:
                taken[start + len(taken)] = source.pop(0)

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
        return self.leave(lease, number, "release-ack")

    def back(
        self, lease: str, number: int, delay: int = 0, text: Task | None = None, due: int | None = None,
        older: bool = False,
    ) -> bool:  # fmt: skip
        """Out of the flight, to the head of ready or into scheduled. `due` is for the ablation of relative delays."""
        lane = self.lanes.permit(lease, number) if self.lanes is not None and not older else None
        task = self.leave(lease, number, "" if older else "release-back")
        if task is None:
            return False
        task = text or task
        if due is not None:
            self.scheduled[task] = due
        elif self.lanes is not None and not older and self._back_into_lane(self.lanes, task, lane, delay):
            pass
        elif delay > 0:
            self.schedule(task, delay)
        else:
            self.ready.insert(0, task)
        return True

    def _back_into_lane(self, lanes: Lanes, task: Task, permit: Lane | None, delay: int) -> bool:
        """A task with a group: to the head of the lane that it came from, or into scheduled.

        With a delay it keeps its place only where the group is strict: then the lane waits.
        """
        lane = permit or lanes.kind_of(task).untyped
        if not lane.group or (delay > 0 and not lanes.is_strict(lane)):
            return False
        if delay > 0 and not self.switches.on("strict-later"):
            lanes.keep_place(lane, task)
            return False
        if not (lanes.is_strict(lane) and self.switches.on("strict-head")):
            lanes.put_into(lane, task, head=True)
        else:
            lanes.put_first(lane, task)
            lane = lane.untyped
        if delay > 0:
            lanes.postpone(lane, self.clock() + delay)
            lanes.keep_place(lane, task)
        return True

    def bury(self, lease: str, number: int, reason: str) -> bool:
        task = self.leave(lease, number, "release-bury")
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
        if (task := self.leave(lease, number, "release-park")) is not None:
            self.parked.append(task)
        return True

    def unpark(self) -> None:
        if not self.pauses.is_paused:
            lanes = self.lanes
            self.ready[:0] = [task for task in self.parked if lanes is None or not lanes.kind_of(task).group]
            for task in reversed(self.parked):
                if lanes is not None:
                    lanes.put(task, head=True)
            self.parked.clear()

    def promote(self) -> int:
        due = [task for task, at in self.scheduled.items() if at <= self.clock()]
        for task in due:
            self._append(task)
            del self.scheduled[task]
        if self.lanes is not None:
            self.lanes.promote()
        return len(due)

    def tasks_of(self, lease: str) -> dict[int, Task]:
        return self.flights[lease].tasks if lease in self.flights else {}

    def leave(self, lease: str, number: int, release: str = "release-ack") -> Task | None:
        """`release`: the mechanism by which the permit goes with the task; empty: a worker of the release before."""
        flight = self.flights.get(lease)
        task = flight.tasks.pop(number, None) if flight else None
        if task is not None and self.lanes is not None:
            if not release:  # it puts the task into the plain list: the order of its group is lost
                self.lanes.strays.add((lease, number))
                self.lanes.kept.pop(self.lanes.kind_of(task).untyped, None)
            elif self.switches.on(release):
                self.lanes.release(lease, number)
        return task

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
        if self.lanes is not None:
            tasks += [task for waiting in self.lanes.waiting.values() for task in waiting]
        return {task.job for task in tasks}
