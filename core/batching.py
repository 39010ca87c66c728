"""Group commit: callers that arrive while a trip is under way share the next one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from workqueue.core.errors import BatchFailed

T = TypeVar("T")
R = TypeVar("R")


class _Entry(Generic[T, R]):
    def __init__(self, item: T, size: int) -> None:
        self.item = item
        self.size = size
        self.done = trio.Event()
        self.gone = False  #: its caller was cancelled before the trip began
        self.result: R
        self.error: BaseException | None = None


class Batcher(Generic[T, R]):
    """Without a timer: a batch is all items that came while the trip before it was under way.

    Mutable state: the channel of entries, filled by `submit` and emptied by `run`, and the entry that did not fit into
    the last batch, touched by `run` alone.
    """

    def __init__(
        self,
        flush: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        batch_max: int,
        waiting_max: int,
        bytes_max: int = 1 << 62,
        size: Callable[[T], int] = lambda item: 0,
    ) -> None:
        """`flush` gets 1 to `batch_max` items of at most `bytes_max` bytes together (a larger one goes alone).

        It returns a result, or an exception to raise, for each item in order; at most `waiting_max` items wait for it.
        """
        self._flush = flush
        self._batch_max = batch_max
        self._bytes_max = bytes_max
        self._size = size
        self._enter, self._exit = trio.open_memory_channel[_Entry[T, R]](waiting_max)
        self._kept: _Entry[T, R] | None = None

    async def submit(self, item: T, *, enter_seconds: float = float("inf")) -> R:
        """Wait until `item` has made its trip.

        Raises trio.TooSlowError when there was no room for `enter_seconds`, BatchFailed when the trip failed, what
        `flush` returned for this item, and trio.BrokenResourceError when the batcher has ended.
        Cancelled before its trip began: nothing happens. During it: the trip goes on, only its result is lost to us.
        """
        entry: _Entry[T, R] = _Entry(item, self._size(item))
        try:
            self._enter.send_nowait(entry)
        except trio.WouldBlock:
            with trio.fail_after(enter_seconds):
                await self._enter.send(entry)  # bounded: where there is no room, the caller waits
        try:
            await entry.done.wait()
        except trio.Cancelled:
            entry.gone = True
            raise
        if entry.error is not None:  # a fresh exception each: tasks that share one garble its traceback
            if isinstance(entry.error, trio.BrokenResourceError):
                raise trio.BrokenResourceError("the batcher has ended")
            raise BatchFailed("batch not written") from entry.error
        if isinstance(entry.result, Exception):
            raise entry.result
        return entry.result

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make trips until cancelled. Callers that still wait then get trio.BrokenResourceError."""
        task_status.started()
        with self._exit:
            try:
                while True:
                    entries = await self._gather()
                    if entries:
                        await self._trip(entries)
            finally:  # no caller may wait for ever
                ended = trio.BrokenResourceError("the batcher has ended")
                if self._kept is not None:
                    _refuse([self._kept], ended)
                while (entry := self._next()) is not None:
                    _refuse([entry], ended)

    async def _gather(self) -> list[_Entry[T, R]]:
        first = self._kept or await self._exit.receive()
        self._kept = None
        entries = [] if first.gone else [first]
        size = first.size
        while len(entries) < self._batch_max and (entry := self._next()) is not None:
            if entry.gone:
                continue
            if entries and size + entry.size > self._bytes_max:
                self._kept = entry
                break
            entries.append(entry)
            size += entry.size
        return entries

    def _next(self) -> _Entry[T, R] | None:
        try:
            return self._exit.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None

    async def _trip(self, entries: list[_Entry[T, R]]) -> None:
        try:
            results = await self._flush([entry.item for entry in entries])
            for entry, result in zip(entries, results, strict=True):
                entry.result = result  # type: ignore[assignment]  # an exception is told apart by submit
        except BaseException as error:
            _refuse(entries, error)
            if not isinstance(error, Exception):
                raise  # Cancelled: no caller is left waiting
        else:
            for entry in entries:
                entry.done.set()


def _refuse(entries: "list[_Entry[T, R]]", error: BaseException) -> None:
    for entry in entries:
        entry.error = error
        entry.done.set()
