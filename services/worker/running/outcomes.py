"""From the consumers to the store: outcomes gather while the batch before is being settled."""

from collections import deque
from collections.abc import Callable

import trio

from workqueue.core.outcome import Complete, Verdict
from workqueue.core.steps.settle import Ending, Settle
from workqueue.services.worker.heartbeats import Heartbeats

BATCH_MAX = 1000
BATCH_BYTES_MAX = 4 * 1024 * 1024
WAITING_MAX = 2 * BATCH_MAX
WAITING_BYTES_MAX = 64 * 1024 * 1024
LINGER_SECONDS = 0.004  #: how long a small batch waits for more while jobs wait to be run; never when there are none


class Outcomes:
    """A bounded buffer: while Redis or Postgres is away it fills, and consumers wait for room.

    Mutable state: the deque and its size in bytes, filled by consumers, emptied by `run`.
    """

    def __init__(self, settle: Settle, heartbeats: Heartbeats, busy: Callable[[], object] = lambda: False) -> None:
        """`busy`: more jobs wait to be run, so more outcomes will come in a moment."""
        self._settle = settle
        self._busy = busy
        self._heartbeats = heartbeats
        self._waiting: deque[Ending] = deque()
        self._bytes = 0
        self._under_way = 0
        self._come = trio.lowlevel.ParkingLot()
        self._gone = trio.lowlevel.ParkingLot()

    @property
    def full(self) -> bool:
        """There is no room: no job should be claimed."""
        return len(self._waiting) >= WAITING_MAX or self._bytes >= WAITING_BYTES_MAX

    def __len__(self) -> int:
        return len(self._waiting) + self._under_way

    def put(self, settled: Ending) -> None:
        """Hand over, even where there is no room: consumers wait for it before their next job, so one each at most."""
        verdict = settled.verdict
        self._waiting.append(settled)
        if type(verdict) is Complete and not verdict.artifacts:  # as `size` does it
            self._bytes += len(verdict.result)
        else:
            self._bytes += size(verdict)
        if self._come:
            self._come.unpark()

    async def wait_for_room(self) -> None:
        """Until the buffer is no longer full: a consumer takes its next job only then."""
        while self.full:
            await self._gone.park()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Settle batches until cancelled. Lasts through outages, holding what it has."""
        with self._heartbeats.service("settle") as heartbeat:
            task_status.started()
            while True:
                heartbeat(2.0)
                if not self._waiting:
                    with trio.move_on_after(1):
                        await self._come.park()
                    continue
                if len(self._waiting) < BATCH_MAX and self._busy():
                    await trio.sleep(LINGER_SECONDS)
                batch = self._next_batch()
                self._under_way = len(batch)
                await self._settle.run_batch(batch)
                self._under_way = 0
                self._gone.unpark_all()

    async def wait_empty(self) -> None:
        """Until everything handed over so far is settled."""
        while len(self):
            await self._gone.park()

    def _next_batch(self) -> list[Ending]:
        if len(self._waiting) <= BATCH_MAX and self._bytes <= BATCH_BYTES_MAX:
            batch, self._bytes = list(self._waiting), 0
            self._waiting.clear()
            return batch
        batch = [self._waiting.popleft()]
        total = size(batch[0].verdict)
        while self._waiting and len(batch) < BATCH_MAX:
            more = size(self._waiting[0].verdict)
            if total + more > BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
            total += more
        self._bytes -= total
        return batch


def size(verdict: Verdict) -> int:
    """About how many bytes a verdict carries."""
    if isinstance(verdict, Complete):
        size = len(verdict.result)
        return size if not verdict.artifacts else size + sum(len(artifact.content) for artifact in verdict.artifacts)
    return len(getattr(verdict, "traceback", None) or "")
