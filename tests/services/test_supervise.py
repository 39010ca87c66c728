"""What ends by itself is started again, with pauses that grow while it does not stay up."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from msgspec import Struct
from trio.testing import MockClock

from workqueue.core.errors import WorkQueueError
from workqueue.core.retry import Pauses
from workqueue.services.supervise import LONGEST_PAUSE_SECONDS, STABLE_SECONDS, supervise, supervise_server

RUN_SECONDS = 2.0


class Runs:
    """Runs that last RUN_SECONDS, or as `lasts` says. Mutable state: when each began, and what was reported."""

    def __init__(self, lasts: Callable[[int], float] = lambda number: RUN_SECONDS) -> None:
        self._lasts = lasts
        self.begun: list[float] = []
        self.reports: list[tuple[str, float]] = []

    async def run_once(self) -> str:
        self.begun.append(trio.current_time())
        await trio.sleep(self._lasts(len(self.begun)))
        return f"run {len(self.begun)} has ended"

    def on_end(self, reason: str, pause_seconds: float) -> None:
        self.reports.append((reason, pause_seconds))


async def test_pauses_double_up_to_half_a_minute_and_each_end_is_reported(autojump_clock: MockClock):
    runs = Runs()
    with trio.move_on_after(120):
        await supervise(runs.run_once, on_end=runs.on_end)
    pauses = [pause for _, pause in runs.reports]
    assert pauses == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    gaps = [after - before - RUN_SECONDS for before, after in zip(runs.begun, runs.begun[1:], strict=False)]
    assert gaps == pytest.approx(pauses[: len(gaps)]), "what was reported was waited for"
    assert runs.reports[0][0] == "run 1 has ended"


async def test_a_run_that_was_stable_makes_the_next_pause_short_again(autojump_clock: MockClock):
    runs = Runs(lambda number: STABLE_SECONDS + 1 if number == 4 else RUN_SECONDS)
    with trio.move_on_after(60):
        await supervise(runs.run_once, on_end=runs.on_end)
    assert [pause for _, pause in runs.reports][:6] == [0.5, 1, 2, 0.5, 1, 2]


async def test_a_stop_ends_a_pause_at_once_and_lets_a_run_end(nursery, autojump_clock: MockClock):
    for stop_after, ends_after in ((RUN_SECONDS + 0.1, RUN_SECONDS + 0.1), (1.0, RUN_SECONDS)):
        runs, stop, begun = Runs(), trio.Event(), trio.current_time()

        async def stop_later(stop: trio.Event = stop, seconds: float = stop_after) -> None:
            await trio.sleep(seconds)
            stop.set()

        nursery.start_soon(stop_later)
        await supervise(runs.run_once, on_end=runs.on_end, stop=stop)
        assert trio.current_time() - begun == pytest.approx(ends_after)
        assert len(runs.begun) == 1


async def test_what_a_run_raises_ends_the_supervision(autojump_clock: MockClock):
    async def run_once() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await supervise(run_once)


class Server(Struct, frozen=True):
    port: int
    ended: Callable[[], Awaitable[object]]


async def test_a_server_keeps_its_port_and_a_start_that_fails_later_is_tried_again(nursery, autojump_clock: MockClock):
    asked: list[int | None] = []
    closed: list[int] = []
    reports: list[str] = []

    @asynccontextmanager
    async def open_server(port: int | None) -> AsyncIterator[Server]:
        asked.append(port)
        if len(asked) == 2:
            raise WorkQueueError("its port is still in use")
        try:
            yield Server(7000, partial(trio.sleep, 5))
        finally:
            closed.append(len(asked))

    async def run(*, task_status: trio.TaskStatus[Server]) -> None:
        await supervise_server(
            open_server,
            pauses=Pauses(1, 1),
            on_end=lambda reason, pause: reports.append(reason),
            task_status=task_status,
        )

    server = await nursery.start(run)
    assert server.port == 7000
    await trio.sleep(9)
    assert asked == [None, 7000, 7000]
    assert reports == ["has ended by itself", "cannot be started: its port is still in use"]
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await trio.testing.wait_all_tasks_blocked()
    assert closed == [1, 3], "the one that ran was closed"


async def test_a_first_start_that_fails_is_raised(autojump_clock: MockClock):
    @asynccontextmanager
    async def open_server(port: int | None) -> AsyncIterator[Server]:
        raise WorkQueueError("there is no room")
        yield

    with pytest.raises(WorkQueueError, match="no room"):
        await supervise_server(open_server)
