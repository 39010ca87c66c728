"""Work that a signal breaks off, with all of its clean-up."""

import os
import signal

import pytest
import trio

from workqueue.services.cli.until_signal import until_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_cancels_the_work_and_its_clean_up_is_waited_for(number):
    cleaned_up = False

    async def work() -> int:
        nonlocal cleaned_up
        try:
            os.kill(os.getpid(), number)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            cleaned_up = True

    with trio.fail_after(10):
        assert await until_signal(work) is None
    assert cleaned_up


async def test_without_a_signal_its_result_and_its_errors_come_through():
    async def work() -> int:
        return 3

    async def fail() -> int:
        raise ValueError("as asked")

    assert await until_signal(work) == 3
    with pytest.raises(ExceptionGroup) as failure:
        await until_signal(fail)
    assert failure.group_contains(ValueError, match="as asked")
