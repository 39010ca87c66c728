"""A short chaos run of whole processes: it asks for the verdict, and for nothing that a slow machine could not give.

`make chaos SEED=1 SECONDS=600 JOBS=200000` is the long one.
"""

import os

import pytest

from workqueue.core.settings import load_settings
from workqueue.services.chaos.report import complaints, summary
from workqueue.services.chaos.run import Options, run

SEED = int(os.environ.get("CHAOS_SEED", "1"))


@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize(("postgres", "seconds"), [(True, 30), (False, 12)], ids=["postgres", "redis only"])
async def test_no_job_is_lost_or_runs_twice_without_need(postgres, seconds):
    options = Options(
        seed=SEED, seconds=seconds, jobs=50 * seconds, workers=2, embedded=True, postgres=postgres, concurrency=10
    )
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    # Of services that a person runs beside it: those of the run have no tokens.
    environ |= {"API_TOKENS": "ops:operate:the-secret-of-ops", "METRICS_TOKEN": "the-secret-of-metrics"}
    outcome = await run(options, load_settings({}), environ, print)
    for name, value in summary(outcome):
        print(f"{name:<28}{value:>12}")
    assert list(complaints(outcome)) == []
    assert outcome.verdict.is_good
    assert outcome.verdict.runs > outcome.accepted > 0
