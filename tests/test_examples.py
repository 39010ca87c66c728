"""The examples run as they are."""

import msgspec
import pytest

from examples import handlers
from tests.support.attempts import run_attempt
from workqueue.core.errors import PermanentFailure
from workqueue.core.handlers import registry
from workqueue.core.job import Job, Standalone
from workqueue.core.outcome import Complete, Failed


async def run(job_type: str, payload: dict[str, object], *, attempt: int = 1, retries: int = 0) -> object:
    found = registry.get(job_type)
    assert found is not None
    job = Job(
        id="1",
        type=job_type,
        payload=payload,
        attempt=attempt,
        retries=retries,
        context=Standalone(keeps_artifacts=True),
    )
    return await run_attempt(found, job)


async def test_children_of_a_handler_live_inside_of_its_job():
    outcome = await run("fan_out", {"names": ["ann", "bob", "cecilia"]})
    assert isinstance(outcome, Complete)
    assert sorted(msgspec.json.decode(outcome.result)) == ["ann", "bob", "cecilia"]
    with pytest.raises(PermanentFailure):
        await handlers.fan_out(Job(id="1", type="fan_out", payload={}, attempt=1, retries=0))


async def test_a_plain_function_runs_as_well():
    outcome = await run("checksum", {"text": "hello"})
    assert isinstance(outcome, Complete)
    assert outcome.result.startswith(b'{"sha256":"2cf24dba5fb0a30e')


async def test_the_flaky_one_fails_until_its_last_attempt():
    assert isinstance(await run("flaky", {}, attempt=1, retries=1), Failed)
    assert isinstance(await run("flaky", {}, attempt=2, retries=1), Complete)
