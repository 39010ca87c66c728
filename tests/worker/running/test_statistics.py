"""What a worker tells the stored statistics."""

from collections import Counter
from uuid import UUID

from uuid_utils.compat import uuid7

from workqueue.core.counters import Counters
from workqueue.core.job import RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Fail, Retry
from workqueue.core.stats import GROUPS_MAX, OTHER_ERRORS, OTHER_TYPES, FailureSums, Sums, TypeSums
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.wire import Task
from workqueue.services.worker.metrics import STRANGE_TYPES_MAX, Counts
from workqueue.services.worker.running.statistics import SAMPLE_MAX, Statistics

FIRST = Counters(0, 0, 0)


def claimed(job_type: str = "x", job_id: UUID | None = None, counters: Counters = FIRST) -> ClaimedTask:
    job_id = job_id or uuid7()
    task = Task(job_type, b"{}", JobOptions(), counters, job_id)
    return ClaimedTask.of(Lease(), 1, task, job_id, 0.0)


async def test_what_has_grown_since_the_last_time_is_taken():
    counts = Counts()
    statistics = Statistics(counts, Counter({"pushed": 2}))
    counts.of("x").done = 3
    counts.of("x").ran(0.02)
    counts.of("idle")
    taken = statistics.take().types
    assert (taken["x"].done, sum(taken["x"].runs), taken["x"].runs[3]) == (3, 1, 1)
    assert taken["pushed"] == TypeSums(enqueued=2)
    assert "idle" not in taken
    counts.of("x").failed = 1
    assert statistics.take().types == {"x": TypeSums(failed=1)}
    assert statistics.take() == Sums()


async def test_waits_of_first_runs_are_sampled():
    statistics = Statistics(Counts(), Counter())
    old = UUID(int=(uuid7().int >> 80) - 20_000 << 80 | 7 << 76 | 2 << 62)
    statistics.claimed([claimed(job_id=old)])
    statistics.claimed([claimed(counters=Counters(1, 0, 0)), claimed(job_id=UUID(int=5))])
    waits = statistics.take().types["x"].waits
    assert (sum(waits), waits[9]) == (1, 1), "10 to 60 s"
    statistics.claimed([claimed() for _ in range(1000)])
    assert SAMPLE_MAX <= sum(statistics.take().types["x"].waits) < 2 * SAMPLE_MAX


async def test_failures_that_are_alike_are_one_group_and_groups_are_bounded():
    statistics = Statistics(Counts(), Counter())
    one, two = claimed(), claimed()
    statistics.failed(one, Retry("E: 1", RunOutcome.FAILED))
    statistics.failed(two, Fail("E: 2", RunOutcome.FAILED))
    assert statistics.take().failures == {("x", "E: <n>"): FailureSums(1, 1, two.job_id)}
    letters = [chr(97 + a) + chr(97 + b) for a in range(26) for b in range(26)]
    for word in letters[: GROUPS_MAX + 30]:
        statistics.failed(one, Fail(f"E: {word}", RunOutcome.FAILED))
    failures = statistics.take().failures
    assert failures["x", OTHER_ERRORS].failed == 30
    assert len(failures) == GROUPS_MAX + 1


async def test_types_without_a_handler_share_a_name():
    counts = Counts(lambda job_type: job_type == "known")
    statistics = Statistics(counts, Counter())
    for number in range(STRANGE_TYPES_MAX + 5):
        statistics.failed(claimed(f"strange {number}"), Fail("E", RunOutcome.FAILED))
    names = {name for name, _ in statistics.take().failures}
    assert OTHER_TYPES in names
    assert len(names) == STRANGE_TYPES_MAX + 1
