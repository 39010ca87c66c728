"""What the first release wrote lies about in queues, and what a later one writes may come by: both are understood."""

import json
from pathlib import Path
from uuid import uuid4

import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows
from tests.support.steps import Steps, make_recover
from workqueue.core.job import RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Complete, Retry
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.settle import Ending
from workqueue.core.wire import Submission

#: Tasks, what workers publish, keys. Frozen: change it only together with PROTOCOL.
FROZEN = json.loads(Path(__file__).with_name("protocol_2.json").read_text("utf-8"))


async def test_tasks_of_the_first_release_are_understood(queue, store, psql, steps, lease):
    tasks = [json.dumps(task).encode() for task in FROZEN["tasks"]]
    await queue.push(tasks)
    held = await steps.claim.run_once(lease, 100)
    assert [(item.task.type, item.counters.attempts, item.counters.recoveries) for item in held] == [
        (task["type"], task.get("attempts") or 0, task.get("recoveries") or 0) for task in FROZEN["tasks"]
    ]
    assert (await queue.depths()).dead == 0
    await check_rows(queue, psql)


async def test_the_first_release_understands_the_tasks_of_this_one(redis, queue, steps):
    """Every field that it knew is there, in the form that it knew; what it did not know, it keeps."""
    await steps.submit.run_batch([Submission("x", b'{"a":1}', JobOptions(3))])
    [line] = await redis.list(queue.keys.ready)
    task = json.loads(line)
    for name, kind in FROZEN["fields"].items():
        if name in task:
            assert type(task[name]).__name__ == kind, name
    assert {"type", "payload", "retries", "attempts", "job_id"} <= set(task)


async def test_keys_are_where_the_first_release_looks_for_them(queue):
    lease = uuid4()
    now = {name: value(lease) if callable(value := getattr(queue.keys, name)) else value for name in FROZEN["keys"]}
    assert now == {name: form.format(queue=queue.name, lease=lease) for name, form in FROZEN["keys"].items()}, (
        "moved: an old worker and a new one would not find each other's tasks. Raise PROTOCOL"
    )


async def test_fields_of_a_later_release_survive_everything(redis, queue, store, psql, registered_lease):
    """A retry, a death, a loss of the flight, the relay: what we do not know comes along each time."""
    steps = Steps(queue, store)

    fields = b'"deadline":"2030-01-01","trace":{"id":[1,2.50]}'
    await queue.push([b'{"type":"x","job_id":"%b","retries":5,%b}' % (str(uuid7()).encode(), fields)])
    first, second, third = registered_lease(), registered_lease(), registered_lease()
    [held] = await steps.claim.run_once(first, 1)
    await steps.settle.run_batch([Ending(held, Retry("E", RunOutcome.FAILED), 0.1)])
    [held] = await claimed(steps, queue, second)
    assert held.task.extra == fields
    await redis("DEL", queue.keys.flight(second.id))
    await queue.fence(second.id, (await queue.lease_scores())[second.id])
    await make_recover(queue, store, max_recoveries=3).run_once(second.id)
    await psql("UPDATE outbox SET at = 'epoch'")
    await OutboxRelay(queue, store).run_once()
    [held] = await claimed(steps, queue, third)
    assert held.task.extra == fields
    assert (held.counters.attempts, held.counters.recoveries) == (1, 1)
    await steps.settle.run_batch([Ending(held, Complete(b"1"), 0.1)])


async def claimed(steps: Steps, queue, lease):
    with trio.fail_after(5):
        while True:
            await queue.promote()
            if held := await steps.claim.run_once(lease, 1):
                return held
            await trio.sleep(0.01)
