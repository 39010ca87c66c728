"""What a worker holds under a lease, and what it knows of it."""

from uuid import UUID, uuid4

from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.wire import Task


def claimed(lease: Lease, number: int, job_id: UUID, token: UUID | None = None) -> ClaimedTask:
    item = ClaimedTask.of(lease, number, Task("x"), job_id, 0.0)
    item.token = token
    return item


def test_a_task_is_known_by_its_job_until_its_outcome_is_sent_and_by_its_number_until_its_ack():
    lease = Lease()
    item = claimed(lease, 1, uuid4())
    lease.add([item])
    assert lease.is_claimed(item.key)
    lease.finishing(item)
    assert not lease.is_claimed(item.key), "a retry may come back at once"
    assert lease.tasks == {1: item}
    lease.drop(item)
    assert lease.tasks == {}


def test_the_task_of_the_new_run_stays_known_when_the_old_run_is_dropped():
    lease, job_id = Lease(), uuid4()
    old, new = claimed(lease, 1, job_id), claimed(lease, 2, job_id)
    lease.add([old])
    lease.finishing(old)
    lease.add([new])
    lease.drop(old)
    assert lease.is_claimed(new.key)
    lease.drop(new)
    assert not lease.is_claimed(new.key), "it went back without an outcome"


def test_an_old_run_that_ends_beside_the_new_one_does_not_hide_it():
    lease, job_id = Lease(), uuid4()
    old, new = claimed(lease, 1, job_id), claimed(lease, 2, job_id)
    lease.add([old])
    lease.add([new])
    lease.finishing(old)
    assert lease.is_claimed(new.key)


def test_a_claim_is_settled_with_the_last_of_its_jobs():
    lease, first, second = Lease(), uuid4(), uuid4()
    items = [claimed(lease, number, uuid4(), token) for number, token in enumerate([first, first, second, None])]
    lease.add(items)
    assert lease.pairs() == {(item.token, item.job_id) for item in items}
    assert [lease.drop(item) for item in items] == [None, first, second, None]
