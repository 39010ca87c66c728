"""How many jobs a worker claims ahead."""

import pytest
import trio
from trio.testing import MockClock

from workqueue.services.worker.prefetch import Prefetch


async def test_prefetch_follows_from_how_long_jobs_take(autojump_clock: MockClock):
    prefetch, finished = Prefetch(), 0
    for _ in range(20):  # 10,000 a second
        await trio.sleep(0.1)
        finished += 1000
        ahead = prefetch.target(finished)
    assert 500 <= ahead <= 1000
    for _ in range(20):  # one in two seconds
        await trio.sleep(2)
        finished += 1
        ahead = prefetch.target(finished)
    assert ahead == 0
    prefetch.reset(finished)
    assert prefetch.target(finished) == 0


async def test_prefetch_covers_two_claims_where_they_take_long(autojump_clock: MockClock):
    """Or a worker far from its servers waits, finishes less for it, claims less ahead for that, and waits for more."""
    prefetch, finished = Prefetch(), 0
    for _ in range(30):
        await trio.sleep(0.15)
        prefetch.claimed(0.15)
        finished += 300
        ahead = prefetch.target(finished)
    assert 500 <= ahead <= 600, "2,000 a second, for 0.3 s"
    assert prefetch.stale_seconds > 0.3, "what was claimed for so long is not given back before"
    prefetch.claimed(60)  # an outage
    assert prefetch.target(finished) <= 2000, "a second at most"
    for _ in range(60):
        prefetch.claimed(0.005)
    assert prefetch.target(finished) == pytest.approx(200, abs=1)
    assert prefetch.stale_seconds == 0.2
