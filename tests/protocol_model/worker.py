"""A worker: claim and audit, start, and the run itself."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from functools import partial

from tests.protocol_model.control import Controlled
from tests.protocol_model.engine import SECOND, NoAnswer, Process, Sleep, Steps
from tests.protocol_model.held import Item, Lease
from tests.protocol_model.lanes_model import Lane
from tests.protocol_model.limiting import Limiting, Told
from tests.protocol_model.pausing import Parking, is_of_the_type
from tests.protocol_model.postgres_model import MAX_RECOVERIES
from tests.protocol_model.redis_model import Paused, Task
from tests.protocol_model.rows_model import TERMINAL, Counters, State
from tests.protocol_model.truth import Run
from tests.protocol_model.world import TERM, World

PLACES = 3
GRACE = 5 * SECOND
AUDIT_EVERY = 5 * SECOND
QUICKER = 0.3  # of the runs that are cancelled, so many end by themselves before


class Worker(Controlled):
    def __init__(self, world: World, process: Process) -> None:
        super().__init__(world, process)
        self.lease = Lease(world.fresh("L"))
        self.brought = ""  # the name that the last claim brought along
        self.draining = False
        self.cancelling = False
        self.parking = Parking(world)
        self.limiting = Limiting(world)
        world.channel.listen(process, self.hear)

    def spawn(self, name: str, steps: Steps[None]) -> None:
        self.world.engine.start(self.process, name, steps)

    def lose(self, lease: Lease) -> None:
        """Told `lost`: cancel its jobs and go on under a new lease; `upkeep` recovers the old one."""
        lease.lost = True
        for item in lease.held.values():
            if item.run:
                self.world.truth.end(item.run)
        if self.lease is lease:
            self.lease = Lease(self.world.fresh("L"))

    # --- claim

    def claim_loop(self) -> Steps[None]:
        audited_at = 0
        while not self.draining:
            lease = self.lease
            count = PLACES + 1 - len(lease.held)
            if self.now - audited_at >= AUDIT_EVERY and lease.registered:
                audited_at = self.now
                yield from self.audit(lease)
            if count <= 0 or not lease.registered:
                yield Sleep(200)
                continue
            answer = yield from self.take(lease, count)
            if answer is None:
                self.lose(lease)
            elif answer[0]:
                tasks, there, paused_by, told = answer
                self.world.at_hand[self.process.name] = {task.job for task in tasks.values()}
                tasks = yield from self.parking.park(lease, tasks, there)
                self.check_the_parked(tasks, paused_by)
                if told is not None:
                    tasks = yield from self.limiting.admit(lease, tasks, told)
                yield from self.accept(lease, tasks)
                del self.world.at_hand[self.process.name]
            else:
                with suppress(NoAnswer):
                    yield from self.world.redis_once("blmove", lambda redis: redis.blmove())
                yield Sleep(600)

    def check_the_parked(self, tasks: dict[int, Task], paused_by: int) -> None:
        """`paused_by`: Truth.paused_by when Redis carried out the claim."""
        truth = self.world.truth
        if paused_by and paused_by == truth.paused_by and not truth.losses:
            for task in tasks.values():
                if is_of_the_type(self.world, task):
                    truth.violate(f"{task.job} goes on although its type is paused")

    def take(self, lease: Lease, count: int) -> Steps[tuple[dict[int, Task], Paused, int, Told | None] | None]:
        """Step 1: the same claim again until it is answered. What was paused, and limited, comes with the answer."""
        start = lease.next_number
        self.brought = self.world.fresh("u")
        named = partial(self.named, self.brought)
        # Every other claim brings a name along, so that the trip for names is seen as well.
        name = named if start // (PLACES + 1) % 2 and self.world.on("name-first") else None
        while not lease.lost:
            try:
                tasks, there, paused_by, told = yield from self.world.redis_once(
                    "claim.script",
                    lambda redis: (
                        redis.claim(lease.id, count, start, name),
                        redis.pauses,
                        self.world.truth.paused_by,
                        self.limiting.told(redis, lease),
                    ),
                )
            except NoAnswer:
                if not self.world.on("claim-again"):
                    lease.next_number += count
                    return {}, Paused(), 0, None
                yield Sleep(200)
                continue
            if tasks or self.world.on("start-after-empty"):
                lease.next_number += count
            return None if tasks is None else (tasks, there, paused_by, told)
        return None

    def accept(self, lease: Lease, tasks: dict[int, Task]) -> Steps[None]:
        """Steps 2 to 4."""
        items: dict[int, Item] = {}
        new: dict[int, Item] = {}  # of them: what had no name, and so can have no row
        for number, task in tasks.items():
            had_name = bool(task.job) and task.job != self.brought
            if not task.job:
                named = yield from self.give_name(lease, number, task)
                if named is None:
                    continue
                task = named
            running = {item.job for item in lease.held.values() if not (item.settling and self.world.on("settling"))}
            holds = running | {item.job for item in items.values()}
            if task.job in holds and self.world.on("held-copy"):
                yield from self.world.redis_again("claim.ack", lambda redis, number=number: redis.ack(lease.id, number))  # type: ignore[misc]
                continue
            items[number] = Item(task, task.job, counters=Counters(task.attempts, task.recoveries, task.interruptions))
            if not had_name:
                new[number] = items[number]
        if self.world.postgres is not None:
            items = yield from self.claim_rows(lease, items, new)
        lease.hold(items)
        self.items += items.values()
        self.cancel_remembered()
        for number, item in items.items():
            self.spawn("attempt", self.attempt(lease, number, item))

    def give_name(self, lease: Lease, number: int, task: Task) -> Steps[Task | None]:
        named = self.named(self.world.fresh("u"), task)
        if self.world.on("name-first"):
            done = yield from self.world.redis_again("claim.name", lambda redis: redis.name_id(lease.id, number, named))
            if not done and self.world.on("name-answer"):
                return None
        return named

    def named(self, name: str, task: Task) -> Task:
        named = task.named(name)
        self.world.truth.named[named.job] = task.origin
        self.world.truth.failures[named.job] = self.world.truth.failures[task.origin]
        return named

    def claim_rows(self, lease: Lease, items: dict[int, Item], new: dict[int, Item]) -> Steps[dict[int, Item]]:
        """The items whose rows are ours now."""
        world, claimed = self.world, dict[int, Item]()
        waiting = dict(items)
        earlier: list[str] = []  # tokens of sends without an answer
        spare: set[str] = set()  # tokens under which nothing is left
        unanswered: set[str] = set()
        if new:
            earlier = yield from self.adopt(lease, waiting, new, claimed, unanswered)
        while waiting:
            wanted = [item.job for item in waiting.values()]
            token, counters = yield from self.send_claim(lease, wanted, earlier, unanswered)
            spare.update(earlier)
            if replaced := [job for job, its in counters.items() if its.replaced]:
                yield from self.read_tasks(replaced, waiting)
            for number, item in list(waiting.items()):
                if item.job in counters:
                    item.counters, item.token = counters[item.job], token
                    claimed[number] = waiting.pop(number)
            if not waiting:
                break
            wanted = [item.job for item in waiting.values()]
            looks = yield from world.sql_again("claim.look", lambda sql, ids=wanted: sql.look(ids))  # type: ignore[misc]
            for number, item in list(waiting.items()):
                if item.job in looks:
                    state, its_token, delay = looks[item.job]
                    spare.discard(its_token)
                    if not (state == "processing" and its_token in earlier):  # else ours, and locked: the audit tells
                        yield from self.put_away(lease, number, item, state, delay)
                    del waiting[number]
            if waiting:
                earlier += yield from self.adopt(lease, waiting, dict(waiting), claimed, unanswered)
        if world.on("seen-claims"):
            spare -= unanswered  # they may still come
        self.ledger.claims += sorted(spare)
        return claimed

    def read_tasks(self, jobs: list[str], items: dict[int, Item]) -> Steps[None]:
        """What these jobs are to do stands in their rows: it was replaced when their tasks were in Redis."""
        rows = yield from self.world.sql_again(
            "claim.tasks", lambda sql: {job: sql.rows[job].payload for job in jobs if job in sql.rows}
        )
        for item in items.values():
            if item.job in rows:
                item.task = dataclasses.replace(item.task, payload=rows[item.job])

    def send_claim(
        self, lease: Lease, ids: list[str], earlier: list[str], unanswered: set[str]
    ) -> Steps[tuple[str, dict[str, Counters]]]:
        """Each send has a token of its own and takes over what the sends before it got: a late one gets nothing."""
        token = self.world.fresh("T")
        while True:
            if self.world.on("token-per-send"):
                token = self.world.fresh("T")
            try:
                counters = yield from self.ride(
                    "claim.rows",
                    lambda sql, done, token=token, before=list(earlier): sql.claim(ids, lease.id, token, before, done),  # type: ignore[misc]
                )
            except NoAnswer:
                earlier.append(token)
                unanswered.add(token)
                yield Sleep(200)
            else:
                return token, counters

    def adopt(
        self, lease: Lease, waiting: dict[int, Item], external: dict[int, Item], claimed: dict[int, Item],
        unanswered: set[str],
    ) -> Steps[list[str]]:  # fmt: skip
        """Rows for external tasks. One try; the answer says which were made, and the next claim tells of the rest."""
        token, ids = self.world.fresh("T"), [item.job for item in external.values()]
        try:
            made = yield from self.world.sql_once("claim.adopt", lambda sql: sql.adopt(ids, lease.id, token))
        except NoAnswer:
            unanswered.add(token)
            return [token]
        for number, item in external.items():
            if item.job in made:
                item.token = token
                claimed[number] = waiting.pop(number)
        return []

    def put_away(self, lease: Lease, number: int, item: Item, state: State, delay: int) -> Steps[None]:
        """Step 4: a task whose row this claim did not get."""
        if state in TERMINAL or state == "processing":
            lanes = self.world.redis.lanes
            permit = lanes.permit(lease.id, number) if lanes is not None else None
            if permit is not None and self.world.on("copies-before-ack"):
                yield from self.take_copies(lease, permit)
            yield from self.world.redis_again("claim.ack", lambda redis: redis.ack(lease.id, number))
            if permit is not None and not self.world.on("copies-before-ack"):
                yield from self.take_copies(lease, permit)
        else:
            self.world.truth.early[item.job] += delay > 0
            yield from self.back(lease, number, delay or SECOND)

    def take_copies(self, lease: Lease, permit: Lane) -> Steps[None]:
        """More copies may follow in the lane of one that was claimed: each would cost a turn and a permit."""
        for lane in dict.fromkeys((permit, permit.untyped)):
            if lane.scopes:
                ahead = yield from self.claim_ahead(lease, lane, self.world.rng.randint(1, 5))
                yield from self.sort_copies(lease, lane, ahead)

    def sort_copies(self, lease: Lease, lane: Lane, ahead: dict[int, Task]) -> Steps[None]:
        """Drop those of jobs that run or have ended; the others go back to where they were."""
        world, numbers = self.world, tuple(ahead)
        looks = yield from world.sql_again("ahead.look", lambda sql: sql.look([task.job for task in ahead.values()]))
        for number, task in ahead.items():
            if task.job in looks and looks[task.job][0] != "pending":
                yield from world.redis_again("ahead.ack", lambda redis, number=number: redis.ack(lease.id, number))  # type: ignore[misc]
        yield from world.redis_again("ahead.return", lambda redis: redis.return_ahead(lease.id, lane, numbers))

    def claim_ahead(self, lease: Lease, lane: Lane, count: int) -> Steps[dict[int, Task]]:
        start = lease.next_number
        lease.next_number += count
        answer = yield from self.world.redis_again(
            "ahead.claim", lambda redis: redis.claim_ahead(lease.id, lane, count, start)
        )
        return answer or {}

    # --- audit

    def audit(self, lease: Lease) -> Steps[None]:
        """Numbers of my flight that I do not hold go back: no consumer will ever run them."""
        if not self.world.on("audit"):
            return
        try:
            _, flight, _ = yield from self.world.redis_once("audit", lambda redis: redis.inspect(lease.id))
        except NoAnswer:
            return
        for number in sorted(set(flight) - set(lease.held), reverse=True):
            yield from self.back(lease, number, 0)
        if self.world.postgres is not None and self.world.on("row-audit"):
            yield from self.audit_rows(lease)

    def audit_rows(self, lease: Lease) -> Steps[None]:
        """Rows of my lease under a token that I do not hold: a claim that arrived after its repeat was settled."""
        world = self.world
        try:
            claims = yield from world.sql_once("row-audit", lambda sql: sql.owned(lease.id))
        except NoAnswer:
            return
        mine = {(item.job, item.token) for item in lease.held.values()}
        tokens = {token for _, token in mine}
        self.ledger.claims += [token for token, ids in claims.items() if not ids and token not in tokens]
        for token, ids in claims.items():
            for job in sorted(ids):
                if (job, token) in mine:
                    continue
                batch = world.fresh("m")
                try:
                    yield from world.sql_once(
                        "audit.release",
                        lambda sql, job=job, token=token, batch=batch: sql.release(job, token, 0, "none", batch),  # type: ignore[misc]
                    )
                except NoAnswer:
                    return

    # --- start and run

    def may_start(self, lease: Lease) -> bool:
        return self.now - lease.renewed_at < 0.6 * TERM or not self.world.on("renewed-at")

    def attempt(self, lease: Lease, number: int, item: Item) -> Steps[None]:
        """A job in the buffer, until a slot takes it."""
        rng = self.world.rng
        yield Sleep(rng.randint(0, 3 * SECOND) if rng.random() < 0.2 else 1)
        if item.cancelled:
            yield from self.release(lease, number, item, 0, "none")
            return
        item.stage = "admission"
        if rng.random() < 0.04:
            yield from self.release(lease, number, item, SECOND, "none")  # a type that this worker does not know
            return
        last_chance = item.counters.recoveries >= MAX_RECOVERIES - 1 and self.world.on("one-suspect")
        if last_chance and lease.last_chances:
            yield from self.release(lease, number, item, SECOND, "none")
            return
        lease.last_chances += last_chance
        yield from self.start_and_settle(lease, number, item)
        lease.last_chances -= last_chance

    def check_payload(self, item: Item) -> None:
        if self.world.postgres is not None and item.job in self.world.sql.rows:
            row = self.world.sql.rows[item.job]
            if row.token == item.token and row.payload != item.task.payload:
                self.world.truth.violate(
                    f"{item.job} runs with payload {item.task.payload}, its row says {row.payload}"
                )

    def start_and_settle(self, lease: Lease, number: int, item: Item) -> Steps[None]:
        if item.counters.recoveries > 0:
            yield from self.world.redis_again("start.note", lambda redis: redis.note_start(lease.id, number))
        while not self.may_start(lease) and not lease.lost and not self.draining:
            yield Sleep(300)
        if lease.lost or self.draining:
            yield from self.release(lease, number, item, 0, "none")
            return
        item.run, item.stage = Run(item.job, self.process, lease.id, self.now, item.token), "running"
        self.world.truth.start(item.run, self.claim_is_valid(lease, number, item), self.is_due(item))
        self.check_payload(item)
        if self.world.grouped:
            self.world.in_force.start(item.run, number, self.limiting.kind_of(item.task))
        interrupted = yield from self.run(lease, item)
        item.stage = "over"
        self.world.truth.end(item.run)
        if interrupted:  # by a lost lease as well: the recovery or this worker, the first of them
            yield from self.release(lease, number, item, 0, "interruptions")
        else:
            yield from self.settle(lease, number, item)

    def claim_is_valid(self, lease: Lease, number: int, item: Item) -> bool:
        if self.world.postgres is None:
            return number in self.world.redis.inspect(lease.id)[1]
        row = self.world.sql.rows.get(item.job)
        return row is not None and row.state == "processing" and row.token == item.token

    def is_due(self, item: Item) -> bool:
        row = self.world.postgres.rows.get(item.job) if self.world.postgres else None
        return row is None or row.run_at <= self.world.postgres_clock()

    def run(self, lease: Lease, item: Item) -> Steps[bool]:
        """The handler; True when it was interrupted. One that a person cancelled may end by itself before."""
        end = self.now + int(20 * 2 ** self.world.rng.uniform(0, 10.5))
        deaf_for = 0
        while self.now < end:
            yield Sleep(min(1000, end - self.now))
            if lease.lost or self.cancelling:
                return True
            if item.cancelled:
                self.world.truth.wishes.is_hit(item.job, item.token)
                item.cancelled = self.world.rng.random() > QUICKER
                return False
            deaf_for = self.check_it_is_heard(item, deaf_for)
            if item.job in self.world.truth.killers:
                self.world.engine.kill(self.process)
        return False
