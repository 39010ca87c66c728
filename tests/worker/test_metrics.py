"""The numbers of a worker: as Prometheus text, of types without end, and summed over processes."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from workqueue.core.stats import BUCKETS_SECONDS
from workqueue.services.worker.metrics import (
    STRANGE_TYPES_MAX,
    Counts,
    Gauges,
    Snapshot,
    TypeCounts,
    WorkerCollector,
    collector_registry,
    total,
    wants_prometheus,
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/json, text/plain, */*", False),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
    ],
)
def test_only_a_scraper_gets_prometheus_text(accept, wanted):
    assert wants_prometheus(accept) == wanted


@pytest.mark.parametrize("accept", ["text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"])
async def test_metrics_can_be_parsed_and_have_the_sums(accept):
    counts = Counts()
    counts.of("send_email").done = 3
    for seconds in (0.0005, 0.2, 4000.0):
        counts.of("send_email").ran(seconds)
    gauges = Gauges(ready=7, scheduled=1, dead=2, running=1, buffered=0, unsettled=0, threads_left=0, copies=5,
                    invalid=1, concurrency=2)  # fmt: skip
    encode, _ = choose_encoder(accept)
    text = encode(collector_registry(WorkerCollector(Snapshot(3, 0, 0, counts.types, gauges), "q"))).decode()
    families = {f.name: f for f in (parse_openmetrics if "openmetrics" in accept else parse_text)(text)}
    samples = {
        (s.name, s.labels.get("outcome"), s.labels.get("le")): s.value for f in families.values() for s in f.samples
    }
    assert samples["workqueue_ready_tasks", None, None] == 7
    assert samples["workqueue_jobs_total", "done", None] == 3
    assert samples["workqueue_duplicate_tasks_total", None, None] == 5
    assert samples["workqueue_job_seconds_bucket", None, "0.001"] == 1
    assert samples["workqueue_job_seconds_bucket", None, "+Inf"] == 3
    assert samples["workqueue_job_seconds_count", None, None] == 3


async def test_types_without_a_handler_share_bounded_room_and_hide_none_that_has_one():
    registered = {f"registered {number}" for number in range(700)}

    def one_worker(begin: int) -> Snapshot:
        counts = Counts(registered.__contains__)
        for number in range(begin, begin + 2000):
            counts.of(f"{number}" + "x" * 190).failed += 1
        for name in registered:
            counts.of(name).done += 1
            counts.of(name).ran(0.1)
        assert len(counts.types) == 700 + STRANGE_TYPES_MAX + 1
        gauges = Gauges(ready=0, scheduled=0, dead=0, running=0, buffered=0, unsettled=0, threads_left=0, copies=0,
                        invalid=0, concurrency=2)  # fmt: skip
        return Snapshot(700, 2000, 0, counts.types, gauges)

    sums = total([one_worker(begin) for begin in range(0, 128_000, 2000)])  # of 64 processes
    assert {name: sums.types[name].done for name in registered} == dict.fromkeys(registered, 64)
    strange = {name: counts.failed for name, counts in sums.types.items() if name not in registered}
    assert len(strange) == STRANGE_TYPES_MAX + 1
    assert sum(strange.values()) == 128_000
    sums.types.clear()
    sums.types.update({name: TypeCounts(failed=count, strange=True) for name, count in strange.items()})
    shown = generate_latest(collector_registry(WorkerCollector(sums, "q")))
    assert len(shown) < 30_000


def test_the_counts_of_several_processes_are_summed():
    one = TypeCounts(1, 2, 3, 4.0, [1] * (len(BUCKETS_SECONDS) + 1))
    gauges = Gauges(*[1] * len(Gauges.__struct_fields__))
    both = total([Snapshot(1, 2, 3, {"x": one}, gauges)] * 2)
    assert (both.done, both.failed, both.given_back) == (2, 4, 6)
    assert both.types["x"] == TypeCounts(2, 4, 6, 8.0, [2] * (len(BUCKETS_SECONDS) + 1))


def test_sums_are_those_of_all_processes_and_what_is_shared_is_not_summed():
    one = Snapshot(3, 1, 0, {"x": TypeCounts(done=3, seconds=1.5)}, Gauges(*[1] * len(Gauges.__struct_fields__)))
    two = Snapshot(
        4,
        0,
        2,
        {"x": TypeCounts(done=1, seconds=0.5), "y": TypeCounts(done=3)},
        Gauges(*[1] * len(Gauges.__struct_fields__)),
    )
    both = total([one, two])
    assert (both.done, both.failed, both.given_back) == (7, 1, 2)
    assert (both.types["x"].done, both.types["x"].seconds, both.types["y"].done) == (4, 2.0, 3)
    assert (both.gauges.ready, both.gauges.concurrency, both.gauges.running) == (1, 2, 2)
