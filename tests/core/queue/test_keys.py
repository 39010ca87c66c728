"""Names of keys."""

from uuid import uuid4

import pytest
from redis.crc import key_slot

from tests.conftest import KNOWN_KEY
from workqueue.core.queue import Keys


@pytest.mark.parametrize("name", ["workqueue:jobs", "a", "x.y-z:1"])
def test_all_keys_of_a_queue_are_in_the_slot_of_its_ready_list(name):
    keys, lease = Keys(name), uuid4()
    assert keys.ready == name, "other programs push and pop there"
    others = [
        keys.front, keys.leases, keys.workers, keys.scheduled, keys.dead, keys.checkpoint, keys.rows, keys.unused,
        keys.idempotency(b"k"), keys.flight(lease), keys.suspect_starts(lease), keys.answer(lease), keys.asked(lease),
        keys.gone, keys.unique("k"), keys.limits, keys.group_limits, keys.lanes, keys.lane("default:1:a"), keys.grouped,
        keys.behind, keys.running, keys.holders, keys.permits(lease),
    ]  # fmt: skip
    assert len(set(others)) == len(others)
    assert {key_slot(key.encode()) for key in [name, *others]} == {key_slot(name.encode())}
    assert [key for key in others if not KNOWN_KEY.fullmatch(key)] == [keys.unused], "and no test may leave another"
