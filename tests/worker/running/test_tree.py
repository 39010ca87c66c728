"""What is seen of a running job from outside: where its tasks wait, its nurseries, its scopes, its threads."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio
import trio.testing

from tests.support.attempts import OneAttempt
from workqueue.core.handlers import Handler
from workqueue.core.job import Job
from workqueue.services.job_tree import JobTree, TreeAnswer, TreeFrame, TreeTask, read_answer, write_answer
from workqueue.services.worker.running import tree
from workqueue.services.worker.running.slot import Slot


@asynccontextmanager
async def running(function: "Callable[[Job], Any] | Plain", *, timeout: float | None = None) -> AsyncIterator[Slot]:
    """A slot that runs this handler, once nothing can go on."""
    is_async = not isinstance(function, Plain)
    handler = Handler("kind", function.function if isinstance(function, Plain) else function, is_async, timeout)
    one = OneAttempt(handler, Job(UUID(int=1), "kind", {"password": "hunter2"}, 3, 5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.slot.serve)
        (one.slot.task,) = nursery.child_tasks
        await trio.testing.wait_all_tasks_blocked(0.01)
        yield one.slot
        nursery.cancel_scope.cancel()


class Plain:
    """A handler that runs in a thread."""

    def __init__(self, function: Callable[[Job], object]) -> None:
        self.function = function


def tree_of(slot: Slot) -> JobTree:
    found = slot.tree("host.1")
    assert found is not None
    return tree.with_source(found)


def sources(frames: list[TreeFrame]) -> list[str]:
    return [frame.source for frame in frames if frame.file == __file__]


def tasks(task: TreeTask) -> Iterator[TreeTask]:
    yield task
    for nursery in task.nurseries:
        for child in nursery.tasks:
            yield from tasks(child)


async def leaf() -> None:
    with trio.CancelScope(), trio.move_on_after(50):
        await trio.sleep(3000)


async def with_children(job: Job) -> object:
    secret = job.payload["password"]
    with trio.move_on_after(100):
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 70
            nursery.start_soon(leaf)
            nursery.start_soon(leaf, name="the second leaf")
            await trio.sleep_forever()
    return secret


async def test_tasks_nurseries_and_scopes_are_those_of_the_handler_alone():
    async with running(with_children, timeout=200) as slot:
        seen = tree_of(slot)
    assert (seen.type, seen.run, seen.worker, seen.cancelling) == ("kind", 3, "host.1", False)
    assert seen.deadline == pytest.approx(200, abs=5)
    assert seen.seconds < 5
    root = seen.task
    assert root.name == f"{__name__}.with_children"
    first = root.frames[0]
    assert (first.file, first.function, first.source) == (__file__, "with_children", "await trio.sleep_forever()")
    assert root.frames[-1].function == "sleep_forever"
    [scope] = root.scopes
    assert scope.deadline == pytest.approx(100, abs=5)
    assert not any([scope.shield, scope.cancelled])
    [nursery] = root.nurseries
    assert nursery.scope.deadline == pytest.approx(70, abs=5)
    assert [task.name for task in nursery.tasks] == sorted([f"{__name__}.leaf", "the second leaf"])
    for task in nursery.tasks:
        assert sources(task.frames) == ["await trio.sleep(3000)"]
        outer, inner, of_sleep = task.scopes  # Trio sleeps by a scope of its own
        assert outer.deadline is None
        assert inner.deadline == pytest.approx(50, abs=5)
        assert of_sleep.deadline == pytest.approx(3000, abs=5)
        assert (task.nurseries, task.thread) == ([], [])


async def test_it_has_no_value_of_any_variable():
    async with running(with_children) as slot:
        text = write_answer(TreeAnswer(tree_of(slot)))
    assert b"hunter2" not in text


async def test_a_cancelled_scope_is_seen_as_one():
    shield = trio.CancelScope(shield=True)

    async def cleans_up(job: Job) -> object:
        with trio.CancelScope() as scope:
            scope.cancel()
            with shield:
                await trio.sleep_forever()
        return None

    async with running(cleans_up) as slot:
        slot.cancel(grace_seconds=60)
        seen = tree_of(slot)
        assert seen.cancelling
        assert [(scope.cancelled, scope.shield) for scope in seen.task.scopes] == [(True, False), (False, True)]
        shield.shield = False


def blocks(started: threading.Event, end: threading.Event) -> None:
    started.set()
    end.wait(60)  # here


async def test_a_handler_in_a_thread_is_shown_with_the_stack_of_the_thread():
    started, end = threading.Event(), threading.Event()

    def plain(job: Job) -> object:
        blocks(started, end)
        return None

    async with running(Plain(plain)) as slot:
        assert started.wait(30)
        root = tree_of(slot).task
        end.set()
    assert root.frames == []
    assert [frame.function.rpartition(".")[2] for frame in root.thread][:2] == ["plain", "blocks"]
    assert sources(root.thread) == ["blocks(started, end)", "end.wait(60)  # here"]
    assert root.thread[-1].file == threading.__file__


async def test_a_thread_that_any_task_waits_for_is_shown_with_this_task():
    began = [threading.Event(), threading.Event()]
    end = threading.Event()

    async def child(number: int) -> None:
        await trio.to_thread.run_sync(blocks, began[number], end)

    async def handler(job: Job) -> object:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, 0)
            nursery.start_soon(child, 1)
        return None

    async with running(handler) as slot:
        assert all(each.wait(30) for each in began)
        children = tree_of(slot).task.nurseries[0].tasks
        end.set()
    for task in children:
        assert sources(task.frames) == ["await trio.to_thread.run_sync(blocks, began[number], end)"]
        assert task.thread[0].function == "blocks"


async def test_a_thread_that_waits_for_trio_is_shown_whole():
    def calls_back() -> None:
        trio.from_thread.run(trio.sleep_forever)

    async def handler(job: Job) -> object:
        await trio.to_thread.run_sync(calls_back, abandon_on_cancel=True)
        return None

    async with running(handler) as slot:
        root = tree_of(slot).task
    assert [frame.function.rpartition(".")[2] for frame in root.thread][:2] == ["calls_back", "from_thread_run"]


async def test_a_task_that_has_not_begun_and_one_behind_an_async_generator_are_shown():
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await trio.sleep_forever()

    async def handler(job: Job) -> object:
        async for _ in numbers():
            pass
        return None

    async with running(handler) as slot:
        root = tree_of(slot).task
    assert "await trio.sleep_forever()" in sources(root.frames)


async def test_five_hundred_tasks_are_shown_and_how_many_are_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree, "SECONDS_MAX", 60.0)  # this machine may be busy

    async def handler(job: Job) -> object:
        async with trio.open_nursery() as nursery:
            for _ in range(700):
                nursery.start_soon(leaf)
        return None

    async with running(handler) as slot:
        seen = slot.tree("host.1")
    assert seen is not None
    [nursery] = seen.task.nurseries
    assert (len(nursery.tasks), nursery.tasks_left_out) == (499, 201)


async def test_it_stops_where_the_time_is_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree, "SECONDS_MAX", -1.0)
    async with running(with_children) as slot:
        seen = slot.tree("host.1")
    assert seen is not None
    assert [(nursery.tasks, nursery.tasks_left_out) for nursery in seen.task.nurseries] == [([], 2)]


async def test_five_hundred_tasks_take_milliseconds():
    async def handler(job: Job) -> object:
        async with trio.open_nursery() as nursery:
            for _ in range(499):
                nursery.start_soon(leaf)
        return None

    async with running(handler) as slot:
        times = []
        for _ in range(20):
            began = time.thread_time()
            slot.tree("host.1")
            times.append(time.thread_time() - began)
    assert min(times) < tree.SECONDS_MAX, "alone on a machine it is a tenth of that"


async def test_what_is_deep_ends_somewhere_and_can_be_read():
    async def nested(depth: int) -> None:
        async with trio.open_nursery() as nursery:
            if depth:
                nursery.start_soon(nested, depth - 1)
            else:
                await recursive(900)

    async def recursive(depth: int) -> None:
        if depth:
            await recursive(depth - 1)
        else:
            await trio.sleep_forever()

    async def handler(job: Job) -> object:
        await nested(20)
        return None

    async def too_deep(job: Job) -> object:
        await nested(100)
        return None

    async with running(handler) as slot:
        seen = tree_of(slot)
        assert read_answer(write_answer(TreeAnswer(seen))) is not None
        *_, last = tasks(seen.task)
        assert len(last.frames) == tree.FRAMES_MAX
        assert last.frames_left_out > 800
        assert last.frames[-1].function == "sleep_forever"
    async with running(too_deep) as slot:
        seen = tree_of(slot)
        *_, last = tasks(seen.task)
        assert last.nurseries[0].tasks_left_out == 1
        assert read_answer(write_answer(TreeAnswer(seen))) is not None


async def test_it_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree, "SECONDS_MAX", 60.0)

    async def recursive(depth: int) -> None:
        if depth:
            await recursive(depth - 1)
        else:
            await trio.sleep_forever()

    async def handler(job: Job) -> object:
        async with trio.open_nursery() as nursery:
            for _ in range(499):
                nursery.start_soon(recursive, 60)
        return None

    async with running(handler) as slot:
        seen = slot.tree("host.1")
    assert seen is not None
    assert seen.task.nurseries[0].tasks_left_out > 0
    assert len(write_answer(TreeAnswer(seen))) < 2 * tree.BYTES_MAX


def test_a_name_that_is_no_text_can_be_written():
    assert tree._text("a\udc80") == "a?"
    assert tree._text("x" * 1000) == "x" * tree.TEXT_MAX


async def test_a_slot_without_a_job_has_no_tree():
    one = OneAttempt(Handler("kind", leaf, True, None), Job(uuid4(), "kind", {}, 1, 0))  # type: ignore[arg-type]
    assert one.slot.tree("host.1") is None
