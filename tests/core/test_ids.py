"""Ids of new jobs."""

import time
from uuid import uuid4

from workqueue.core.ids import made_at, new_ids


def test_ids_are_new_and_sort_in_the_order_of_their_making():
    before = time.time_ns() // 1_000_000
    ids = new_ids(5000) + new_ids(1)
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 5001
    assert ids == sorted(ids)
    assert {(job_id.version, job_id.variant) for job_id in ids} == {(7, "specified in RFC 4122")}
    assert before <= ids[0].int >> 80 <= ids[-1].int >> 80 <= after + 1
    assert new_ids(0) == []


def test_an_id_tells_when_it_was_made_and_one_of_another_version_does_not():
    before = time.time_ns() // 1_000_000 / 1000
    made = made_at(*new_ids(1))
    assert made is not None
    assert before <= made <= time.time() + 0.001
    assert made_at(uuid4()) is None
