"""The queue in Redis: one method a script or command, each a single trip over the bridge."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import trio
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from workqueue.core.bridge import Bridge
from workqueue.core.errors import LeaseLost
from workqueue.core.gone import ENTRIES_MAX, KEEP_SECONDS
from workqueue.core.options import DEFAULT_QUEUE, REPLACE, JobOptions, is_queue_name, until_seconds
from workqueue.core.pauses import NOTHING, Paused
from workqueue.core.queue import checks, scripts
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.lanes import LaneTrips, LimitedTypes, read_limited
from workqueue.core.queue.odd import Odd, parse_checkpoint, read_lease, read_number
from workqueue.core.queue.packets import together
from workqueue.core.queue.trips import COMMAND_SECONDS
from workqueue.core.queue.urls import client, target

T = TypeVar("T")

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.25  #: of one blocking wait: an asyncio cancellation may get lost, then this bounds a shutdown
LISTEN_SECONDS = 1.0  #: of one wait for a control message
CLAIM_BYTES_MAX = 8 * 1024 * 1024
SHOWN_BYTES_MAX = 2 * 1024 * 1024  #: of a task that is looked at each second or two; those of /enqueue have half
SHOWN_HEAD_BYTES_MAX = 16 * 1024  #: the same, where it is one for each queue
PUSH_BYTES_MAX = 4 * 1024 * 1024
PROMOTE_MAX = 1000
DEAD_LETTERS_MAX = 10_000
TYPE_SHOWN_MAX = 200  #: characters
TASKS_MAX = 500  #: read at a time
DEAD_READ_MAX = 1000  #: dead letters at a time
DEAD_BYTES_MAX = 4 * 1024 * 1024  #: of them
QUEUES_MAX = 1000  #: besides the default one
UNBURY_MAX = 100  #: a trip, where each is looked for in the whole list: a few ms of Redis's time
CHECK = "TYPE, INFO, MULTI"  #: what is asked by `check`
REFUSED_SECONDS = 60.0  #: for so long `check` names what was refused and has not been asked again with success
ARGUMENTS_MAX = 3000  #: of one script call
NONE_UNIQUE: Mapping[int | bytes, tuple[str, UUID]] = {}


class Depths(Struct, frozen=True):
    """How many tasks are where."""

    ready: int  #: ready to be taken
    scheduled: int
    dead: int
    parked: dict[str, int]  #: because their type is paused, by type
    paused: Paused
    others: dict[str, "QueueDepths"] = {}  #: the part of each queue besides the default one


class QueueDepths(Struct, frozen=True):
    """How many tasks of one queue are where."""

    ready: int
    scheduled: int


class Head(Struct, frozen=True):
    """What waits in a queue."""

    queue: str
    ready: int
    scheduled: int
    task: bytes  #: that is claimed next; empty: there is none, or it is large


class DueSchedule(Struct, frozen=True):
    """A schedule that is looked at, or moves on from the due time that was read."""

    key: str
    seen_ms: int | None = None  #: None: it was not there
    next_ms: int | None = None  #: None: it is only looked at
    queue: str = DEFAULT_QUEUE  #: of its tasks
    tasks: Sequence[tuple[int, bytes]] = ()  #: ms that each waits, with `waits`
    waits: bool = False


class UniqueTask(Struct, frozen=True):
    """A task that is pushed if its unique key is free."""

    options: JobOptions
    type: str
    job_id: UUID
    due: bytes  #: as Queue.push_once takes it
    task: bytes  #: ends with its job_id
    idempotency: tuple[bytes, bytes] | None = None  #: hash of the key, and of the body


class DeadPage(Struct, frozen=True):
    """Entries of the dead letters, in their order."""

    entries: list[bytes]
    total: int  #: how many there are
    next: int | None  #: place of the next one; None: there is none


class Inspection(Struct, frozen=True):
    """What Redis says of a lease that is to be recovered."""

    score: float | None  #: 0 = fenced, -1 = ended clean, above = it lives; None: Redis knows no such lease
    numbers: set[int]  #: of the tasks in its flight
    suspect_starts: set[int]  #: numbers of suspects whose start was recorded
    odd: list[bytes] = []  #: fields of its flight that are no numbers: another program wrote them
    published: bytes = b""  #: what its worker said of itself last


class Queue(LaneTrips):
    """One queue. Cancelling any method leaves the command's effect unknown, unless it says more.

    What another program has put into our keys is passed over, and named once in the log.
    Mutable state: what was named and told, what was paused when Redis said so last, and that of the trips.
    """

    def __init__(
        self,
        bridge: Bridge,
        commands: "Redis",
        blocking: "Redis",
        listening: "Redis",
        ringing: "Redis",
        keys: Keys,
        *,
        command_seconds: float = COMMAND_SECONDS,
    ) -> None:
        super().__init__(bridge, commands, command_seconds=command_seconds)
        self.keys = keys
        self.paused = NOTHING  #: at the last claim
        self.limited = LimitedTypes()  #: at the last claim
        self.with_permits: frozenset[int] = frozenset()  #: the numbers of the last claim that have one already
        self._blocking = blocking
        self._listening = listening
        self._ringing = ringing
        self._odd = Odd()
        self._goes_without: set[str] = set()

    @property
    def name(self) -> str:
        return self.keys.ready

    # --- tasks that are ready

    async def push(self, tasks: Sequence[bytes]) -> None:
        """Append to the ready list of the default queue. One command: Redis takes all of them or none."""
        await self._command("RPUSH", self.keys.ready, *tasks)

    async def push_to(self, tasks: Sequence[tuple[str, bytes]]) -> None:
        """Append (queue, task) to their ready lists, and wake a worker."""
        keys = [self.keys.ready, self.keys.queues, self.keys.bell]
        for part in _parts(tasks, 2):
            await self._script(scripts.PUSH, keys, _flat(part))

    async def add_queue(self, queue: str) -> bool:
        """Note the name of a queue; False: there are QUEUES_MAX others. May be repeated."""
        return bool(await self._script(scripts.ADD_QUEUE, [self.keys.queues], [queue, QUEUES_MAX]))

    async def queues(self) -> set[str]:
        """The names of all queues that ever had a job, and of the default one."""
        found = await self._command("SMEMBERS", self.keys.queues)
        names, _ = self._odd.split(self.keys.queues, found, _read_queue)
        return {DEFAULT_QUEUE, *names}

    async def wait_for_bell(self) -> str | None:
        """The name of a queue that was pushed to (the default one's where a group of it was); None: none was, within
        WAIT_SECONDS.

        Of several workers that wait one is woken. Cancelled: a bell may be lost, and no task with it.
        """

        async def unit() -> Any:
            run: Any = self._ringing.execute_command
            return await run("BLPOP", self.keys.bell, WAIT_SECONDS)

        rung = await self._run(unit, WAIT_SECONDS + self._command_seconds, "BLPOP")
        if rung is None:
            return None
        return DEFAULT_QUEUE if rung[1] == DEFAULT_QUEUE.encode() else _read_queue(rung[1])

    async def push_once(self, tasks: Sequence[tuple[bytes, bytes, bytes, bytes]], *, ttl_seconds: float) -> list[str]:
        """Push (hash of an idempotency key, hash of the body, when it is due, task), each once for its key. When: b""
        for at once, b"+1000" in a second, b"1790000000000" at that ms since 1970, on Redis's clock.

        One script for up to 1,000: all of them are done or none. Answers for each `pushed`, `same` (that body was
        pushed under this key), `other` (the key stands for another body) or `odd` (it cannot be used: another program
        has made it). May be repeated: `pushed` is `same` then.
        """
        answer: list[str] = []
        for part in _parts(tasks, 4):
            keys = [self.keys.ready, self.keys.queues, self.keys.bell, *(self.keys.idempotency(row[0]) for row in part)]
            arguments = [int(ttl_seconds * 1000), *_flat([row[1:] for row in part])]
            answer += [word.decode() for word in await self._script(scripts.SUBMIT_ONCE, keys, arguments)]
        return answer

    async def push_unique(self, tasks: Sequence[UniqueTask], *, ttl_seconds: float) -> list[tuple[str, UUID | None]]:
        """Push tasks, each if its unique key is free; one that replaces a task that waits takes its place and its id.

        One script for a few hundred: all of them are done or none. Answers for each `pushed`, `held` with the id of the
        job that has the key, `same` (the idempotency key was here with that body; with an id where it was `held` then),
        `other` (with another body) or `odd` (a key cannot be used: another program has made it). May be repeated:
        `pushed` is `held` then, by its own job.
        """
        answer: list[tuple[str, UUID | None]] = []
        rows = [
            (
                b"" if (seconds := until_seconds(each.options)) is None else b"%d" % max(1, int(seconds * 1000)),
                b"1" if each.options.on_duplicate == REPLACE else b"0",
                each.type.encode(),
                str(each.job_id).encode(),
                each.due,
                each.task,
                each.idempotency[1] if each.idempotency else b"",
                self.keys.unique(each.options.unique_key or ""),
                self.keys.idempotency(each.idempotency[0]) if each.idempotency else self.keys.unused,
            )
            for each in tasks
        ]
        for part in _parts(rows, 9):
            keys = [self.keys.ready, self.keys.queues, self.keys.bell, self.keys.front]
            keys += [key for row in part for key in row[7:]]
            arguments = [int(ttl_seconds * 1000), *_flat([row[:7] for row in part])]
            said = await self._script(scripts.SUBMIT_UNIQUE, keys, arguments)
            answer += [(word.decode(), _read_id(holder)) for word, holder in _pairs(said)]
        return answer

    async def schedule(self, tasks: Sequence[tuple[bytes, bytes]]) -> None:
        """Put (when, task) into the scheduled sets of their queues; the tasks must have ids. When: as `push_once`."""
        keys = [self.keys.ready, self.keys.scheduled, self.keys.queues]
        for part in _parts(tasks, 2):
            await self._script(scripts.SCHEDULE, keys, _flat(part))

    async def fire(self, schedules: Sequence[DueSchedule]) -> tuple[int, list[int | None]]:
        """Push the tasks of those whose due time is still what was read, and move these on.

        The ms of Redis's clock, and of each the due time that it has now; None: it is not there. May be repeated.
        """
        keys = [self.keys.ready, self.keys.queues, self.keys.bell, self.keys.schedules]
        arguments: list[Any] = []
        for each in schedules:
            seen, later = ("" if ms is None else str(ms) for ms in (each.seen_ms, each.next_ms))
            arguments += [each.key, seen, later, each.queue, int(each.waits), len(each.tasks), *_flat(each.tasks)]
        now_ms, *dues = await self._script(scripts.FIRE, keys, arguments)
        return int(now_ms), [int(float(due)) if due else None for due in dues]

    async def promote(self) -> tuple[int, float | None]:
        """Move what is due to the ready lists, and give lanes that are due their turns.

        Returns how many tasks were moved, PROMOTE_MAX at most, and the seconds until the next lane is due (None: none
        waits for a time).
        """
        keys = [self.keys.ready, self.keys.scheduled, self.keys.queues, self.keys.bell]
        count, next_ms = await self._script(scripts.PROMOTE, keys, [PROMOTE_MAX, PUSH_BYTES_MAX])
        return int(count), None if next_ms < 0 else next_ms / 1000

    # --- tasks in flight

    async def claim(
        self,
        lease: UUID,
        *,
        start: int,
        count: int,
        spare_ids: Sequence[UUID] = (),
        on_task_available: Callable[[], None] | None = None,
        quotas: Sequence[tuple[str, int]] = (),
    ) -> dict[int, bytes]:
        """Take up to `count` tasks from the heads of queues, under numbers from `start` on.

        The same `start` again gives the same answer: repeat it until there is one, then go on at `start + count`.
        `spare_ids`: fresh ids, for those of the first tasks that have none (claim.lua says which). `on_task_available`:
        wait for a task of the default queue first, for WAIT_SECONDS at most; called when the wait is over, before
        anything is taken. `quotas`: queues, and how many of each at least as far as it has them; what some lack, the
        others give, in this order. None: all from the default queue. `paused` is what was paused at that moment,
        `limited` which types were limited; those of `with_permits` have their permits already. Raises LeaseLost when
        Redis says so. Cancelled or without an answer: the tasks may be in the flight.
        """
        keys = [self.keys.ready, self.keys.front, self.keys.leases, self.keys.flight(lease), self.keys.pauses]
        keys.append(self.keys.queues)
        arguments = [str(lease), count, CLAIM_BYTES_MAX, start, len(quotas), *_flat(quotas), *map(str, spare_ids)]
        if on_task_available is None:
            first, *tasks = await self._script(scripts.CLAIM, keys, arguments)
        else:
            first, *tasks = await self._script_once_there_is_a_task(scripts.CLAIM, keys, arguments, on_task_available)
        if first == -1:
            raise LeaseLost(f"lease {lease} is lost")
        found = {number: task for number, task in enumerate(tasks, start) if task is not None}
        self.paused, self.limited, self.with_permits = NOTHING, LimitedTypes(), frozenset()
        if isinstance(first, list):
            self.paused, self.limited = self._read_paused(first[0]), read_limited(first[1])
            self.with_permits = frozenset(number for number, task in found.items() if type(task) is list)
            for number in self.with_permits:
                [found[number]] = found[number]
        return found

    async def assign_ids(self, lease: UUID, tasks: Sequence[tuple[int, bytes]]) -> list[bool]:
        """Replace (number, task with its new id) in the flight; False: no longer ours, no row may be made."""
        keys = [self.keys.leases, self.keys.flight(lease)]
        answer = []
        for part in _parts(tasks, 2):
            answer += await self._script(scripts.ASSIGN_IDS, keys, [str(lease), *_flat(part)])
        return [bool(named) for named in answer]

    async def ack(self, lease: UUID, numbers: Sequence[int]) -> int:
        """Remove tasks from the flight; returns how many were there. May be repeated."""
        acked = 0
        for part in _parts(ranges_of(numbers), 2):
            acked += int(await self._script(scripts.ACK, [self.keys.flight(lease)], _flat(part)))
        return acked

    async def free_unique(self, lease: UUID, held: Sequence[tuple[int, str, UUID]], *, ack: bool) -> int:
        """Free the unique keys of (number, key, job), where that job has it; returns how many were in the flight.

        `ack`: they leave the flight with it. May be repeated.
        """
        count = 0
        for part in _parts(held, 3):
            keys = [self.keys.flight(lease), *(self.keys.unique(key) for _, key, _ in part)]
            arguments = [int(ack), *_flat([(number, str(job_id)) for number, _, job_id in part])]
            count += int(await self._script(scripts.FREE_UNIQUE, keys, arguments))
        return count

    async def give_back(self, lease: UUID, tasks: Sequence[tuple[int, int, bytes]]) -> dict[int, bool]:
        """Give back (number, delay in ms, new text or b"" for the old one); number -> was it in the flight?

        Delay 0: to the heads of the ready lists of their queues, in the order of their numbers. May be repeated: False
        then.
        """
        keys = [self.keys.ready, self.keys.scheduled, self.keys.flight(lease), self.keys.bell, self.keys.queues]
        answer: dict[int, bool] = {}
        for part in _parts(sorted(tasks, reverse=True), 3):
            given = await self._script(scripts.GIVE_BACK, keys, _flat(part))
            answer |= {number: bool(done) for (number, _, _), done in zip(part, given, strict=True)}
        return answer

    async def bury(
        self,
        lease: UUID,
        entries: Sequence[tuple[int | bytes, bytes]],
        unique: Mapping[int | bytes, tuple[str, UUID]] = NONE_UNIQUE,
    ) -> Counter[str]:
        """Move (number, entry) to the dead letters; returns how many old entries had to go, by their types.

        `unique`: number -> (key, job) whose unique keys are free with it. `""` for those that have none, or that there
        was no time to look at. May be repeated.
        """
        dropped: Counter[str] = Counter()
        for part in _parts(entries, 2):
            keys = [self.keys.dead, self.keys.flight(lease)]
            freed = [(number, *unique[number]) for number, _ in part if number in unique] if unique else []
            keys += [self.keys.unique(key) for _, key, _ in freed]
            arguments = [DEAD_LETTERS_MAX, *_flat([(number, str(job_id)) for number, _, job_id in freed])]
            answer = await self._script(scripts.BURY, keys, [*arguments, *_flat(part)])
            types = answer[1 + len(part) :]
            for each, count in Counter(types).items():  # thousands of few types: each is put into words once
                dropped[each.decode(errors="replace")[:TYPE_SHOWN_MAX]] += count
            if (rest := answer[0] - len(types)) > 0:
                dropped[""] += rest
        return dropped

    async def numbers(self, lease: UUID) -> set[int]:
        """The numbers that are in the flight of a lease."""
        return self._numbers(lease, await self._command("HKEYS", self.keys.flight(lease)))[0]

    def _numbers(self, lease: UUID, fields: Sequence[bytes]) -> tuple[set[int], list[bytes]]:
        """The numbers among the fields of a flight, and what is none."""
        key = self.keys.flight(lease)
        numbers, odd = self._odd.split(key, (field for field in fields if field != b"at"), read_number)
        return set(numbers), odd

    # --- tasks of paused types

    async def set_paused(self, paused: Paused) -> Paused:
        """Write down what is paused, where no newer version stands; returns what stands there then. May be repeated."""
        fields = [*(f"t:{each}" for each in paused.types), *(f"q:{each}" for each in paused.queues)]
        arguments = [paused.version, *sorted(fields)]
        return self._read_paused(await self._script(scripts.SET_PAUSED, [self.keys.pauses], arguments))

    async def park(self, lease: UUID, job_type: str, numbers: Sequence[int]) -> list[bool]:
        """Move tasks of a paused type from the flight to those that are parked; False: it is not paused any more, and
        the task is still in the flight. May be repeated: True then."""
        keys = [self.keys.flight(lease), self.keys.pauses, self.keys.parked(job_type), self.keys.parked_counts]
        answer: list[bool] = []
        for part in _parts([(number,) for number in sorted(numbers)], 1):
            answer += [bool(gone) for gone in await self._script(scripts.PARK, keys, [job_type, *_flat(part)])]
        return answer

    async def unpark(self, job_type: str) -> int:
        """Move up to PROMOTE_MAX parked tasks to the heads of their ready lists; returns how many are left.

        The same number as before where the type is paused. May be repeated.
        """
        keys = [self.keys.ready, self.keys.pauses, self.keys.parked(job_type), self.keys.parked_counts, self.keys.bell]
        _, left = await self._script(scripts.UNPARK, keys, [job_type, PROMOTE_MAX, PUSH_BYTES_MAX])
        return int(left)

    async def parked(self) -> dict[str, int]:
        """Type -> how many of its tasks are parked."""
        return (await self.depths()).parked

    def _read_paused(self, flat: Sequence[bytes]) -> Paused:
        fields = dict(_pairs(flat))
        versions, _ = self._odd.split(self.keys.pauses, [fields.pop(b"v", b"0")], _read_version)
        names, _ = self._odd.split(self.keys.pauses, fields, _read_paused)
        of = {kind: frozenset(name for its, name in names if its == kind) for kind in ("t", "q")}
        return Paused(versions[0] if versions else 0, of["t"], of["q"])

    # --- leases

    async def end(self, lease: UUID) -> None:
        """End a lease clean: no worker is blamed for what is left of it. May be repeated."""
        await self._script(scripts.END, [self.keys.leases], [str(lease)])

    async def retire(self, lease: UUID, note: bytes = b"") -> bool:
        """Remove a lease that does not live and holds nothing; False: it lives or holds tasks. May be repeated.

        `note`: what is noted of its worker, once (core/gone.py).
        """
        keys = [self.keys.leases, self.keys.workers, self.keys.flight(lease), self.keys.suspect_starts(lease)]
        arguments = [str(lease), note, ENTRIES_MAX, int(KEEP_SECONDS * 1000)]
        return bool(await self._script(scripts.RETIRE, [*keys, self.keys.gone], arguments))

    async def gone(self) -> tuple[list[bytes], float]:
        """What was noted of workers that are gone, the newest first, and Redis's clock in seconds since 1970."""
        entries, (seconds, microseconds) = await self._transaction(
            ["LRANGE", self.keys.gone, 0, ENTRIES_MAX - 1], ["TIME"]
        )
        return entries, int(seconds) + int(microseconds) / 1e6

    async def lease_scores(self) -> dict[UUID, float]:
        """Lease -> its score (Keys.leases says what it means)."""
        return self._scores(await self._command("ZRANGE", self.keys.leases, 0, -1, "WITHSCORES"))

    def _scores(self, answer: Sequence[Any]) -> dict[UUID, float]:
        pairs = _pairs(answer)
        leases, _ = self._odd.split(self.keys.leases, (lease for lease, _ in pairs), read_lease)
        scores = {lease: float(score) for lease, score in pairs}
        return {lease: scores[str(lease).encode()] for lease in leases}

    async def published_leases(self) -> set[UUID]:
        """The leases whose workers ever published something and that are not retired."""
        return set(self._leases(self.keys.workers, await self._command("HKEYS", self.keys.workers)))

    def _leases(self, key: str, found: Sequence[bytes]) -> list[UUID]:
        return self._odd.split(key, found, read_lease)[0]

    async def fence(self, lease: UUID, score: float) -> bool:
        """Fence a lease whose score is still this one. False: it is not; nothing was done."""
        return bool(await self._script(scripts.FENCE, [self.keys.leases], [str(lease), score]))

    async def record_suspect_start(self, lease: UUID, number: int) -> bool:
        """Note that a suspect is about to start; False: the lease is lost. May be repeated."""
        keys = [self.keys.leases, self.keys.suspect_starts(lease)]
        return bool(await self._script(scripts.RECORD_SUSPECT_START, keys, [str(lease), number]))

    async def inspect(self, lease: UUID) -> Inspection:
        """What is there of a lease, all of it at one moment."""
        score, published, fields, recorded = await self._transaction(
            ["ZSCORE", self.keys.leases, str(lease)],
            ["HGET", self.keys.workers, str(lease)],
            ["HKEYS", self.keys.flight(lease)],
            ["SMEMBERS", self.keys.suspect_starts(lease)],
        )
        numbers, odd = self._numbers(lease, fields)
        started, _ = self._odd.split(self.keys.suspect_starts(lease), recorded, read_number)
        return Inspection(None if score is None else float(score), numbers, set(started), odd, published or b"")

    async def odd_tasks(self, lease: UUID, fields: Sequence[bytes]) -> dict[bytes, bytes]:
        """Field -> what stands there, of fields of a flight that are no numbers. Ask for few at a time."""
        values = await self._command("HMGET", self.keys.flight(lease), *fields)
        return {field: value for field, value in zip(fields, values, strict=True) if value is not None}

    async def flight_tasks(self, lease: UUID, numbers: Sequence[int]) -> dict[int, bytes]:
        """Number -> task, of those that are in the flight. Tasks are large: ask for few at a time."""
        tasks = await self._command("HMGET", self.keys.flight(lease), *numbers)
        return {number: task for number, task in zip(numbers, tasks, strict=True) if task is not None}

    # --- what Redis remembers

    async def read_checkpoint(self) -> tuple[str | None, int | bytes | None]:
        """The run id of this Redis (None: it refuses INFO) and the checkpoint that it remembers.

        The checkpoint is None where it has none, and bytes where what stands there was never a checkpoint of ours.
        """
        run, checkpoint = await self._script(scripts.READ_CHECKPOINT, [self.keys.checkpoint], [])
        if checkpoint is None:
            return run.decode() or None, None
        checkpoints, odd = self._odd.split(self.keys.checkpoint, [checkpoint], parse_checkpoint)
        return run.decode() or None, odd[0] if odd else checkpoints[0]

    async def set_checkpoint(self, seen: int | bytes | None, new: int) -> bool:
        """Move the checkpoint on from the one that was seen; False: it is another one by now."""
        return bool(
            await self._script(scripts.SET_CHECKPOINT, [self.keys.checkpoint], ["" if seen is None else seen, new])
        )

    async def installation(self, mine: UUID | None) -> str | None:
        """In which database the jobs of this queue have rows; `mine` from now on, if none was noted. None: none is.

        Two trips more where none was noted.
        """
        noted: bytes | None = await self._command("GET", self.keys.rows)
        if noted is None and mine is not None:
            await self._command("SET", self.keys.rows, str(mine), "NX")
            noted = await self._command("GET", self.keys.rows)
        return None if noted is None else noted.decode("utf-8", "replace")

    async def workers(self) -> dict[UUID, tuple[bytes, float]]:
        """Lease that lives -> (what its worker published last, seconds since on Redis's clock)."""
        leases, flat, (seconds, microseconds) = await self._transaction(
            ["ZRANGE", self.keys.leases, 0, -1, "WITHSCORES"], ["HGETALL", self.keys.workers], ["TIME"]
        )
        published = dict(_pairs(flat))
        self._leases(self.keys.workers, list(published))  # names what is odd there
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        return {
            lease: (said, max(0.0, (now_ms - score) / 1000))
            for lease, score in self._scores(leases).items()
            if score > 0 and (said := published.get(str(lease).encode())) is not None
        }

    # --- control

    async def tell_workers(self, message: bytes) -> None:
        """Send a control message to the workers that listen now. Redis keeps none."""
        await self._command("PUBLISH", self.keys.control, message)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Callable[[], Awaitable[bytes | None]]]:
        """Subscribe to the control messages, on a connection of their own, until the block ends.

        The function returns the next one; None: none came within LISTEN_SECONDS. Both raise QueueUnavailable, and
        what was sent meanwhile is lost: leave the block, and listen anew.
        """
        pubsub: Any = self._listening.pubsub(ignore_subscribe_messages=True)

        async def receive() -> bytes | None:
            seconds = LISTEN_SECONDS + self._command_seconds
            message = await self._run(partial(pubsub.get_message, timeout=LISTEN_SECONDS), seconds, "SUBSCRIBE")
            return None if message is None else message["data"]

        try:
            await self._run(partial(pubsub.subscribe, self.keys.control), self._command_seconds, "SUBSCRIBE")
            yield receive
        finally:
            with trio.move_on_after(2, shield=True):
                await self._bridge.run(pubsub.aclose)

    async def ask_worker(self, lease: UUID, wish: str) -> None:
        """Keep for an hour what a person asks of a worker: each renewal of its lease looks there."""
        await self._command("SET", self.keys.asked(lease), wish, "PX", int(KEEP_SECONDS * 1000))

    async def asked(self, leases: Sequence[UUID]) -> dict[UUID, str]:
        """Lease -> what was asked of its worker last, of those of whom anything was. One trip."""
        return {
            lease: text.decode("utf-8", "replace") for lease, text in (await self._texts(leases, Keys.asked)).items()
        }

    async def answer(self, request: UUID, text: bytes, *, keep_seconds: float) -> None:
        """Keep the answer to a question for so long."""
        await self._command("SET", self.keys.answer(request), text, "PX", int(keep_seconds * 1000))

    async def answers(self, requests: Sequence[UUID]) -> dict[UUID, bytes]:
        """Those of the answers that are there, in one trip."""
        return await self._texts(requests, Keys.answer)

    async def _texts(self, ids: Sequence[UUID], key: Callable[[Keys, UUID], str]) -> dict[UUID, bytes]:
        if not ids:
            return {}
        commands = [["GET", key(self.keys, each)] for each in ids]
        found = await self._run(partial(together, self._commands, commands), self._command_seconds, "GET")
        return {each: text for each, text in zip(ids, found, strict=True) if text is not None}

    # --- looking

    async def ready_length(self) -> int:
        """How many tasks are ready to be taken, those included that a waiting worker moved to the front list."""
        return (await self.depths()).ready

    async def depths(self) -> Depths:
        """How many tasks are where, in one trip."""
        keys = [
            self.keys.ready, self.keys.front, self.keys.scheduled, self.keys.dead, self.keys.parked_counts,
            self.keys.pauses, self.keys.queues,
        ]  # fmt: skip
        ready, scheduled, dead, parked, paused, *others = await self._script(scripts.DEPTHS, keys, [])
        each = zip(others[::3], others[1::3], others[2::3], strict=True)
        queues = {name.decode(errors="replace"): QueueDepths(its, later) for name, its, later in each}
        return Depths(ready, scheduled, dead, _counts_by_type(parked), self._read_paused(paused), queues)

    async def next_task(self) -> tuple[bytes, float]:
        """The task that is claimed next, and Redis's clock in seconds since 1970.

        The task is empty where none is ready, and where it has more than SHOWN_BYTES_MAX: it is only looked at.
        """
        keys = [self.keys.front, self.keys.ready]
        task, now_ms = await self._script(scripts.NEXT_TASK, keys, [SHOWN_BYTES_MAX])
        return task, int(now_ms) / 1000

    async def heads(self) -> tuple[list[Head], float]:
        """What waits in each queue, and Redis's clock in seconds since 1970. A task that is larger than SHOWN_BYTES_MAX
        is left out."""
        keys = [self.keys.ready, self.keys.front, self.keys.queues]
        now_ms, *flat = await self._script(scripts.HEADS, keys, [SHOWN_HEAD_BYTES_MAX])
        rows = zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        heads = [Head(name.decode(errors="replace"), ready, later, task) for name, ready, later, task in rows]
        return heads, int(now_ms) / 1000

    async def count_tasks(self) -> int:
        """How many tasks are anywhere in this queue, all at one moment: one that moves meanwhile is not missed."""
        while True:
            before = await self.lease_scores(), await self.published_leases()
            leases = sorted(set(before[0]) | before[1])
            queues = sorted(await self.queues())
            in_queues, rest = (
                2 * len(queues),
                await self._transaction(
                    *(["LLEN", self.keys.ready_of(queue)] for queue in queues),
                    *(["ZCARD", self.keys.scheduled_of(queue)] for queue in queues),
                    ["LLEN", self.keys.front],
                    ["HVALS", self.keys.grouped],
                    ["HGETALL", self.keys.parked_counts],
                    *(["HKEYS", self.keys.flight(lease)] for lease in leases),
                    ["ZRANGE", self.keys.leases, 0, -1],
                    ["HKEYS", self.keys.workers],
                ),
            )
            waiting = sum(rest[:in_queues])
            front, grouped, parked, *flights, living, published = rest[in_queues:]
            there = {*self._leases(self.keys.leases, living), *self._leases(self.keys.workers, published)}
            if there <= set(leases):  # else: a new one's flight
                waiting += (
                    front
                    + sum(int(count) for count in grouped if count.isdigit())
                    + sum(_counts_by_type(parked).values())
                )
                return int(waiting + sum(field != b"at" for flight in flights for field in flight))

    async def tasks(self) -> AsyncIterator[list[bytes]]:
        """Every task that is anywhere in this queue, in pieces. Work goes on meanwhile, so it is no exact picture."""
        parked = [self.keys.parked(job_type) for job_type in await self.parked()]
        queues = sorted(await self.queues())
        lanes = [self.keys.lane(name) for name in await self.lanes()]
        for key in (*parked, self.keys.front, *lanes, *map(self.keys.ready_of, queues)):
            begin = 0
            while piece := await self._command("LRANGE", key, begin, begin + TASKS_MAX - 1):
                yield piece
                begin += len(piece)
        for key in map(self.keys.scheduled_of, queues):
            begin = 0
            while piece := await self._command("ZRANGE", key, begin, begin + TASKS_MAX - 1):
                yield piece
                begin += len(piece)
        for lease in await self.published_leases() | set(await self.lease_scores()):
            numbers = sorted(await self.numbers(lease))
            for begin in range(0, len(numbers), TASKS_MAX):
                yield list((await self.flight_tasks(lease, numbers[begin : begin + TASKS_MAX])).values())

    async def dead_letters(self) -> AsyncIterator[list[bytes]]:
        """Every dead letter, the oldest first, in pieces."""
        begin = 0
        while piece := await self._command("LRANGE", self.keys.dead, begin, begin + TASKS_MAX - 1):
            yield piece
            begin += len(piece)

    async def read_dead(
        self, place: int, *, oldest_first: bool = False, count: int = DEAD_READ_MAX, after: str = "",
        only: Collection[str] = (),
    ) -> DeadPage:  # fmt: skip
        """Up to `count` dead letters from a place on, DEAD_BYTES_MAX of them (one always); place 0 is the newest.

        `oldest_first`: place 0 is the oldest, and the walk leads to newer ones. `after`: id of the entry that was read
        before, so that entries that came or went meanwhile are neither shown twice nor left out. `only`: of those that
        are read, the entries with these ids.
        """
        order = "oldest" if oldest_first else "newest"
        arguments = [place, order, count, DEAD_BYTES_MAX, after, *only]
        total, following, *entries = await self._script(scripts.READ_DEAD, [self.keys.dead], arguments)
        return DeadPage(entries, total, None if following < 0 else following)

    async def unbury(self, entries: Sequence[tuple[bytes, bytes]], *, with_copies: bool) -> list[int]:
        """Take (entry, task to push, b"" for none) out of the dead letters; how many went, of each.

        `with_copies`: with all that are the same; else one of each goes, and they should be the oldest of the list.
        Entry and task change places in one script: however it ends, a task is in one of both lists. May be repeated:
        what has gone is passed over.
        """
        answer: list[int] = []
        for part in _parts(entries, ARGUMENTS_MAX // UNBURY_MAX if with_copies else 2):
            arguments = [0 if with_copies else 1, *_flat(part)]
            keys = [self.keys.dead, self.keys.ready, self.keys.queues, self.keys.bell]
            answer += await self._script(scripts.UNBURY, keys, arguments)
        return answer

    async def clear_dead(self) -> int:
        """Delete all dead letters; how many there were."""
        count, _ = await self._transaction(["LLEN", self.keys.dead], ["LTRIM", self.keys.dead, 1, 0])
        return int(count)

    async def key_names(self) -> set[str]:
        """Every key of this queue that exists. Walks through all keys of the server, in pieces."""
        return {name.decode(errors="replace") for name in await self._key_names()}

    async def _key_names(self) -> set[bytes]:
        names = {self.name.encode()} if await self._command("EXISTS", self.name) else set()
        cursor = b"0"
        while True:
            cursor, found = await self._command("SCAN", cursor, "MATCH", f"{{{self.name}}}:*", "COUNT", 1000)
            names.update(found)
            if int(cursor) == 0:
                return names

    async def remove(self) -> None:
        """Remove the queue with all that is in it, for good."""
        if names := await self._key_names():
            await self._command("DEL", *names)

    async def check(self, *, room: bool = False, lease: UUID | None = None) -> None:
        """Raise NeedsOperator, with a sentence for an operator, unless Redis keeps what it has and does what we need.

        `room`: and would take new tasks; only what producers need is asked for then. Workers do not need that: they go
        on under out-of-memory, and so make room. `lease`: whose own keys are looked at too.
        """
        kinds = checks.kinds(self.keys, lease)
        answer = await self._run(
            partial(checks.ask, self._commands, self.keys, kinds, produces=room), self._command_seconds, CHECK
        )
        if checks.is_replica(answer):
            # It may have been the master a moment ago: a new connection may lead to another server.
            await self._run(partial(self._commands.connection_pool.disconnect, False), self._command_seconds, CHECK)
        self._say_what_is_done_without(answer)
        checks.judge(answer, kinds, room=room)
        now = trio.current_time()
        self._refused = {asked: each for asked, each in self._refused.items() if now - each[1] < REFUSED_SECONDS}
        for failure, _ in self._refused.values():
            raise failure

    def _say_what_is_done_without(self, answer: checks.Answer) -> None:
        missing = checks.done_without(answer)
        if missing is not None and missing not in self._goes_without:
            log.warning("%s. Until then: whether keys may be evicted is not known, and a loss of data is noticed by "
                        "its checkpoint alone", missing)  # fmt: skip
        self._goes_without = set() if missing is None else {missing}

    # --- a wait, and what follows it

    async def _script_once_there_is_a_task(
        self,
        script: scripts.Script,
        keys: Sequence[str],
        arguments: Sequence[Any],
        on_task_available: Callable[[], None],
    ) -> Any:
        """Both in one crossing, on one connection: an idle worker starts a task in half the time.

        Not in one packet: Redis would go on to the script for a worker that has died or hangs since. A BLMOVE without
        an answer may have moved its task (32 of 300 that were cancelled had). The task is in the ready list or in the
        front list then, and every claim looks into both: that is why the reply is thrown away.
        """

        async def unit() -> Any:
            pool: Any = self._blocking.connection_pool
            connection: Any = await pool.get_connection()
            try:
                await connection.send_command("BLMOVE", self.keys.ready, self.keys.front, "LEFT", "RIGHT", WAIT_SECONDS)
                await connection.read_response()
                on_task_available()
                try:
                    await connection.send_command("EVALSHA", script.digest, len(keys), *keys, *arguments)
                    return await connection.read_response()
                except NoScriptError:
                    await connection.send_command("EVAL", script.text, len(keys), *keys, *arguments)
                    return await connection.read_response()
            finally:
                await pool.release(connection)

        return await self._run(unit, WAIT_SECONDS + self._command_seconds, f"BLMOVE or {script.shown}")


def ranges_of(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) of each run without gaps, in order."""
    runs: list[tuple[int, int]] = []
    first = last = None
    for number in sorted(numbers):
        if last is not None and first is not None and number <= last + 1:
            last = number
            continue
        if last is not None and first is not None:
            runs.append((first, last))
        first = last = number
    if last is not None and first is not None:
        runs.append((first, last))
    return runs


def _read_id(text: bytes) -> UUID | None:
    """Another program may have written there, too."""
    try:
        return UUID(text.decode())
    except ValueError:
        return None


def _read_version(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) < 19 else None


def _read_paused(field: bytes) -> tuple[str, str] | None:
    return (chr(field[0]), field[2:].decode(errors="replace")) if field[:2] in {b"t:", b"q:"} else None


def _read_queue(name: bytes) -> str | None:
    text = name.decode(errors="replace")
    return text if is_queue_name(text) and text != DEFAULT_QUEUE else None


def _counts_by_type(flat: Sequence[bytes]) -> dict[str, int]:
    """Another program may have written there, too."""
    return {name.decode(errors="replace"): int(count) for name, count in _pairs(flat) if count.isdigit()}


def _pairs(values: Sequence[Any]) -> list[tuple[Any, Any]]:
    """What Redis lists flat."""
    return list(zip(values[::2], values[1::2], strict=True))


def _flat(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]


def _parts(rows: Sequence[T], width: int) -> list[Sequence[T]]:
    """Pieces of at most ARGUMENTS_MAX arguments and about PUSH_BYTES_MAX bytes; one row is never split."""
    parts: list[Sequence[T]] = []
    begin = size = 0
    for index, row in enumerate(rows):
        length = sum(len(value) for value in row if isinstance(value, bytes)) if isinstance(row, tuple) else 0
        if index > begin and ((index - begin + 1) * width > ARGUMENTS_MAX or size + length > PUSH_BYTES_MAX):
            parts.append(rows[begin:index])
            begin, size = index, 0
        size += length
    if begin < len(rows):
        parts.append(rows[begin:])
    return parts


@asynccontextmanager
async def open_queue(
    bridge: Bridge, url: str, name: str, *, command_seconds: float = COMMAND_SECONDS
) -> AsyncIterator[Queue]:
    """The queue `name` on the Redis at `url`. Connects with the first command; closed within 2 s at the end.

    `command_seconds`: how long an answer may take.
    """

    at = target(url, name)
    commands = client(at, 8, seconds=command_seconds, read_seconds=command_seconds)
    # A connection of its own, or redis-py would break off a wait that is longer than an answer may take.
    blocking = client(at, 1, seconds=command_seconds, read_seconds=WAIT_SECONDS + command_seconds)
    listening = client(at, 1, seconds=command_seconds, read_seconds=command_seconds)
    ringing = client(at, 1, seconds=command_seconds, read_seconds=WAIT_SECONDS + command_seconds)
    try:
        yield Queue(bridge, commands, blocking, listening, ringing, Keys(name), command_seconds=command_seconds)
    finally:
        with trio.move_on_after(2, shield=True):
            await bridge.run(commands.aclose)
            await bridge.run(blocking.aclose)
            await bridge.run(listening.aclose)
            await bridge.run(ringing.aclose)
