"""What a claim drops, or moves to the dead letters."""

from workqueue.core.steps.dead_letters import Discards
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.until_answered import UntilAnswered


async def test_what_a_claim_does_not_run_leaves_the_flight_and_is_counted(queue, lease, redis, caplog):
    await queue.push([b"1", b"2", b"3"])
    await queue.claim(lease.id, start=1, count=3)
    discards = Discards(queue, UntilAnswered(), Dropped())
    await discards.ack(lease.id, [])
    await discards.bury(lease.id, [])
    await discards.ack(lease.id, [1, 2])
    await discards.bury(lease.id, [(3, b"entry")])
    assert (discards.counts.duplicates, discards.counts.invalid) == (2, 1)
    assert await queue.numbers(lease.id) == set()
    assert await redis.list(queue.keys.dead) == [b"entry"]
    assert "entry" in caplog.text
