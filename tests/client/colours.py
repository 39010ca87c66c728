"""One client in three colours behind one set of coroutines, so that each test is written once."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from workqueue import Client, Task, aio

COLOURS = ("sync", "asyncio", "trio")


class Colour(ABC):
    """Every method of a client as a coroutine of Trio; `enqueue_many` gives a list."""

    @abstractmethod
    async def call(self, name: str, *arguments: Any, **options: Any) -> Any: ...

    def __getattr__(self, name: str) -> Any:
        return partial(self.call, name)


class Sync(Colour):
    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return await trio.to_thread.run_sync(partial(getattr(self.client, name), *arguments, **options))

    async def enqueue_many(self, tasks: Iterable[Task], **options: Any) -> list[Any]:
        answers: list[Any] = await trio.to_thread.run_sync(lambda: list(self.client.enqueue_many(tasks, **options)))
        return answers


class Trio(Colour):
    def __init__(self, client: aio.Client) -> None:
        self.client = client

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return await getattr(self.client, name)(*arguments, **options)

    async def enqueue_many(self, tasks: Any, **options: Any) -> list[Any]:
        return [answer async for answer in self.client.enqueue_many(tasks, **options)]


class Asyncio(Trio):
    """In a thread with a loop of its own."""

    def __init__(self, client: aio.Client, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(client)
        self._loop = loop

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return await self._run(super().call(name, *arguments, **options))

    async def enqueue_many(self, tasks: Any, **options: Any) -> list[Any]:
        answers: list[Any] = await self._run(super().enqueue_many(tasks, **options))
        return answers

    async def _run(self, work: Any) -> Any:
        return await trio.to_thread.run_sync(asyncio.run_coroutine_threadsafe(work, self._loop).result)


@asynccontextmanager
async def opened(colour: str, url: str, **options: Any) -> AsyncIterator[Any]:
    """A client of one of COLOURS."""
    if colour == "sync":
        with Client(url, **options) as client:
            yield Sync(client)
    elif colour == "trio":
        async with aio.Client(url, **options) as ours:
            yield Trio(ours)
    else:
        loop = asyncio.SelectorEventLoop()  # new_event_loop makes one of trio-asyncio's, once that was imported
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        def run(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result()

        theirs = aio.Client(url, **options)
        try:
            await trio.to_thread.run_sync(run, theirs.__aenter__())
            try:
                yield Asyncio(theirs, loop)
            finally:
                await trio.to_thread.run_sync(run, theirs.__aexit__(None, None, None))
        finally:
            loop.call_soon_threadsafe(loop.stop)
            await trio.to_thread.run_sync(thread.join)
            loop.close()
