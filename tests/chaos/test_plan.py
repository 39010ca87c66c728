"""The plan of faults."""

from itertools import islice

from workqueue.services.chaos.load import task
from workqueue.services.chaos.plan import LINK_FAULTS, REDIS_FAULTS, WORKER_FAULTS, plan

KINDS = [WORKER_FAULTS, LINK_FAULTS, REDIS_FAULTS]


def test_a_seed_gives_the_same_faults_again_and_another_one_others():
    faults = list(islice(plan(3, KINDS), 200))
    assert faults == list(islice(plan(3, KINDS), 200))
    assert faults != list(islice(plan(4, KINDS), 200))
    assert {fault.kind for fault in faults} == {kind for kinds in KINDS for kind in kinds}
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert task(3, 7) == task(3, 7)
