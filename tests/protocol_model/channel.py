"""The control channel: a message reaches every worker that listens just then, and Redis keeps none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.protocol_model.engine import SECOND, Engine, Process

ClaimedJob = tuple[str, str]  # claim token and job: together they name one run

LOST = 0.15
DELAYED = 0.15


@dataclass
class Channel:
    engine: Engine
    listeners: list[tuple[Process, Callable[[list[ClaimedJob]], None]]] = field(default_factory=list)

    def listen(self, process: Process, hear: Callable[[list[ClaimedJob]], None]) -> None:
        self.listeners.append((process, hear))

    def publish(self, runs: list[ClaimedJob]) -> None:
        rng = self.engine.rng
        for process, hear in self.listeners:
            if self.engine.faults and rng.random() < LOST:
                continue
            delay = rng.randint(1, 8 * SECOND) if rng.random() < DELAYED else rng.randint(1, 4)
            self._deliver(process, hear, runs, self.engine.now + delay)

    def _deliver(
        self, process: Process, hear: Callable[[list[ClaimedJob]], None], runs: list[ClaimedJob], moment: int
    ) -> None:
        def arrive() -> None:
            now = self.engine.now
            if not process.alive or process.partitioned_until > now:
                return
            if process.stopped_until > now:  # it lies in the socket
                self._deliver(process, hear, runs, process.stopped_until)
                return
            hear(runs)

        self.engine.at(moment, arrive)
