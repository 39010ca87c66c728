"""Actors beside the workers: producers, external programs, copiers of tasks, a psql session."""

from __future__ import annotations

from tests.protocol_model.engine import SECOND, LockTimeout, NoAnswer, Process, Sleep, Steps
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
        try:
            yield from self.world.sql_once("submit.insert", lambda sql: sql.insert(ids, batch, riding))
        except NoAnswer:
            return  # 500 failed to persist job: the row and its outbox entry are there, or neither is
        self.pushed = []
        yield from self.push(ids, batch, sent)

    def push(self, ids: list[str], batch: str, sent: int) -> Steps[None]:
        tasks = [Task(job) for job in ids]
        try:
            yield from self.world.redis_once("submit.push", lambda redis: redis.push(tasks))
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
            yield from world.redis_once("external.push", lambda redis, task=task: redis.push([task]))  # type: ignore[misc]
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
            world.redis.push([Task(job)])


def locker(world: World, count: int, pause: int) -> Steps[None]:
    """A psql session holds a row for a while."""
    for _ in range(count):
        yield Sleep(world.rng.randint(0, pause))
        busy = [job for job, row in world.sql.rows.items() if row.state in {"pending", "processing"}]
        if busy:
            world.sql.lock(world.rng.choice(busy), world.postgres_clock() + world.rng.randint(0, 10 * SECOND))
