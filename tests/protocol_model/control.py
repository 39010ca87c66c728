"""What a worker does when a person has cancelled jobs: it is told by a message, and looks at the rows."""

from __future__ import annotations

from collections.abc import Collection

from tests.protocol_model.channel import ClaimedJob
from tests.protocol_model.engine import SECOND, NoAnswer, Process, Sleep, Steps
from tests.protocol_model.held import Item
from tests.protocol_model.settling import Settling
from tests.protocol_model.world import World

EARLY = 5 * SECOND
LOOK_EVERY = 2 * SECOND
LONG = SECOND
DEAF = 10  #: so many seconds after everything is well a cancelled run must have ended


class Controlled(Settling):
    """`remembered`: runs that were cancelled in the last seconds; the answer of their claim may be on its way."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__(world, process)
        self.remembered: set[ClaimedJob] = set()
        self.remembered_at = 0

    def hear(self, runs: list[ClaimedJob]) -> None:
        if self.world.on("cancel-message"):
            self.cancel(runs)

    def cancel(self, runs: Collection[ClaimedJob]) -> None:
        self._cancel(runs)
        if self.now > self.remembered_at + EARLY:
            self.remembered.clear()
        self.remembered.update(runs)
        self.remembered_at = self.now

    def cancel_remembered(self) -> None:
        """New jobs have been claimed."""
        if self.remembered and self.world.on("early-cancel"):
            self._cancel(self.remembered)

    def _cancel(self, runs: Collection[ClaimedJob]) -> None:
        """A job that is on its way from the buffer into a slot is missed; the next look finds it."""
        jobs = {job for _, job in runs}
        for item in self.items:
            named = (item.token, item.job) in runs if self.world.on("cancel-names-run") else item.job in jobs
            if named and item.stage in {"buffered", "running"}:
                item.cancelled = True

    def look_loop(self) -> Steps[None]:
        """Cancel what the rows say is cancelled, of the jobs that have been running for a while."""
        while True:
            yield Sleep(LOOK_EVERY)
            running = [item for item in self.items if item.stage == "running" and item.run]
            ids = sorted({item.job for item in running if item.run and item.run.since < self.now - LONG})
            if not ids or not self.world.on("cancel-look"):
                continue
            try:
                runs = yield from self.world.sql_once("look", lambda sql, ids=ids: sql.asked_to_end(ids))  # type: ignore[misc]
            except NoAnswer:
                continue
            self.cancel(runs)

    def check_it_is_heard(self, item: Item, seconds: int) -> int:
        """For how many seconds a run that was asked to end has gone on, although all is well."""
        wishes = self.world.truth.wishes
        if not self.world.calm or (item.job, item.token) not in wishes.runs_asked:
            return 0
        if seconds == DEAF:
            wishes.violate(f"{item.job} was cancelled and runs on")
        return seconds + 1
