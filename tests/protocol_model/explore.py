"""One schedule: a seed decides who works and what goes wrong; then everything heals, comes to rest and is checked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.protocol_model import producers
from tests.protocol_model.checks import check_at_rest, is_quiet
from tests.protocol_model.engine import SECOND, Faults, Process, Store
from tests.protocol_model.keeping import Keeper
from tests.protocol_model.limiting import Limiter
from tests.protocol_model.mechanisms import Options, Switches
from tests.protocol_model.pausing import Pauser
from tests.protocol_model.person import Person
from tests.protocol_model.redis_model import Task
from tests.protocol_model.unique_model import UniqueProducer
from tests.protocol_model.upkeep import Upkeep
from tests.protocol_model.worker import Worker
from tests.protocol_model.world import World

TRAFFIC = 100 * SECOND
REST_LIMIT = 800 * SECOND
HOT_TRIPS = (
    "submit.insert", "submit.push", "submit.refuse", "submit.delete_outbox", "submit.key", "submit.join",
    "claim.script", "claim.rows", "claim.look", "claim.adopt", "claim.name", "claim.ack", "back", "start.note",
    "finish", "finish.ack", "release", "release.delete_outbox", "recover.inspect", "recover.rows", "recover.back",
    "recover.push", "recover.retire", "recover.delete_outbox", "sweep.take", "sweep.fetch", "sweep.push",
    "sweep.delete_outbox", "loss", "loss.reconcile", "loss.plant", "loss.checkpoint", "renew", "observe", "fence",
    "audit", "register", "shutdown.end", "orphans", "settle.look", "ledger", "row-audit", "audit.release",
    "recover.fetch", "act.cancel", "act.tell", "act.retry", "act.run_now", "act.delete", "act.fetch", "act.push",
    "act.delete_outbox", "look", "retention", "prune",
    # admit, hold, limits, limits.redis, limits.restore, limits.rows, permits.sweep,
    # bring, fire, pause.rows, pause.redis, park, park.restore, pauses, unpark by --focus: else they move all chance
)  # fmt: skip
DISASTERS = ("outage", "hang", "clock", "partition", "stop", "shutdown", "loss", "cut")


@dataclass(frozen=True)
class Result:
    seed: int
    violations: list[str]
    jobs: int
    runs: int
    trace: list[str]


class Schedule:
    def __init__(self, seed: int, options: Options, tracing: bool = False) -> None:
        self.options = options
        self.seed = seed
        draw = random.Random(f"faults of {seed}")
        self.killing_job = draw.random() < 0.12 or options.disaster == "killer"
        self.world = World(seed, Switches(options.off), self._draw_faults(draw), options.redis_only)
        self.world.pausing = options.pausing
        self.world.timed = options.timed
        self.world.firing = options.firing
        self.world.unique = options.unique
        if options.grouped:
            self.world.begin_groups()
        self.engine = self.world.engine
        self.engine.trace = [] if tracing else None
        self.engine.on_death = self._replace_dead
        self.workers: dict[str, Worker] = {}
        self.upkeeps: dict[str, Upkeep] = {}

    def _draw_faults(self, draw: random.Random) -> Faults:
        """Each schedule has a mixture of its own: what hides a hole in one is missing in another."""

        def rate(most: float) -> float:
            return draw.choice((0.0, most / 8, most))

        faults = Faults(rate(0.006), rate(0.012), rate(0.06), rate(0.06), rate(0.06), rate(0.06))
        faults.hot, faults.hot_factor = frozenset({draw.choice(HOT_TRIPS)}), draw.choice((1.0, 8.0, 8.0))
        if self.options.focus:
            faults = Faults(
                faults.kill, faults.stop, 0.0, 0.02, 0.04, 0.0, self.options.focus, draw.choice((4.0, 12.0))
            )
        if self.killing_job:
            faults.kill = faults.stop = 0
        return faults

    # --- who takes part

    def _start_worker(self) -> None:
        process = Process(self.world.fresh("worker"))
        worker = self.workers[process.name] = Worker(self.world, process)
        upkeep = self.upkeeps[process.name] = Upkeep(self.world, worker)
        upkeep.start()

    def _start_producer(self, batches: int) -> None:
        process = Process(self.world.fresh("producer"))
        producer = producers.Producer(self.world, process)
        pause = 2 * TRAFFIC // max(1, batches)
        self.engine.start(process, "submit", producer.submit_all(batches, pause))
        keys = [f"key{self.world.rng.randint(1, 4)}" for _ in range(4)]
        self.engine.start(process, "keys", producer.submit_under_keys(keys, TRAFFIC // 3))
        if self.world.unique:
            self.engine.start(process, "unique", UniqueProducer(producer).submit_all(40, TRAFFIC // 20))
            self.engine.start(process, "prune", UniqueProducer(producer).prune_all(4 * SECOND))

    def _start_outsiders(self) -> None:
        world, rng = self.world, self.world.rng
        outsiders = [producers.external_pusher(world, 6, TRAFFIC // 4)]
        if rng.random() < 0.3:
            outsiders.append(producers.external_popper(world, 3, TRAFFIC // 3))
        if world.postgres is not None:
            outsiders.append(producers.copier(world, 6, TRAFFIC // 5))
            if rng.random() < 0.5 or self.options.person:
                outsiders.append(Person(world).act_all(16, TRAFFIC // 6))
            if rng.random() < 0.3 or self.options.person:
                outsiders.append(Keeper(world).keep())
            if rng.random() < 0.5:
                outsiders.append(producers.locker(world, 5, TRAFFIC // 4))
        if world.pausing:
            outsiders.append(Pauser(world).pause_and_resume(TRAFFIC))
        if world.grouped and world.postgres is not None:
            outsiders.append(Limiter(world).change_all(TRAFFIC))
        for steps in outsiders:
            self.engine.start(Process(self.world.fresh("stranger")), "stranger", steps)

    def _replace_dead(self, process: Process) -> None:
        self.world.truth.process_died(process)
        self.world.at_hand.pop(process.name, None)
        if process.name in self.workers:
            self._start_worker()
        elif process.name.startswith("producer") and not self.world.calm:
            self._start_producer(4)

    # --- what goes wrong beside single trips

    def _plan_disasters(self) -> None:
        rng = self.world.rng
        kinds = self._kinds_of_disasters()
        if self.options.losses and (rng.random() < 0.15 or self.options.disaster == "long outage"):
            self._plan_loss_after_long_outage()
        for _ in range(8 if self.options.disaster in DISASTERS else rng.randint(0, 5)):
            moment = rng.randint(5 * SECOND, TRAFFIC)
            self.engine.at(moment, rng.choice(kinds))
            if rng.random() < 0.4:  # misfortunes come in pairs
                self.engine.at(moment + rng.randint(0, 20 * SECOND), rng.choice(kinds))

    def _kinds_of_disasters(self) -> list[Callable[[], None]]:
        methods = (
            self._outage,
            self._hang,
            self._shift_redis_clock,
            self._partition,
            self._long_stop,
            self._shut_down,
            self._lose_data,
            self._cut_file,
        )
        named = dict(zip(DISASTERS, methods, strict=True))
        if self.options.disaster in named:
            return [named[self.options.disaster]]
        kinds = ["outage", "hang", "clock"]
        if not self.killing_job:
            kinds += ["partition", "stop", "shutdown"]
        if self.options.losses:
            kinds += ["loss", "loss", "cut"]
        return [named[kind] for kind in kinds]

    def _plan_loss_after_long_outage(self) -> None:
        """What waited for long is pushed at once, and at once lost again: rows far older than their push."""
        begin, length = self.world.rng.randint(2, 15) * SECOND, self.world.rng.randint(62, 75) * SECOND

        def outage() -> None:
            self.engine.say(f"REDIS DOWN for {length / SECOND:.1f} s")
            self.engine.stores["redis"].down_until = self.engine.now + length

        self.engine.at(begin, outage)
        self.engine.at(begin + length + self.world.rng.randint(0, 2 * SECOND), self._cut_file)

    def _store(self) -> Store:
        return "redis" if self.options.redis_only or self.world.rng.random() < 0.6 else "postgres"

    def _outage(self) -> None:
        if self.world.calm:
            return
        store, length = self._store(), self.engine.random_pause()
        self.engine.say(f"{store.upper()} DOWN for {length / SECOND:.1f} s")
        self.engine.stores[store].down_until = self.engine.now + length

    def _hang(self) -> None:
        if self.world.calm:
            return
        store, length = self._store(), self.engine.random_pause() // 2
        self.engine.say(f"{store.upper()} HANGS for {length / SECOND:.1f} s")
        self.engine.stores[store].hangs_until = self.engine.now + length

    def _shift_redis_clock(self) -> None:
        if not self.world.calm:
            self.world.redis_skew = self.world.rng.choice((-300, -60, -1, 1, 60, 300)) * SECOND
            self.engine.say(f"REDIS CLOCK off by {self.world.redis_skew // SECOND} s")

    def _victim(self) -> Process | None:
        living = [worker.process for worker in self.workers.values() if worker.process.alive]
        return None if self.world.calm or not living else self.world.rng.choice(living)

    def _partition(self) -> None:
        if victim := self._victim():
            self.engine.partition(victim, self.engine.random_pause())

    def _long_stop(self) -> None:
        if victim := self._victim():
            self.engine.stop(victim, self.world.rng.randint(10, 100) * SECOND)

    def _shut_down(self) -> None:
        if victim := self._victim():
            self.engine.start(victim, "shutdown", self.upkeeps[victim.name].shut_down())

    def _lose_data(self) -> None:
        world, rng = self.world, self.world.rng
        if world.calm:
            return
        kind = rng.choice(("flushall", "empty", "prefix", "prefix"))
        self.engine.say(f"REDIS LOSES DATA: {kind}")
        older = world.empty_redis()
        if kind == "prefix" and world.snapshots:
            older = rng.choice(world.snapshots)
        world.replace_redis(older, same_run=kind == "flushall")

    def _cut_file(self) -> None:
        """Redis is killed in a moment, and will have forgotten what it heard from now on."""
        if self.world.calm:
            return
        remembered, run = self.world.redis.snapshot(), self.world.redis.run
        self.world.files.append(remembered)

        def restart() -> None:
            self.world.files = [file for file in self.world.files if file is not remembered]
            if not self.world.calm and self.world.redis.run == run:
                self.engine.say("REDIS RESTARTS with its file cut")
                self.world.replace_redis(remembered, same_run=False)

        self.engine.at(self.engine.now + self.world.rng.randint(50, 2500), restart)

    # --- the run

    def _heal(self) -> None:
        self.world.calm = True
        self.engine.faults = Faults()
        for store in self.engine.stores.values():
            store.down_until = store.hangs_until = 0
        for worker in self.workers.values():
            worker.process.partitioned_until = 0
        if self.world.pausing:
            self.engine.start(Process(self.world.fresh("stranger")), "resume", Pauser(self.world).resume_at_last())
        self.engine.say("ALL IS WELL AGAIN")

    def _leases(self) -> set[str]:
        return {worker.lease.id for worker in self.workers.values() if worker.process.alive}

    def _add_killer(self) -> None:
        job = "hkiller"
        self.world.truth.killers.add(job)
        if self.world.postgres is not None:
            self.world.postgres.insert([job], "mkiller", [])
        else:
            self.world.redis.push([Task(job)])

    def run(self) -> Result:
        if self.world.firing:
            now = self.world.postgres_clock()
            self.world.schedules.begin(now, now + TRAFFIC)
        for _ in range(2):
            self._start_producer(7)
        workers = self.world.rng.choice((1, 2, 2, 3))
        first_at = self.world.rng.randint(10, 50) * SECOND if self.world.rng.random() < 0.1 else 0
        for _ in range(workers):  # mostly at once; now and then producers and losses of Redis are there long before
            self.engine.at(first_at, self._start_worker)
        self._start_outsiders()
        self._plan_disasters()
        if self.killing_job:
            self.engine.at(self.world.rng.randint(0, TRAFFIC), self._add_killer)
        self.engine.run_until(TRAFFIC)
        self._heal()
        while not is_quiet(self.world, self._leases()) and self.engine.now < TRAFFIC + REST_LIMIT:
            self.engine.run_until(self.engine.now + 2 * SECOND)
        violations = check_at_rest(self.world, self._leases())
        truth = self.world.truth
        jobs = truth.wishes.born if self.world.postgres else truth.finished
        return Result(self.seed, violations, len(jobs), self.world.truth.runs.total(), self.engine.trace or [])


def explore(seed: int, options: Options, tracing: bool = False) -> Result:
    return Schedule(seed, options, tracing).run()
