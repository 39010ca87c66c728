"""Group commit: callers that arrive while a trip is under way share the next one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

T = TypeVar("T")
R = TypeVar("R")


class BatchFailed(Exception):
    """The trip that carried this item failed; `__cause__` says why."""


class _Slot(Generic[T, R]):
    def __init__(self, item: T, size: int) -> None:
        self.item = item
        self.size = size
        self.done = trio.Event()
        self.gone = False  #: its caller was cancelled before the trip began
        self.result: R
        self.error: BaseException | None = None


class Batcher(Generic[T, R]):
    """No timer: a batch is whatever has gathered while the trip before it was under way.

    Mutable state: the channel of slots, filled by `submit` and emptied by `run`, and the slot that did not fit into
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
        self._enter, self._exit = trio.open_memory_channel[_Slot[T, R]](waiting_max)
        self._kept: _Slot[T, R] | None = None

    async def submit(self, item: T, *, enter_seconds: float = float("inf")) -> R:
        """Wait until `item` has made its trip.

        Raises trio.TooSlowError when there was no room for `enter_seconds`, BatchFailed when the trip failed, what
        `flush` returned for this item, and trio.BrokenResourceError when the batcher has ended.
        Cancelled before its trip began: nothing happens. During it: the trip goes on, only its result is lost to us.
        """
        slot: _Slot[T, R] = _Slot(item, self._size(item))
        try:
            self._enter.send_nowait(slot)
        except trio.WouldBlock:
            with trio.fail_after(enter_seconds):
                await self._enter.send(slot)  # bounded: where there is no room, the caller waits
        try:
            await slot.done.wait()
        except trio.Cancelled:
            slot.gone = True
            raise
        if slot.error is not None:  # a fresh exception each: tasks that share one garble its traceback
            if isinstance(slot.error, trio.BrokenResourceError):
                raise trio.BrokenResourceError("the batcher has ended")
            raise BatchFailed("batch not written") from slot.error
        if isinstance(slot.result, Exception):
            raise slot.result
        return slot.result

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make trips until cancelled. Whoever still waits then is told."""
        task_status.started()
        with self._exit:
            try:
                while True:
                    slots = await self._gather()
                    if slots:
                        await self._trip(slots)
            finally:  # whoever still waits must not wait for ever
                ended = trio.BrokenResourceError("the batcher has ended")
                if self._kept is not None:
                    _refuse([self._kept], ended)
                while (slot := self._next()) is not None:
                    _refuse([slot], ended)

    async def _gather(self) -> list[_Slot[T, R]]:
        first = self._kept or await self._exit.receive()
        self._kept = None
        slots = [] if first.gone else [first]
        size = first.size
        while len(slots) < self._batch_max and (slot := self._next()) is not None:
            if slot.gone:
                continue
            if slots and size + slot.size > self._bytes_max:
                self._kept = slot
                break
            slots.append(slot)
            size += slot.size
        return slots

    def _next(self) -> _Slot[T, R] | None:
        try:
            return self._exit.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None

    async def _trip(self, slots: list[_Slot[T, R]]) -> None:
        try:
            results = await self._flush([slot.item for slot in slots])
            for slot, result in zip(slots, results, strict=True):
                slot.result = result  # type: ignore[assignment]  # an exception is told apart by submit
        except BaseException as error:
            _refuse(slots, error)
            if not isinstance(error, Exception):
                raise  # Cancelled: nobody is left waiting, and we end
        else:
            for slot in slots:
                slot.done.set()


def _refuse(slots: "list[_Slot[T, R]]", error: BaseException) -> None:
    for slot in slots:
        slot.error = error
        slot.done.set()
