"""What really happened, as no part of the system can know it: accepted, refused, started, finished."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.protocol_model.engine import Engine, Process
from tests.protocol_model.wishes import Wishes


@dataclass(slots=True, eq=False)
class Run:
    """One run of a handler."""

    job: str
    process: Process
    lease: str
    since: int
    token: str = ""
    scopes: tuple[str, ...] = ()  #: of limits
    under: tuple[int, int] = (-1, 0)  #: losses of Redis, and the version of the limits, when it was claimed


@dataclass
class Truth:
    engine: Engine
    accepted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unnamed: set[str] = field(default_factory=set)
    named: dict[str, str] = field(default_factory=dict)
    popped: set[str] = field(default_factory=set)
    failures: dict[str, int] = field(default_factory=dict)
    killers: set[str] = field(default_factory=set)
    live: dict[str, list[Run]] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    early: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)
    losses: int = 0
    paused_by: int = 0  # the version by which the type is paused in Redis, and not resumed in Postgres since
    violations: list[str] = field(default_factory=list)
    wishes: Wishes = field(init=False)

    def __post_init__(self) -> None:
        self.wishes = Wishes(self.violate)

    def violate(self, what: str) -> None:
        self.engine.say(f"VIOLATION: {what}")
        self.violations.append(what)

    def start(self, run: Run, mine: bool, due: bool) -> None:
        """`mine`: the store still says, at this very moment, that this claim holds the job."""
        if not due and (mine or not self.losses):
            self.violate(f"{run.job} started before it was due")
        if mine:
            self.wishes.starts(run.job, run.token)
        others = self.live.setdefault(run.job, [])
        self.engine.say(f"{run.process.name}: RUNS {run.job}")
        if not self.losses:
            if not mine:
                self.violate(f"{run.job} started although the claim is no longer valid")
            for other in others:
                if not other.process.silent_since(other.since - 15_000):
                    self.violate(f"{run.job} started while it runs in {other.process.name}")
        others.append(run)
        self.runs[run.job] += 1

    def end(self, run: Run) -> None:
        runs = self.live.get(run.job, [])
        if run in runs:
            runs.remove(run)

    def process_died(self, process: Process) -> None:
        for runs in self.live.values():
            for run in [run for run in runs if run.process is process]:
                runs.remove(run)
                self.deaths[run.job] += 1
