from uuid import uuid4

import pytest

from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.piggyback import ANSWER_SECONDS, KEPT_MAX, Piggyback
from workqueue.core.wire import Task


def test_an_outbox_entry_goes_only_if_redis_answered_in_time():
    now = 100.0
    piggyback = Piggyback(clock=lambda: now)
    quick, slow = uuid4(), uuid4()
    piggyback.pushed(quick, inserted_at=now - ANSWER_SECONDS)
    piggyback.pushed(slow, inserted_at=now - ANSWER_SECONDS - 1)
    with piggyback.outbox() as batches:
        assert batches == [quick]
    with piggyback.outbox() as batches:
        assert batches == []


def test_what_a_statement_without_an_answer_carried_is_carried_again_and_bounded():
    piggyback = Piggyback(clock=lambda: 0.0)
    first = uuid4()
    piggyback.finished(first)

    def without_an_answer() -> None:
        with piggyback.claims() as tokens:
            assert tokens == [first]
            for _ in range(KEPT_MAX + 10):
                piggyback.finished(uuid4())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        without_an_answer()
    with piggyback.claims() as tokens:
        assert len(tokens) == KEPT_MAX
        assert tokens[0] == first


def test_a_lease_knows_when_the_last_job_of_a_claim_has_its_verdict():
    lease, token = Lease(), uuid4()
    items = [ClaimedTask.of(lease, number, Task("x"), uuid4(), 0.0) for number in range(3)]
    for item in items:
        item.token = token
    lease.add(items)
    assert lease.is_claimed(items[0].key)
    lease.finishing(items[0])
    assert not lease.is_claimed(items[0].key), "its retry may come back at once"
    assert set(lease.tasks) == {0, 1, 2}, "the audit must not give it back meanwhile"
    assert [lease.drop(item) for item in items] == [None, None, token]
    assert not lease.tasks
