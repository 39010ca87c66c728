"""What the audit keeps of an act: enough to know it again, and never much."""

import json
from uuid import UUID, uuid4

from workqueue.core.audit import (
    IDS_MAX,
    action_target,
    all_target,
    filter_target,
    ids_target,
    limit_target,
    type_target,
    worker_target,
)
from workqueue.core.job_filter import IDS_MAX as FILTER_IDS_MAX
from workqueue.core.job_filter import JobFilter, StatusFilter
from workqueue.core.limits import Limit


def test_ids_are_bounded_and_counted():
    ids = [uuid4() for _ in range(IDS_MAX + 7)]
    assert json.loads(ids_target(ids[:2])) == {"ids": [str(each) for each in ids[:2]]}
    assert json.loads(ids_target(ids)) == {"ids": [str(each) for each in ids[:IDS_MAX]], "more": 7}


def test_a_filter_is_kept_as_far_as_it_was_given():
    one = UUID(int=1)
    wanted = JobFilter(status=StatusFilter.FAILED, error="Timeout")
    assert json.loads(filter_target(one, wanted)) == {
        "action": str(one), "filter": {"status": "failed", "error": "Timeout"},
    }  # fmt: skip
    assert json.loads(filter_target(one, JobFilter())) == {"action": str(one), "filter": {}}
    ids = tuple(uuid4() for _ in range(FILTER_IDS_MAX))
    kept = json.loads(filter_target(one, JobFilter(ids=ids)))["filter"]
    assert (len(kept["ids"]), kept["more_ids"]) == (IDS_MAX, FILTER_IDS_MAX - IDS_MAX)


def test_the_others():
    assert json.loads(all_target()) == {"all": True}
    assert json.loads(type_target("a/b")) == {"type": "a/b"}
    assert json.loads(limit_target("groups")) == {"scope": "groups"}
    limit = {"running": 2, "rate": 5, "per_seconds": 60.0}
    assert json.loads(limit_target("type:a/b", Limit(2, 5, 60.0))) == {"scope": "type:a/b", "limit": limit}
    assert json.loads(worker_target(UUID(int=2), "x" * 300)) == {"worker": str(UUID(int=2)), "name": "x" * 200}
    assert json.loads(action_target(UUID(int=2))) == {"action": str(UUID(int=2))}
