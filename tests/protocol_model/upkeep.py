"""What every worker does beside jobs: its lease, the leases of others, recovery, promotion, sweep, loss, shutdown."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from tests.protocol_model.engine import SECOND, NoAnswer, Sleep, Steps
from tests.protocol_model.held import Lease
from tests.protocol_model.postgres_model import MAX_RECOVERIES, Postgres
from tests.protocol_model.redis_model import ENDED, FENCED, Redis, Task
from tests.protocol_model.scheduling import fire_loop
from tests.protocol_model.settling import ANSWER_WITHIN
from tests.protocol_model.worker import GRACE, Worker
from tests.protocol_model.world import TERM, World


class Upkeep:
    def __init__(self, world: World, worker: Worker) -> None:
        self.world = world
        self.worker = worker
        self.observed: dict[str, tuple[int, int]] = {}
        self.last_success = 0
        self.steady_since = 0
        # Its recoverer may be of the release before, which knows nothing of lanes and permits.
        self.is_older = world.grouped and world.rng.random() < 0.2

    @property
    def now(self) -> int:
        return self.world.engine.now

    def start(self) -> None:
        worker = self.worker
        loops = [self.renew_loop(), self.observe_loop(), self.promote_loop(), worker.claim_loop()]
        if self.world.postgres is not None:
            loops += [self.orphan_loop(), self.sweep_loop(), self.loss_loop()]
            loops += [worker.ledger_loop(), worker.look_loop()]
        if self.world.timed:
            loops.append(self.bring_loop())
        if self.world.firing:
            loops.append(fire_loop(self.world))
        if self.world.pausing:
            loops.append(worker.parking.loop())
        if self.world.grouped:
            loops.append(worker.limiting.loop(lambda: worker.lease))
        for loop in loops:
            worker.spawn("loop", loop)

    # --- leases

    def renew_loop(self) -> Steps[None]:
        while True:
            lease, sent = self.worker.lease, self.now
            try:
                if not lease.registered:
                    yield from self.world.redis_once("register", lambda redis, lease=lease: redis.register(lease.id))  # type: ignore[misc]
                    lease.registered, lives = True, True
                else:
                    lives = yield from self.world.redis_once("renew", lambda redis, lease=lease: redis.renew(lease.id))  # type: ignore[misc]
            except NoAnswer:
                if not lease.registered and self.world.on("fresh-register"):
                    self.worker.lose(lease)  # a late send could bring the lease back when it is long retired
                yield Sleep(SECOND)
                continue
            if not lives:
                self.worker.lose(lease)
                self.worker.spawn("recover", self.recover(lease.id))
                continue
            if self.now - sent > TERM // 5 and self.world.on("slow-renewal"):
                yield Sleep(SECOND)
                continue
            if self.now - self.last_success > 2 * TERM // 5:
                self.steady_since = self.now
            self.last_success = self.now
            lease.renewed_at = sent if self.world.on("sent-at") else self.now
            yield Sleep(TERM // 5)

    def observe_loop(self) -> Steps[None]:
        while True:
            yield Sleep(SECOND)
            asked = self.now
            try:
                leases = yield from self.world.redis_once("observe", lambda redis: redis.read_leases())
            except NoAnswer:
                continue
            self.observed = {lease: seen for lease, seen in self.observed.items() if lease in leases}
            for lease, score in leases.items():
                if lease != self.worker.lease.id:
                    yield from self.observe(lease, score, asked)

    def observe(self, lease: str, score: int, asked: int) -> Steps[None]:
        seen, since = self.observed.get(lease, (None, 0))
        if score in {FENCED, ENDED}:
            yield from self.recover(lease)
        elif seen != score or not self.is_steady(since):
            self.observed[lease] = score, self.now
        elif asked - since >= TERM:
            yield from self.world.redis_again("fence", lambda redis: redis.fence(lease, score))

    def is_steady(self, since: int) -> bool:
        """Have my own renewals succeeded ever since? Else it is Redis, or I, who was away."""
        gap = self.now - self.last_success > 2 * TERM // 5
        return not self.world.on("steady") or (not gap and since >= self.steady_since)

    def orphan_loop(self) -> Steps[None]:
        seen: dict[str, int] = {}
        while True:
            yield Sleep(5 * SECOND)
            try:
                owners = yield from self.world.sql_once("orphans", lambda sql: sql.owners())
                leases = yield from self.world.redis_once("orphans", lambda redis: redis.read_leases())
            except NoAnswer:
                continue
            if not self.world.on("orphans"):
                continue
            absent = owners - set(leases)
            seen = {lease: seen.get(lease, self.now) for lease in sorted(absent)}
            for lease, since in seen.items():
                if self.now - since > TERM // 5 or not self.world.on("two-looks"):
                    yield from self.recover(lease)

    # --- recovery

    def recover(self, lease: str) -> Steps[None]:
        """Every step may be the last one of this recoverer, and two may work at once."""
        world = self.world
        score, flight, noted = yield from world.redis_again("recover.inspect", lambda redis: redis.inspect(lease))
        if score is not None and score > 0:
            return
        sent, batch, waiting = self.now, "", list[str]()
        blameless = score == ENDED or (score is None and world.on("absent-blameless"))
        if world.postgres is not None:
            blamed = {flight[number].job for number in noted if number in flight}
            batch, waiting = yield from self.recover_rows(lease, blameless, blamed)
        returned = yield from self.empty_flight(lease, flight, noted, blameless)
        missing = [job for job in waiting if job not in returned]
        pushed = yield from self.push_missing(missing)
        yield from world.redis_again("recover.retire", lambda redis: redis.retire(lease, self.is_older))
        in_time = self.now - sent <= ANSWER_WITHIN or not world.on("thirty-seconds")
        if batch and pushed and in_time and (waiting or not world.on("outbox-per-send")):
            yield from world.sql_again("recover.delete_outbox", lambda sql: sql.delete_outbox([batch]))

    def recover_rows(self, lease: str, blameless: bool, blamed: set[str]) -> Steps[tuple[str, list[str]]]:
        """Makes the rows wait. Returns the entry of the answered send; those of the others are left to the relay."""
        world, batch = self.world, self.world.fresh("r")
        while True:

            def recover(sql: Postgres, batch: str = batch) -> list[str]:
                return sql.recover(lease, blameless, blamed, batch)

            try:
                return batch, (yield from world.sql_once("recover.rows", recover))
            except NoAnswer:
                yield Sleep(200)
            if world.on("outbox-per-send"):
                batch = world.fresh("r")

    def push_missing(self, ids: list[str]) -> Steps[bool]:
        """False: no answer. Each further send would leave a copy; the outbox entry stays and the sweep does it."""
        if not ids or not self.world.on("push-missing"):
            return True
        waiting = yield from self.world.sql_again("recover.fetch", lambda sql: sql.fetch_pending(ids))
        if not self.world.on("push-once"):
            yield from self.world.redis_again("recover.push", lambda redis: redis.push_waiting(waiting))
            return True
        try:
            yield from self.world.redis_once("recover.push", lambda redis: redis.push_waiting(waiting))
        except NoAnswer:
            return False
        return True

    def empty_flight(self, lease: str, flight: dict[int, Task], noted: set[int], blameless: bool) -> Steps[set[str]]:
        returned: set[str] = set()
        for number in sorted(flight, reverse=self.world.on("descending")):
            task = flight[number]
            text: Task | None = None
            if self.world.postgres is None:
                blamed = task.recoveries == 0 or number in noted or not self.world.on("noted")
                recoveries = task.recoveries + (blamed and not blameless)
                if recoveries >= MAX_RECOVERIES:
                    yield from self.bury(lease, number)
                    continue
                text = replace(task, recoveries=recoveries, interruptions=task.interruptions + blameless)

            def back(redis: Redis, number: int = number, text: Task | None = text) -> bool:
                return redis.back(lease, number, 0, text, older=self.is_older)

            if (yield from self.world.redis_again("recover.back", back)):
                returned.add(task.job)
        return returned

    def bury(self, lease: str, number: int) -> Steps[bool]:
        return (
            yield from self.world.redis_again("recover.bury", lambda redis: redis.bury(lease, number, "worker died"))
        )

    # --- promote, sweep

    def promote_loop(self) -> Steps[None]:
        while True:
            yield Sleep(SECOND)
            with suppress(NoAnswer):
                yield from self.world.redis_once("promote", lambda redis: redis.promote())

    def sweep_loop(self) -> Steps[None]:
        while True:
            yield Sleep(2 * SECOND)
            sent = self.now
            try:
                taken = yield from self.world.sql_once("sweep.take", lambda sql: sql.take_outbox())
                if taken:
                    yield from self.sweep(taken, sent)
            except NoAnswer:
                pass  # the outbox entries stay, and are old enough again in 5 s

    def sweep(self, taken: list[tuple[str, list[str], bool]], sent: int) -> Steps[None]:
        ids = [job for _, jobs, _ in taken for job in jobs]
        waiting = yield from self.world.sql_once("sweep.fetch", lambda sql: sql.fetch_pending(ids))
        if waiting:
            yield from self.world.redis_once("sweep.push", lambda redis: redis.push_waiting(waiting))
        if self.now - sent <= ANSWER_WITHIN or not self.world.on("thirty-seconds"):
            batches = [batch for batch, _, touched in taken if touched or not self.world.on("all-touched")]
            yield from self.world.sql_once("sweep.delete_outbox", lambda sql: sql.delete_outbox(batches))

    def bring_loop(self) -> Steps[None]:
        while True:
            yield Sleep(2 * SECOND)
            if self.world.on("bring"):
                batch = self.world.fresh("b")
                with suppress(NoAnswer):
                    yield from self.world.sql_once("bring", lambda sql, batch=batch: sql.bring(batch))  # type: ignore[misc]

    # --- loss

    def loss_loop(self) -> Steps[None]:
        while True:
            yield Sleep(SECOND)
            if self.world.on("loss"):
                with suppress(NoAnswer):
                    yield from self.watch_for_loss()

    def watch_for_loss(self) -> Steps[None]:
        """Postgres is asked first: an outbox entry that it knows was in Redis before."""
        world = self.world
        known_run, known, now = yield from world.sql_once("loss", lambda sql: sql.read_run())
        run, entry = yield from world.redis_once("loss", lambda redis: redis.tick())
        if entry is None and world.on("planted-checkpoint"):
            planted = -world.rng.randint(1, 2**31)
            if not (yield from world.redis_once("loss.plant", lambda redis: redis.set_checkpoint(None, planted))):
                return
            entry = planted
        other_run = run != known_run and world.on("run-id")
        if other_run or entry is None or entry < known:
            batch, old = world.fresh("c"), (known_run, known)
            marked = yield from world.sql_once("loss.reconcile", lambda sql: sql.reconcile(old, run, entry, batch))
            if not marked:
                return
        if world.on("redis-first"):
            if (yield from world.redis_once("loss.checkpoint", lambda redis: redis.set_checkpoint(entry, now))):
                yield from world.sql_once("loss", lambda sql: sql.advance(run, known, now))
        else:
            if (yield from world.sql_once("loss", lambda sql: sql.advance(run, known, now))):
                yield from world.redis_once("loss.checkpoint", lambda redis: redis.set_checkpoint(entry, now))

    # --- shutdown

    def shut_down(self) -> Steps[None]:
        """SIGTERM; systemd kills what is not done within a minute."""
        worker, world = self.worker, self.world
        world.engine.say(f"{worker.process.name}: SHUTDOWN")
        worker.draining = True
        deadline = self.now + 60 * SECOND
        yield Sleep(GRACE)
        worker.cancelling = True
        while worker.lease.held and self.now < deadline:
            yield Sleep(200)
        worker.spawn("deadline", self.exit_at(deadline))
        lease: Lease = worker.lease
        yield from world.redis_again("shutdown.end", lambda redis: redis.end(lease.id))
        yield from self.recover(lease.id)
        world.engine.kill(worker.process)

    def exit_at(self, deadline: int) -> Steps[None]:
        yield Sleep(max(0, deadline - self.now))
        self.world.engine.kill(self.worker.process)
