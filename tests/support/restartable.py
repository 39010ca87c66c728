"""A server of a test's own that goes away and comes back at the same address."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from workqueue.services.local.valkey import Server


class Restartable:
    """Mutable state: the server that runs now, and the events that end it."""

    def __init__(self, run: Callable[[], AbstractAsyncContextManager[Server]], nursery: trio.Nursery) -> None:
        self._run = run
        self._nursery = nursery
        self._stop, self._stopped = trio.Event(), trio.Event()
        self.url = ""

    async def start(self) -> None:
        """Returns once it takes connections."""
        self._stop, self._stopped = trio.Event(), trio.Event()
        await self._nursery.start(self._keep)

    async def stop(self) -> None:
        """Returns once it has ended."""
        self._stop.set()
        await self._stopped.wait()

    async def _keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with self._run() as server:
            self.url = server.url
            task_status.started()
            await self._stop.wait()
        self._stopped.set()


@asynccontextmanager
async def restartable(run: Callable[[], AbstractAsyncContextManager[Server]]) -> AsyncIterator[Restartable]:
    """`run` starts it, at the same address each time. It has started; it ends with the block."""
    async with trio.open_nursery() as nursery:
        server = Restartable(run, nursery)
        await server.start()
        yield server
        await server.stop()
