"""Actors beside the workers: producers, external programs, copiers of tasks, a psql session."""

from __future__ import annotations

from collections.abc import Mapping

from tests.protocol_model.engine import SECOND, LockTimeout, NoAnswer, Process, Sleep, Steps
from tests.protocol_model.postgres_model import HORIZON, NONE_DUE, Due
from tests.protocol_model.redis_model import Task
from tests.protocol_model.world import World

ANSWER_WITHIN = 30 * SECOND


class Producer:
    """A producer's process: batches one after the other; entries of pushed batches ride along with the next insert."""

    def __init__(self, world: World, process: Process) -> None:
        self.world = world
        self.process = process
        self.pushed: list[str] = []

    def submit_all(self, batches: int, pause: int) -> Steps[None]:
        for _ in range(batches):
            yield Sleep(self.world.rng.randint(0, pause))
            if self.world.calm:
                return
            yield from self.submit(self.world.rng.randint(1, 3))
            yield from self.delete_when_quiet()

    def new_job(self, prefix: str) -> str:
        job = self.world.fresh(prefix)
        self.world.truth.failures[job] = self.world.rng.choice((0, 0, 0, 0, 1, 2, 3))
        return job

    def submit(self, size: int) -> Steps[None]:
        ids = [self.new_job("h") for _ in range(size)]
        if self.world.postgres is None:
            yield from self.push_only(ids)
            return
        batch, riding, sent = self.world.fresh("m"), list(self.pushed), self.world.engine.now
        due = self.choose_times(ids) if self.world.timed else {}
        try:
            yield from self.world.sql_once("submit.insert", lambda sql: sql.insert(ids, batch, riding, due))
        except NoAnswer:
            return  # 500 failed to persist job: the row and its outbox entry are there, or neither is
        self.pushed = []
        far = [job for job, when in due.items() if when.is_far]
        self.world.truth.accepted.update(far)
        if near := [job for job in ids if job not in far]:
            yield from self.push(near, batch, sent, due)

    def choose_times(self, ids: list[str]) -> dict[str, Due]:
        """The clock of a producer may be wrong: then it is wrong about what is far off."""
        rng, now = self.world.rng, self.world.postgres_clock()
        due: dict[str, Due] = {}
        for job in ids:
            if rng.random() < 0.5:
                delay, error = rng.randint(1, 60 * SECOND), rng.choice((0, 0, 0, -20 * SECOND, 20 * SECOND))
                due[job] = Due(now + delay, delay + error > HORIZON)
        return due

    def push(self, ids: list[str], batch: str, sent: int, due: Mapping[str, Due] = NONE_DUE) -> Steps[None]:
        now = self.world.postgres_clock()
        delays = {job: max(1, when.at - now) for job, when in due.items() if not when.is_far}
        tasks = [Task(job) for job in ids if job not in delays]
        scheduled = {Task(job): delay for job, delay in delays.items()}
        try:
            if tasks:
                yield from self.world.redis_once("submit.push", lambda redis: redis.push(tasks))
            if scheduled:
                yield from self.world.redis_once("submit.push", lambda redis: redis.schedule_all(scheduled))
        except NoAnswer:
            yield from self.refuse(ids, batch)
            return
        self.world.truth.accepted.update(ids)
        if self.world.engine.now - sent <= ANSWER_WITHIN or not self.world.on("thirty-seconds"):
            self.pushed.append(batch)

    def refuse(self, ids: list[str], batch: str) -> Steps[None]:
        while True:
            try:
                refused = yield from self.world.sql_once("submit.refuse", lambda sql: sql.refuse(ids, batch))
            except LockTimeout:
                continue
            except NoAnswer:
                return  # 500: the outbox entry decides
            self.world.truth.refused |= refused
            self.world.truth.accepted |= set(ids) - refused
            return

    def delete_when_quiet(self) -> Steps[None]:
        if not self.pushed or self.world.rng.random() < 0.7:
            return
        yield Sleep(SECOND)
        batches = list(self.pushed)
        try:
            yield from self.world.sql_once("submit.delete_outbox", lambda sql: sql.delete_outbox(batches))
            self.pushed = []
        except NoAnswer:
            pass  # they ride along later

    def push_only(self, ids: list[str]) -> Steps[None]:
        tasks = [Task(job) for job in ids]
        try:
            yield from self.world.redis_once("submit.push", lambda redis: redis.push(tasks))
        except NoAnswer:
            return  # it may run or not: without Postgres that is unknown
        self.world.truth.accepted.update(ids)

    def submit_under_keys(self, keys: list[str], pause: int) -> Steps[None]:
        for key in keys:
            yield Sleep(self.world.rng.randint(0, pause))
            for _ in range(3):
                if (yield from self.submit_under_key(key)):
                    break
                yield Sleep(self.world.rng.randint(0, 2 * SECOND))

    def submit_under_key(self, key: str) -> Steps[bool]:
        """True: the client has an answer that it need not repeat."""
        world, job, sent = self.world, self.new_job("k"), self.world.engine.now
        batch = world.fresh("m")
        try:
            if world.postgres is None:
                holder = yield from world.redis_once("submit.once", lambda redis: redis.push_once(key, Task(job)))
                world.truth.accepted.add(holder)
                return True
            holder = yield from world.sql_once("submit.key", lambda sql: sql.insert_once(key, job, batch))
            if holder == job:
                yield from self.push([job], batch, sent)
                return job in world.truth.accepted
            if not (yield from world.sql_once("submit.join", lambda sql: sql.join(holder))):
                return False
            world.truth.accepted.add(holder)
        except NoAnswer:
            return False
        return True


def external_pusher(world: World, count: int, pause: int) -> Steps[None]:
    """A program in another language: one RPUSH, with an id or without. Equal texts are frequent."""
    for _ in range(count):
        yield Sleep(world.rng.randint(0, pause))
        origin = world.fresh("f")
        world.truth.failures[origin] = world.rng.choice((0, 0, 1))
        task = Task(origin if world.rng.random() < 0.5 else "", origin=origin)
        try:
            yield from world.redis_once("external.push", lambda redis, task=task: redis.rpush([task]))  # type: ignore[misc]
        except NoAnswer:
            continue
        (world.truth.accepted if task.job else world.truth.unnamed).add(origin)


def external_popper(world: World, count: int, pause: int) -> Steps[None]:
    """A program that takes tasks from the head of the list and reports nothing."""
    for _ in range(count):
        yield Sleep(world.rng.randint(0, pause))
        if world.redis.ready:
            task = world.redis.ready.pop(0)
            world.truth.popped.update({task.job, task.origin})


def copier(world: World, count: int, pause: int) -> Steps[None]:
    """Something pushes copies of tasks: a person, a replayed script, a repair that knew too little."""
    for _ in range(count):
        yield Sleep(world.rng.randint(0, pause))
        if world.sql.rows:
            job = world.rng.choice(list(world.sql.rows))
            world.redis.rpush([Task(job)])


def locker(world: World, count: int, pause: int) -> Steps[None]:
    """A psql session holds a row for a while."""
    for _ in range(count):
        yield Sleep(world.rng.randint(0, pause))
        busy = [job for job, row in world.sql.rows.items() if row.state in {"pending", "processing"}]
        if busy:
            world.sql.lock(world.rng.choice(busy), world.postgres_clock() + world.rng.randint(0, 10 * SECOND))
