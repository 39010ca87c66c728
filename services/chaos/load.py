"""The clients of a chaos run, over HTTP, and an external program that uses RPUSH. They record each answer."""

import re
import time
from collections import deque
from random import Random
from uuid import UUID

import msgspec
import trio
from msgspec import Struct
from uuid_utils.compat import uuid7

from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import Queue
from workqueue.services.chaos.client import Client, NoAnswer, NotSent
from workqueue.services.chaos.limits import UNIQUE_SCOPE

_DUPLICATE = b'"status":"duplicate"'
_ID = re.compile(rb'"job_id":"([0-9a-f-]{36})"')

ANSWER_SECONDS = 20.0
CLIENTS = 24
RETRIES = 3
LONG_SECONDS = 4.0  #: the longest job: longer than a lease, shorter than the grace at a stop
LONG_SHARE = 0.05  #: of those that nap
CHOOSES_SHARE = 0.5  #: of the jobs that choose more than their retries
QUEUES = ("mail", "pdf")
UNIQUE_KEYS = 40  #: few, so that jobs meet under them
GROUPS = tuple(f"tenant {number}" for number in range(40))  #: a retry holds up its group where one job runs at a time
DELAY_SECONDS = 4.0  #: the longest
HANG_UPS = 0.01  #: share of the clients that hang up after they have sent
FOREIGN_FIRST = 1_000_000_000  #: numbers of the jobs that came by RPUSH begin here
FOREIGN_SECONDS = 0.25  #: between two RPUSHes
FOREIGN_SHARE = 0.05


class Told(Struct):
    """What a client was told of one job."""

    answer: str  #: accepted | duplicate | failed to enqueue task | failed to persist job | unknown
    producer: str
    sent: float  #: monotonic clock
    answered: float


class Load:
    """Enqueues until `jobs` jobs were accepted, at an even pace over `seconds`; what was refused is made up for.

    Mutable state: the next number, how many are under way, what was told, and the jobs of the last moments.
    """

    def __init__(self, ports: dict[str, int], *, jobs: int, seconds: float, seed: int) -> None:
        """`ports`: name of a producer -> its port."""
        self._ports = ports
        self._jobs = jobs
        self._pause = seconds / jobs
        self._seed = seed
        self._next = 0
        self._under_way = 0
        self.accepted = 0
        self.duplicates = 0  #: by their unique keys
        self.recent: deque[tuple[int, str]] = deque(maxlen=1000)  #: number and id of the jobs that were accepted last
        self.told: dict[int, Told] = {}
        self.violations: list[str] = []

    async def run(self) -> None:
        """Until so many were accepted."""
        self._begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(self._client, Random(f"{self._seed} client {number}"))  # noqa: S311 - repeatable

    async def _client(self, random: Random) -> None:
        clients = {name: Client(port) for name, port in self._ports.items()}
        try:
            while self.accepted + self._under_way < self._jobs or (self._under_way and self.accepted < self._jobs):
                due = self._begun + (self.accepted + self._under_way) * self._pause
                if (wait := due - trio.current_time()) > 0 or self.accepted + self._under_way >= self._jobs:
                    await trio.sleep(min(max(wait, 0.01), 1.0) * random.uniform(0.5, 1.0))
                    continue
                self._under_way += 1
                try:
                    went_well = await self._enqueue(random, clients)
                finally:
                    self._under_way -= 1
                if not went_well:
                    await trio.sleep(random.uniform(0.1, 0.5))
        finally:
            for client in clients.values():
                client.close()

    async def _enqueue(self, random: Random, clients: dict[str, Client]) -> bool:
        n, self._next = self._next, self._next + 1
        name = random.choice(list(clients))
        sent = time.monotonic()
        try:
            status, body = await clients[name].post(
                "/enqueue", task(self._seed, n), seconds=ANSWER_SECONDS, hang_up=random.random() < HANG_UPS
            )
        except NotSent:
            return False
        except NoAnswer:
            self.told[n] = Told("unknown", name, sent, time.monotonic())
            return False
        answer = "accepted" if status == 200 else body.decode("utf-8", "replace")
        if status == 200 and _DUPLICATE in body:
            answer = "duplicate"
        self.told[n] = Told(answer, name, sent, time.monotonic())
        if answer == "duplicate":
            self.duplicates += 1
        elif status == 200:
            self.accepted += 1
            if (found := _ID.search(body)) is not None:  # there is none without Postgres
                self.recent.append((n, found[1].decode()))
        elif status != 500 or answer not in {"failed to enqueue task", "failed to persist job"}:
            self.violations.append(f"job {n} was answered {status} {answer[:100]!r} by {name}")
        return status == 200


class Foreign:
    """Another program that pushes tasks straight into the list, half of them without an id.

    Mutable state: the next number, and what it was told.
    """

    def __init__(self, queue: Queue, *, jobs: int, seconds: float, seed: int) -> None:
        self._queue = queue
        self._batch = max(1, round(jobs * FOREIGN_SHARE / seconds * FOREIGN_SECONDS))
        self._seed = seed
        self._next = FOREIGN_FIRST
        self.told: dict[int, Told] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            numbers = range(self._next, self._next + self._batch)
            self._next += self._batch
            tasks = [task(self._seed, n, uuid7() if n % 2 else None) for n in numbers]
            sent, answer = time.monotonic(), "unknown"
            self.told |= {n: Told(answer, "", sent, float("inf")) for n in numbers}
            try:
                await self._queue.push(tasks)
                answer = "accepted"
            except QueueUnavailable:
                pass
            self.told |= {n: Told(answer, "", sent, time.monotonic()) for n in numbers}
            await trio.sleep(FOREIGN_SECONDS)


def type_of(seed: int, n: int) -> str:
    """The type of the job of this number."""
    return f"chaos.{_kind(Random(f'{seed} job {n}'))}"  # noqa: S311 - to be repeatable


def options_of(seed: int, n: int) -> dict[str, object]:
    """What the job of this number chooses: half of them something."""
    random = Random(f"{seed} options {n}")  # noqa: S311 - to be repeatable
    options: dict[str, object] = {}
    if random.random() < CHOOSES_SHARE:
        if random.random() < 0.6:
            options["queue"] = random.choice(QUEUES)
        if random.random() < 0.4:
            options["delay"] = round(random.uniform(0.1, DELAY_SECONDS), 2)
        if random.random() < 0.3:
            options["timeout"] = 30
        if random.random() < 0.2:
            options["expires_in"] = 36_000
        if random.random() < 0.6:
            options["group"] = random.choice(GROUPS)
        if random.random() < 0.15:
            options["unique_key"] = f"key {random.randrange(UNIQUE_KEYS)}"
    return options


def delay_of(seed: int, n: int) -> float:
    """The delay that the job of this number chooses; 0: none."""
    delay = options_of(seed, n).get("delay", 0.0)
    return delay if isinstance(delay, float) else 0.0


def pausable(seed: int, n: int) -> frozenset[str]:
    """What may be paused so that the job of this number does not start."""
    return frozenset({type_of(seed, n), f"queue {options_of(seed, n).get('queue', 'default')}"})


def scopes(seed: int, n: int) -> frozenset[str]:
    """By what limits the job of this number is counted. A thread may outlive its job, and counts for none then."""
    kind, options = type_of(seed, n), options_of(seed, n)
    if kind == "chaos.thread":
        return frozenset()
    group, key = options.get("group"), options.get("unique_key")
    found = {f"type:{kind}", *([f"group:{group}"] if group else [])}
    if key is not None and n < FOREIGN_FIRST and kind != "chaos.fails":  # these are retried many at a time
        found.add(f"{UNIQUE_SCOPE}{key}")
    return frozenset(found)


def _kind(random: Random) -> str:
    return random.choices(["quick", "naps", "fails", "thread"], [65, 22, 10, 3])[0]


def task(seed: int, n: int, job_id: UUID | None = None) -> bytes:
    """The job of this number: mostly quick, some nap (few for long), some fail a few times or for good, some take a
    thread."""
    random = Random(f"{seed} job {n}")  # noqa: S311 - to be repeatable
    kind = _kind(random)
    payload: dict[str, object] = {"n": n}
    if kind in {"naps", "thread"}:
        is_long = kind == "naps" and random.random() < LONG_SHARE
        payload["seconds"] = round(random.uniform(0, LONG_SECONDS if is_long else 0.15), 3)
    if kind == "fails":
        payload["failures"] = random.randint(1, RETRIES + 1)
    body: dict[str, object] = {"type": f"chaos.{kind}", "retries": RETRIES, "payload": payload, **options_of(seed, n)}
    return msgspec.json.encode(body | ({"job_id": str(job_id)} if job_id else {}))
