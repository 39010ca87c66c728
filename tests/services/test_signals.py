"""The signals that end a process, once and twice."""

import os
import signal

import pytest
import trio

from workqueue.services.signals import Stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_the_first_signal_stops_and_the_second_stops_at_once(nursery, number, caplog):
    caplog.set_level("INFO")
    stop = Stop()
    await nursery.start(stop.listen)
    os.kill(os.getpid(), number)
    with trio.fail_after(10):
        await stop.first.wait()
    assert not stop.second.is_set()
    os.kill(os.getpid(), signal.SIGTERM)
    with trio.fail_after(10):
        await stop.second.wait()
    assert caplog.messages == [
        f"{signal.Signals(number).name}: stopping; send it again to skip the grace",
        "SIGTERM again: no more grace",
    ]
    nursery.cancel_scope.cancel()


async def test_a_hangup_that_nohup_ignores_stays_ignored(nursery):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        await nursery.start(stop.listen)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        with trio.fail_after(10):
            await stop.first.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert not stop.second.is_set(), "it would be the second one"
        nursery.cancel_scope.cancel()
    finally:
        signal.signal(signal.SIGHUP, before)
