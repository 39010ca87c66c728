"""The examples that newcomers copy from do what they say."""

import hashlib

import msgspec
import pytest

import examples.handlers  # noqa: F401 - importing registers, as WORKER_HANDLERS does
from tests.support.attempts import run_attempt
from tests.worker.handlers.support import job
from workqueue.core.handlers import registry
from workqueue.core.job import Job, Standalone
from workqueue.core.outcome import Complete, Failed, Outcome


async def run(job_type: str, run_of: Job) -> Outcome:
    handler = registry.get(job_type)
    assert handler is not None
    assert handler.timeout_seconds is None or handler.timeout_seconds <= 60
    return await run_attempt(handler, run_of)


async def result(job_type: str, run_of: Job) -> object:
    outcome = await run(job_type, run_of)
    assert isinstance(outcome, Complete)
    return msgspec.json.decode(outcome.result)


async def test_fan_out_starts_children_and_waits_for_them(autojump_clock):
    assert await result("fan_out", job({"names": ["a", "bcd"]})) == {"a": 1, "bcd": 3}


@pytest.mark.parametrize("payload", [{}, {"names": "a"}])
async def test_fan_out_refuses_a_wrong_payload_for_good(payload):
    outcome = await run("fan_out", job(payload))
    assert isinstance(outcome, Failed)
    assert outcome.permanent
    assert outcome.error == "payload.names: expected a list"


async def test_checksum_is_a_plain_function_in_a_thread():
    handler = registry.get("checksum")
    assert handler is not None
    assert not handler.is_async
    assert handler.timeout_seconds == 60
    assert await result("checksum", job({"text": "x"})) == {"sha256": hashlib.sha256(b"x").hexdigest()}


async def test_flaky_fails_until_its_last_run():
    first = Job(id="a", type="flaky", payload={}, attempt=1, retries=1, context=Standalone(keeps_artifacts=True))
    last = Job(id="a", type="flaky", payload={}, attempt=2, retries=1, context=Standalone(keeps_artifacts=True))
    outcome = await run("flaky", first)
    assert isinstance(outcome, Failed)
    assert not outcome.permanent
    assert await result("flaky", last) == {"runs": 2}
    assert [artifact.name for artifact in last.artifacts] == ["log.txt"]
