"""Dead letters, and what a claim drops."""

import base64
import json

import pytest

from workqueue.core.steps.dead_letters import Discards, dead_letter
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.until_answered import UntilAnswered


@pytest.mark.parametrize("line", [b'{"type":1}', b"\xff\0", "\N{SNOWMAN}\n".encode(), b""])
def test_the_task_is_kept_whole_whatever_it_is(line):
    entry = json.loads(dead_letter(line, "why"))
    assert entry["reason"] == "why"
    assert entry["at"].endswith("Z")
    kept = entry["task"].encode() if "task" in entry else base64.b64decode(entry["task_base64"])
    assert kept == line


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
