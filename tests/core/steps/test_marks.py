from uuid import uuid4

from workqueue.core.steps.lease import Held, Lease
from workqueue.core.steps.marks import ANSWER_SECONDS, KEPT_MAX, Ledger
from workqueue.core.wire import Task


def test_a_mark_goes_only_if_redis_answered_in_time():
    now = 100.0
    ledger = Ledger(clock=lambda: now)
    quick, slow = uuid4(), uuid4()
    ledger.pushed(quick, marked_at=now - ANSWER_SECONDS)
    ledger.pushed(slow, marked_at=now - ANSWER_SECONDS - 1)
    assert ledger.take().marks == [quick]
    assert ledger.take().marks == []


def test_what_is_put_back_comes_again_and_the_ledger_is_bounded():
    ledger = Ledger(clock=lambda: 0.0)
    ledger.settled(uuid4())
    taken = ledger.take()
    for _ in range(KEPT_MAX + 10):
        ledger.settled(uuid4())
    ledger.put_back(taken)
    assert len(ledger.take().claims) == KEPT_MAX


def test_a_lease_knows_when_the_last_job_of_a_claim_has_its_verdict():
    lease, token = Lease(), uuid4()
    items = [Held.of(lease, number, Task("x"), uuid4(), 0.0) for number in range(3)]
    for item in items:
        item.token = token
    lease.hold(items)
    assert lease.holds(items[0].key)
    lease.settling(items[0])
    assert not lease.holds(items[0].key), "its retry may come back at once"
    assert set(lease.held) == {0, 1, 2}, "the audit must not give it back meanwhile"
    assert [lease.drop(item) for item in items] == [None, None, token]
    assert not lease.held
