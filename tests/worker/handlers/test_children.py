"""The processes behind the built-in handlers: bounded in time and memory, and never left behind."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import trio

from tests.support.attempts import OneAttempt, run_attempt
from tests.support.wait import until_true
from tests.worker.handlers.support import children_of, cpu_ticks, few_descriptors, is_alive, job
from workqueue.core.errors import CannotStart, PermanentFailure
from workqueue.core.handlers import Handler
from workqueue.core.outcome import Complete, Failed, Interrupted, NotStarted, TimedOut
from workqueue.services.worker.handlers import children as module
from workqueue.services.worker.handlers import messages
from workqueue.services.worker.handlers.children import ChildDied, Children, Memory, open_children
from workqueue.services.worker.running.slot import InterruptReason

SLOW = {"title": "x", "paragraphs": ["word " * 200_000]}  #: some 20 s
QUICK = {"title": "x"}
ONE_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
PICTURE = {"width": 1, "image": f"data:image/png;base64,{ONE_PIXEL}"}


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    async with open_children(2) as children:
        yield children
    assert children_of(os.getpid()) == []


def document(payload: Mapping[str, object] = QUICK, **options: bool):
    return job(payload, type="generate_pdf", **options)


def handler(children: Children, timeout: float | None = None):
    return Handler("generate_pdf", children.run, True, timeout, is_builtin=True)


async def works(*, count: int = 1) -> list[int]:
    """The processes, once so many compute."""
    await until_true(lambda: len(busy()) >= count, seconds=30)
    return busy()


def busy() -> list[int]:
    """Our children that have used half a second of a processor."""
    return [pid for pid in children_of(os.getpid()) if cpu_ticks(pid) > os.sysconf("SC_CLK_TCK") / 2]


async def test_a_process_is_used_again(children):
    assert await children.run(document())
    first = children_of(os.getpid())
    made = document()
    result = await children.run(made)
    assert children_of(os.getpid()) == first
    assert result == {"pages": 1, "bytes": len(made.artifacts[0].content), "replaced": 0}
    assert made.artifacts[0].content.startswith(b"%PDF-")
    assert made.artifacts[0].content_type == "application/pdf"


async def test_a_timeout_really_ends_what_runs(children):
    outcome = await run_attempt(handler(children, timeout=1.5), document(SLOW))
    assert outcome == TimedOut(1.5)
    assert children_of(os.getpid()) == []
    assert isinstance(await run_attempt(handler(children, timeout=60), document()), Complete)


async def test_a_stop_ends_what_runs(children):
    attempt = OneAttempt(handler(children), document(SLOW))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt.run)
        await works()
        attempt.slot.interrupt(InterruptReason.LEASE_LOST)
    assert attempt.outcome == Interrupted("its worker lost its lease")
    assert children_of(os.getpid()) == []


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.05, 0.1, 0.2])
async def test_a_stop_at_any_moment_leaves_no_process(children, moment):
    with trio.move_on_after(moment):
        await children.run(document(SLOW))
    assert children_of(os.getpid()) == []


async def test_a_process_that_dies_is_a_failure_of_its_job_alone(children):
    attempt = OneAttempt(handler(children), document(SLOW))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt.run)
        [pid] = await works()
        os.kill(pid, signal.SIGKILL)
    assert isinstance(attempt.outcome, Failed)
    assert attempt.outcome.error == (
        "the process of this job was ended by SIGKILL: by a person, or by the kernel for want of memory"
    )
    assert attempt.outcome.traceback is None
    assert not attempt.outcome.permanent
    assert isinstance(await run_attempt(handler(children), document()), Complete)


async def test_a_process_that_dies_while_it_waits_is_replaced(children):
    await children.run(document())
    [pid] = children_of(os.getpid())
    os.kill(pid, signal.SIGKILL)
    await until_true(lambda: not is_alive(pid))
    assert await children.run(document())


async def test_a_stop_is_the_workers_affair(children):
    """Where everybody in a group gets the signal, what runs has its grace all the same."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(children.run, document({"title": "x", "paragraphs": ["word " * 40_000]}))
        [pid] = await works()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
    assert children_of(os.getpid()) == [pid]


async def test_a_process_has_no_secrets_and_nothing_of_ours(children, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://:secret@host")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@host/db")
    await children.run(document())
    [pid] = children_of(os.getpid())
    names = {each.partition("=")[0] for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if each}
    assert names <= {"PYTHONPATH", *module.HANDED_ON}
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/oom_score_adj").read_text("ascii").strip() == "1000"
    assert len(list(Path(f"/proc/{pid}/fd").iterdir())) <= 6, "it has the pipes, and nothing of ours"


async def test_no_more_than_a_few_run_at_once_and_the_others_wait():
    async with open_children(1) as children, trio.open_nursery() as nursery:
        nursery.start_soon(children.run, document(SLOW))
        [pid] = await works()
        with trio.move_on_after(0.3) as waits:
            await children.run(document())
        assert waits.cancelled_caught
        assert children_of(os.getpid()) == [pid]
        nursery.cancel_scope.cancel()


async def test_those_that_wait_long_are_ended(children, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    await children.run(document())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(children.end_idle)
        await until_true(lambda: children_of(os.getpid()) == [])
        assert await children.run(document())
        nursery.cancel_scope.cancel()


# --- what the machine does not give


@pytest.mark.parametrize("left", [0, 1, 3, 5])
async def test_without_descriptors_a_job_is_not_started(children, left):
    with few_descriptors(left=left):
        outcome = await run_attempt(handler(children), document())
    assert isinstance(outcome, NotStarted)
    assert outcome.lacking.startswith("a process to work in: [Errno 24] Too many open files")
    assert children_of(os.getpid()) == []
    assert isinstance(await run_attempt(handler(children), document()), Complete)


async def test_without_the_program_a_job_is_not_started(children, monkeypatch):
    monkeypatch.setattr(module, "COMMAND", ("/nonexistent/python",))
    with pytest.raises(CannotStart, match=r"a process to work in: .*No such file"):
        await children.run(document())


async def test_a_release_that_was_moved_away_is_no_failure_of_a_job(children, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_environ", lambda: {"PYTHONPATH": str(tmp_path)})
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-S", *module.COMMAND[1:]))
    with pytest.raises(CannotStart, match=r"it ended at its start \(status 1\): .*No module named 'workqueue'"):
        await children.run(document())


# --- what a process says is checked


def saying(python: str) -> tuple[str, ...]:
    """A process that is ready, reads its order and then does something else."""
    ready = messages.frame(messages.Ready())
    begin = f"import os, sys, time; say = lambda text: os.write(1, text); say({ready!r}); os.read(0, 1 << 20); "
    return (sys.executable, "-c", begin + python)


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("say(b'\\xff' * 8); time.sleep(60)", "cannot be read: it was ended (a message of 4294967295"),
        ("say(b'\\0\\0\\0\\2\\0\\0\\0\\0{}'); time.sleep(60)", "sent a message that cannot be read"),
        ("say(b'\\0\\0\\0\\2\\0\\0\\0\\0[['); time.sleep(60)", "sent a message that cannot be read"),
        (f"say({messages.frame(messages.Ready())!r}); time.sleep(60)", "sent a message that cannot be read"),
        ("say(b'\\0\\0'); sys.exit(3)", "ended by itself (status 3)"),
        ("os.kill(os.getpid(), 11)", "was ended by SIGSEGV: a fault of a library"),
    ],
)
async def test_what_is_no_answer_ends_the_process_and_fails_the_job(children, monkeypatch, python, sentence):
    monkeypatch.setattr(module, "COMMAND", saying(python))
    with pytest.raises(ChildDied) as caught:
        await children.run(document())
    assert sentence in str(caught.value)
    assert children_of(os.getpid()) == []


async def test_an_order_that_is_not_read_does_not_hold_up_a_stop(children, monkeypatch):
    monkeypatch.setattr(module, "COMMAND", saying("time.sleep(60)"))
    with trio.move_on_after(0.5):
        await children.run(document({"title": "x" * 4_000_000}))
    assert children_of(os.getpid()) == []


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"title": "x" * (messages.ORDER_BYTES_MAX + 1)}, "bytes of JSON, at most 33554432 are read"),
        ({"title": 10**5000}, "payload: "),
    ],
)
async def test_a_payload_that_cannot_be_handed_on_fails_for_good(children, payload, sentence):
    with pytest.raises(PermanentFailure, match=sentence):
        await children.run(document(payload))


async def test_a_payload_nested_deeply_fails_for_good(children):
    nested: object = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(PermanentFailure, match="payload: "):
        await children.run(document({"title": nested}))


@pytest.mark.parametrize(
    ("picked", "sentence"),
    [
        ("x" * 3_000_000, r"payload\.format: invalid enum value 'x{3000,4000}\Z"),
        ("\ud800", "payload: expected text that can be written as UTF-8"),
    ],
)
async def test_a_failure_whose_words_come_from_the_payload_is_told_in_few(children, picked, sentence):
    with pytest.raises(PermanentFailure, match=sentence):
        await children.run(job({"image": "x", "width": 1, "format": picked}, type="resize_image"))


# --- memory


async def test_memory_is_given_in_order_and_never_more_than_there_is():
    memory = Memory(10)
    order: list[int] = []
    events = {name: trio.Event() for name in (1, 2, 3, 4)}

    async def take(name: int, count: int) -> None:
        async with memory.taken(count):
            order.append(name)
            assert memory.free >= 0
            await events[name].wait()

    async with trio.open_nursery() as nursery:
        for name, count in ((1, 6), (2, 100), (3, 1), (4, 1)):  # 2 is as large as everything, and is not overtaken
            nursery.start_soon(take, name, count)
            await trio.testing.wait_all_tasks_blocked()
        assert order == [1]
        events[1].set()
        await trio.testing.wait_all_tasks_blocked()
        assert order == [1, 2]
        events[2].set()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(order) == [1, 2, 3, 4]
        events[3].set()
        events[4].set()
    assert memory.free == 10


async def test_a_wait_for_memory_that_is_given_up_takes_none():
    memory = Memory(10)
    async with memory.taken(10):
        with trio.move_on_after(0.01):
            async with memory.taken(1):
                raise AssertionError
    async with memory.taken(10):
        pass
    assert memory.free == 10


# --- the worker is gone


async def test_what_ends_a_process_with_its_worker_ends_none_before():
    """The kernel's signal comes for each use of a pipe that is asked to tell; ours is used by none."""
    payload = {"path": "x", "width": 1}

    async def some(children: Children) -> None:
        for _ in range(500):
            with pytest.raises(PermanentFailure, match="IMAGE_FOLDER set"):
                await children.run(job(payload, type="resize_image"))
        for _ in range(100):
            await children.run(job(PICTURE, type="resize_image"))

    async with open_children(4) as children, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(some, children)


async def test_a_process_dies_with_its_worker(tmp_path):
    """It computes and reads nothing: the kernel has to tell it."""
    worker = await trio.lowlevel.open_process([sys.executable, "-c", WORKER])
    try:
        await until_true(lambda: any(cpu_ticks(pid) > 50 for pid in children_of(worker.pid)), seconds=30)
        pids = children_of(worker.pid)
    finally:
        worker.kill()
        await worker.wait()
    await until_true(lambda: not any(map(is_alive, pids)), seconds=30)


WORKER = """
import trio
from workqueue.services.worker.handlers.children import open_children
from tests.worker.handlers.support import job

async def main():
    async with open_children(2) as children:
        await children.run(job({"title": "x", "paragraphs": ["word " * 200_000]}, type="generate_pdf"))

trio.run(main)
"""
