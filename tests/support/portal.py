"""Lets synchronous code (fixtures of a session, Hypothesis state machines) call Trio functions."""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

import trio

from workqueue.core.bridge import Bridge, open_bridge

T = TypeVar("T")


class Portal:
    """A Trio loop in a thread of its own, with a bridge."""

    bridge: Bridge
    token: trio.lowlevel.TrioToken

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._nursery: trio.Nursery

    def call(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run an async function to its end."""
        return trio.from_thread.run(function, *args, trio_token=self.token)

    @contextmanager
    def running(self, resource: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """An async context manager, entered and left in a task of the loop."""
        done = threading.Event()

        async def hold(*, task_status: trio.TaskStatus[tuple[T, trio.Event]]) -> None:
            leave = trio.Event()
            try:
                async with resource as value:
                    task_status.started((value, leave))
                    await leave.wait()
            finally:
                done.set()

        async def start() -> tuple[T, trio.Event]:
            started: tuple[T, trio.Event] = await self._nursery.start(hold)
            return started

        value, leave = self.call(start)
        try:
            yield value
        finally:
            trio.from_thread.run_sync(leave.set, trio_token=self.token)
            if not done.wait(30):
                raise RuntimeError("a resource of the tests did not end within 30 s")

    async def _main(self) -> None:
        async with open_bridge() as self.bridge, trio.open_nursery() as self._nursery:
            self.token = trio.lowlevel.current_trio_token()
            self._closing = trio.Event()
            self._ready.set()
            await self._closing.wait()
            self._nursery.cancel_scope.cancel()


@contextmanager
def open_portal() -> Iterator[Portal]:
    portal = Portal()
    thread = threading.Thread(target=trio.run, args=(portal._main,), name="portal")
    thread.start()
    if not portal._ready.wait(10):
        raise RuntimeError("the loop of the tests did not start")
    try:
        yield portal
    finally:
        trio.from_thread.run_sync(portal._closing.set, trio_token=portal.token)
        thread.join(30)
