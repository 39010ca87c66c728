"""What a worker holds in its memory: claimed jobs under the numbers of a lease, and what rides on its statements."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from typing import Literal

from tests.protocol_model.redis_model import Task
from tests.protocol_model.rows_model import Counters
from tests.protocol_model.truth import Run

NO_RUNS = Counters(0, 0, 0)
Stage = Literal["buffered", "admission", "running", "over"]


@dataclass(eq=False)
class Item:
    """A claimed job that this worker holds under a number of its flight."""

    task: Task
    job: str
    token: str = ""
    counters: Counters = NO_RUNS
    run: Run | None = None
    stage: Stage = "buffered"
    cancelled: bool = False  # a person did, and this worker has been told
    settling: bool = False


@dataclass(eq=False)
class Lease:
    id: str
    registered: bool = False
    lost: bool = False
    renewed_at: int = 0
    next_number: int = 1
    held: dict[int, Item] = field(default_factory=dict)
    unsettled: Tally[str] = field(default_factory=Tally)  # claim token -> jobs without a verdict
    last_chances: int = 0

    def hold(self, items: dict[int, Item]) -> None:
        self.held.update(items)
        self.unsettled.update(item.token for item in items.values() if item.token)

    def drop(self, number: int) -> str | None:
        """Its last ack is answered. Returns the claim of which this was the last job without a verdict."""
        item = self.held.pop(number, None)
        if item is None or not item.token:
            return None
        self.unsettled[item.token] -= 1
        return item.token if self.unsettled[item.token] == 0 else None


class Ledger:
    """What the next statement may delete on its way: outbox entries of what was pushed, claims of what is settled."""

    def __init__(self) -> None:
        self.outbox: list[str] = []
        self.claims: list[str] = []
