"""Which of the claimed tasks may run: permits, lost answers, and a Redis that has forgotten the limits."""

from functools import partial
from typing import Any
from uuid import uuid4

import trio

from tests.support.steps import make_claim
from tests.support.wait import until
from workqueue.core.limits import Limit, Limits
from workqueue.core.options import JobOptions
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import Permit
from workqueue.core.steps.limits import KeepLimits, Limiting, LookAtLimits, SweepPermits
from workqueue.core.steps.submit import SubmitTasks
from workqueue.core.wire import Submission

ONE = Limit(running=1)


async def submit(queue: Queue, *kinds: tuple[str, str | None]) -> list[Any]:
    """Jobs of (type, group), Redis only."""
    submissions = [Submission(kind, b"{}", JobOptions(group=group)) for kind, group in kinds]
    return list(await SubmitTasks(queue).run_batch(submissions))


async def push(queue: Queue, *kinds: tuple[str, str | None]) -> None:
    """As another program does: into the list, whatever the group."""
    for kind, group in kinds:
        group_ = "" if group is None else f',"group":"{group}"'
        await queue.push([f'{{"type":"{kind}","job_id":"{uuid4()}"{group_}}}'.encode()])


async def has_permits(queue: Queue, wanted: dict[str, int]) -> bool:
    return await queue.permits() == wanted


async def test_jobs_of_a_limited_type_get_permits_as_long_as_there_are_any(queue, lease):
    await queue.set_limits(Limits(1, {"type:x": Limit(running=2)}))
    await submit(queue, *[("x", None)] * 4, ("y", None))
    claim = make_claim(queue, None)
    claimed = await claim.run_once(lease, 10)
    assert [each.task.type for each in claimed] == ["x", "x", "y"]
    assert [each.permit for each in claimed] == [Permit.TYPE, Permit.TYPE, Permit.NONE]
    assert await queue.permits() == {"type:x": 2}
    assert await queue.numbers(lease.id) == {each.number for each in claimed}


async def test_a_foreign_task_with_a_group_counts_for_it(queue, lease):
    await queue.set_limits(Limits(1, {"group:a": ONE}))
    await push(queue, ("x", "a"), ("x", "a"), ("x", "b"))
    claimed = await make_claim(queue, None).run_once(lease, 10)
    assert [each.task.options.group for each in claimed] == ["a", "b"]
    assert await queue.permits() == {"group:a": 1, "group:b": 1}
    assert await queue.lanes() == ["default:1:a"]


async def test_a_claim_whose_admission_was_not_answered_is_repeated_and_counts_once(
    queue, far_queue, redis_proxy, lease
):
    await queue.set_limits(Limits(1, {"type:x": ONE}))
    await submit(queue, *[("x", None)] * 3)
    claimed: list[Any] = []
    asked = trio.Event()

    async def claim() -> None:
        claimed.extend(await make_claim(far_queue, None).run_once(lease, 10))

    async def swallow_the_first_answer(*arguments: Any) -> Any:
        if not asked.is_set():
            redis_proxy.swallow_replies()
            asked.set()
        return await admit(*arguments)

    admit, far_queue.admit = far_queue.admit, swallow_the_first_answer
    async with trio.open_nursery() as worker:
        worker.start_soon(claim)
        await asked.wait()
        await redis_proxy.replies_swallowed.wait()
        assert await has_permits(queue, {"type:x": 1})
        redis_proxy.heal()
    assert len(claimed) == 1
    assert await queue.permits() == {"type:x": 1}
    assert await queue.numbers(lease.id) == {claimed[0].number}
    assert (await queue.depths()).ready == 2


async def test_a_redis_that_has_forgotten_the_limits_is_told_and_what_it_gave_goes_back(queue, lease, redis):
    limiting = Limiting(queue)
    limiting.learn(Limits(5, {"group:a": ONE, "type:x": ONE}))
    await submit(queue, ("x", "a"), ("x", "a"), ("x", None), ("y", None))
    claim = make_claim(queue, None, limiting=limiting)
    assert await queue.limits_version() == 0
    claimed = await claim.run_once(lease, 10)
    assert [(each.task.type, each.task.options.group) for each in claimed] == [("x", None), ("y", None)]
    assert await queue.limits_version() == 5
    assert await queue.permits() == {"type:x": 1}
    assert await make_claim(queue, None).run_once(lease, 10) == [], "x has no room for those of the group"


async def test_what_runs_already_when_its_type_is_limited_is_counted(queue, lease):
    limiting = Limiting(queue)
    await submit(queue, ("x", None), ("x", "a"), ("y", None))
    claim = make_claim(queue, None, limiting=limiting)
    claimed = await claim.run_once(lease, 10)
    lease.add(claimed)
    limiting.learn(Limits(1, {"type:x": ONE}))
    keep = KeepLimits(queue, limiting, lambda: list(lease.tasks.values()))
    await keep.run_once()
    assert await queue.limits_version() == 1, "and Redis has them"
    assert await queue.permits() == {"type:x": 2, "group:a": 1}
    await keep.run_once()
    assert await queue.permits() == {"type:x": 2, "group:a": 1}
    await submit(queue, ("x", None))
    assert await claim.run_once(lease, 10) == []
    await queue.ack(lease.id, [each.number for each in claimed])
    assert await queue.permits() == {}
    assert len(await claim.run_once(lease, 10)) == 1


async def test_limits_are_learned_from_postgres_and_a_database_that_was_set_back_is_outrun(queue, store, psql):
    limiting = Limiting(queue)
    look = LookAtLimits(queue, store.limits, limiting)
    await look.run_once()
    assert limiting.known.version == 0
    await store.limits.put(queue.name, "type:x", ONE)
    await look.run_once()
    assert limiting.known == Limits(1, {"type:x": ONE})
    await psql("DELETE FROM limits")
    await look.run_once()
    assert limiting.known.version == 2
    assert limiting.known.effective == {}
    await queue.set_limits(Limits(9, {"type:z": ONE}))
    await look.run_once()
    assert limiting.known.version == 10


async def test_the_code_declares_and_takes_back(queue, store):
    limiting = Limiting(queue)
    look = LookAtLimits(queue, store.limits, limiting)
    await look.declare({"type:x": ONE}, ["x", "y"])
    assert limiting.known.effective == {"type:x": ONE}
    await look.declare({}, ["x", "y"])
    assert limiting.known.effective == {}


async def test_limits_of_a_database_that_is_no_more_are_outrun_at_the_start(queue, store):
    await queue.set_limits(Limits(9, {"type:x": ONE}))
    limiting = Limiting(queue)
    await LookAtLimits(queue, store.limits, limiting).declare({}, ["x"])
    assert limiting.known == Limits(10)
    await KeepLimits(queue, limiting, list).run_once()
    assert await queue.limits_version() == 10


async def test_permits_of_a_worker_that_is_no_more_are_released(queue, lease, redis):
    await queue.set_limits(Limits(1, {"group:a": ONE}))
    await submit(queue, ("x", "a"), ("x", "a"))
    await make_claim(queue, None).run_once(lease, 10)
    await redis("DEL", queue.keys.flight(lease.id), queue.keys.leases)
    await SweepPermits(queue).run_once()
    await until(partial(has_permits, queue, {}))
