"""What the worker registers, and runs as the worker runs it."""

from collections.abc import AsyncIterator

import pytest
import trio

from tests.support.attempts import run_attempt
from tests.worker.handlers.support import job
from workqueue.core.bridge import Bridge
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.outcome import Complete, Failed, Outcome
from workqueue.core.settings import load_settings
from workqueue.services.worker.handlers.builtin import TIMEOUT_SECONDS, builtin_handlers
from workqueue.services.worker.handlers.children import Children, open_children


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    async with open_children(2) as children:
        yield children


@pytest.fixture
def registry(bridge: Bridge, children: Children) -> Registry:
    registry = Registry()
    builtin_handlers(load_settings({}), bridge, children, registry)
    return registry


async def run(registry: Registry, job_type: str, payload: dict[str, object]) -> Outcome:
    handler = registry.get(job_type)
    assert handler is not None
    return await run_attempt(handler, job(payload, type=job_type))


async def test_three_types_are_built_in(registry):
    assert registry.types == ["generate_pdf", "resize_image", "send_email"]
    for job_type in registry.types:
        handler = registry.get(job_type)
        assert handler.is_async  # so that its timeout really ends it: a thread cannot be stopped
        assert handler.timeout_seconds == TIMEOUT_SECONDS == 60


async def test_a_type_that_a_user_has_registered_stays_the_users(bridge, children):
    registry = Registry()

    @registry.handler("send_email", timeout=5)
    async def mine(job: Job) -> object:
        return job.id

    builtin_handlers(load_settings({}), bridge, children, registry)
    handler = registry.get("send_email")
    assert handler is not None
    assert handler.function is mine
    assert handler.timeout_seconds == 5


@pytest.mark.parametrize(
    ("job_type", "sentence"),
    [
        ("send_email", "payload.to: missing"),
        ("resize_image", "payload.width: missing: give width, height or both"),
        ("generate_pdf", "payload.title: missing"),
    ],
)
async def test_a_payload_without_what_is_needed_is_never_retried(registry, job_type, sentence):
    outcome = await run(registry, job_type, {"unknown": 1})
    assert isinstance(outcome, Failed)
    assert outcome.error == sentence
    assert outcome.permanent


async def test_a_mail_without_a_server_is_retried(registry):
    outcome = await run(registry, "send_email", {"to": "a@b.c", "subject": "x"})
    assert isinstance(outcome, Failed)
    assert "SMTP_URL is not set" in outcome.error
    assert not outcome.permanent


async def test_the_loop_goes_on_while_a_document_is_made(registry):
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(0.005)
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        outcome = await run(registry, "generate_pdf", {"title": "x", "paragraphs": ["word " * 2000] * 5})
        nursery.cancel_scope.cancel()
    assert isinstance(outcome, Complete)
    [artifact] = outcome.artifacts
    assert artifact.content.startswith(b"%PDF-")
    assert ticks >= 5
