"""The clients of a chaos run: what they send, and what they note of each answer."""

from functools import partial

import pytest
import trio

from tests.chaos.test_client import serve
from workqueue.services.chaos.load import FOREIGN_FIRST, Load, task

OK = b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}"


def test_a_seed_gives_the_same_jobs_again_and_another_one_others():
    assert [task(3, n) for n in range(50)] == [task(3, n) for n in range(50)]
    assert [task(3, n) for n in range(50)] != [task(4, n) for n in range(50)]


async def test_each_job_is_accepted_once_and_what_was_refused_is_made_up_for(nursery):
    port = await serve(nursery, OK)
    load = Load({"a": port}, jobs=30, seconds=0.3, seed=1)
    with trio.fail_after(30):
        await load.run()
    accepted = [told for told in load.told.values() if told.answer == "accepted"]
    assert load.accepted == len(accepted) >= 30
    assert {told.producer for told in accepted} == {"a"}
    assert all(n < FOREIGN_FIRST for n in load.told)


@pytest.mark.parametrize(
    ("answer", "noted"),
    [(b"failed to enqueue task", "failed to enqueue task"), (b"failed to persist job", "failed to persist job")],
)
async def test_an_answer_other_than_accepted_is_noted_as_it_was(nursery, answer, noted):
    refusal = b"HTTP/1.1 500 \r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer)
    load = Load({"a": await serve(nursery, refusal)}, jobs=5, seconds=0.01, seed=1)
    with trio.move_on_after(60) as patience:
        nursery.start_soon(partial(_stop_when, load, noted, patience))
        await load.run()
    assert load.accepted == 0
    assert noted in {told.answer for told in load.told.values()}
    nursery.cancel_scope.cancel()


async def _stop_when(load: Load, noted: str, running: trio.CancelScope) -> None:
    while noted not in {told.answer for told in load.told.values()}:
        await trio.sleep(0.01)
    running.cancel()
