"""Calls in a loop of asyncio: what ends with them, what a cancellation does, and what cannot harm the loop."""

import asyncio
import contextvars
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio

from workqueue.core import asyncio_thread
from workqueue.core.asyncio_thread import AsyncioThread
from workqueue.core.errors import LoopEnded

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


@pytest.fixture
async def thread(nursery):
    thread = AsyncioThread()
    await nursery.start(thread.run)
    return thread


@pytest.fixture
def call(thread):
    """Calls a function of asyncio; `call.left` has the events of what was left behind."""

    async def call(function: Any, argument: Any = None) -> Any:
        return await thread.call(function, argument, call.left.append)  # type: ignore[attr-defined]

    call.left = []  # type: ignore[attr-defined]
    return call


async def test_a_result_and_an_error_come_back(call):
    async def double(number: int) -> int:
        await asyncio.sleep(0.01)
        return 2 * number

    async def fails(_: object) -> None:
        raise ValueError("no")

    assert await call(double, 21) == 42
    with pytest.raises(ValueError, match="no"):
        await call(fails)


async def test_it_is_a_plain_loop_of_asyncio_outside_of_trio(call):
    async def look(_: object) -> tuple[bool, bool, str]:
        with pytest.raises(RuntimeError):
            trio.lowlevel.current_task()
        read, write = await asyncio.open_connection("127.0.0.1", port)
        write.close()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(7)", stdout=-1)
        printed, _ = await process.communicate()
        return type(asyncio.get_running_loop()) is asyncio.SelectorEventLoop, read is not None, printed.decode()

    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    assert await call(look) == (True, True, "7\n")
    await listener.aclose()


async def test_many_run_at_once(call):
    async def waits(number: int) -> int:
        await asyncio.sleep(0.2)
        return number

    found: list[int] = []

    async def one(number: int) -> None:
        found.append(await call(waits, number))

    begun = time.monotonic()
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, number)
    assert sorted(found) == list(range(50))
    assert time.monotonic() - begun < 5, "10 s one after the other"


async def test_what_it_has_started_ends_with_it(call):
    seen: list[str] = []

    async def lives(name: str) -> None:
        try:
            if name == "child":
                asyncio.create_task(lives("grandchild"))  # noqa: RUF006 - that it is lost is the point
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            seen.append(name)
            raise

    async def starts(_: object) -> str:
        asyncio.create_task(lives("child"))  # noqa: RUF006
        await asyncio.sleep(0.05)
        return "done"

    assert await call(starts) == "done"
    assert sorted(seen) == ["child", "grandchild"]


async def test_context_variables_go_in_and_do_not_come_out(call):
    async def look(_: object) -> str:
        before = variable.get()
        variable.set("theirs")
        return before

    variable.set("ours")
    assert await call(look) == "ours"
    assert variable.get() == "ours"


async def test_a_cancellation_reaches_it_and_waits_for_its_clean_up(call):
    seen: list[str] = []
    runs = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def cleans_up(_: object) -> None:
        token.run_sync_soon(runs.set)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            seen.append("cleaned up")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, cleans_up)
        await runs.wait()
        nursery.cancel_scope.cancel()
    assert seen == ["cleaned up"]
    assert call.left[0].is_set()


async def test_what_ignores_its_cancellation_is_left_behind(call, monkeypatch):
    monkeypatch.setattr(asyncio_thread, "CLEAN_UP_SECONDS", 0.1)

    async def deaf(_: object) -> None:
        for _ in range(10):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)

    with trio.move_on_after(0.05) as scope:
        await call(deaf)
    assert scope.cancelled_caught
    [ended] = call.left
    assert not ended.is_set()
    with trio.fail_after(10):
        await ended.wait()


async def test_a_cancellation_before_it_has_begun_begins_nothing(call):
    ran: list[int] = []

    async def runs(_: object) -> None:
        ran.append(1)

    async def blocks(_: object) -> None:
        time.sleep(0.3)  # noqa: ASYNC251 - it blocks its loop, and not ours

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, blocks)
        await trio.sleep(0.05)
        with trio.move_on_after(0.05):
            await call(runs)
    assert await call(partial(asyncio.sleep, 0)) is None
    assert ran == []


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
async def test_no_error_of_a_call_ends_the_loop(call, error):
    async def raises(_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        await call(raises)
    assert await call(partial(asyncio.sleep, 0)) is None


async def test_a_call_that_is_no_coroutine_is_an_error_of_the_call(call):
    with pytest.raises(TypeError):
        await call(lambda _: 7)


async def test_where_no_loop_runs_it_says_so():
    thread = AsyncioThread()
    with pytest.raises(LoopEnded):
        await thread.call(asyncio.sleep, 0, lambda _: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(thread.run)
        nursery.cancel_scope.cancel()
    with pytest.raises(LoopEnded):
        await thread.call(asyncio.sleep, 0, lambda _: None)
