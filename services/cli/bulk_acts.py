"""`workqueue cancel`, `retry`, `run-now` and `delete` with a filter instead of ids, and `workqueue actions`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
import msgspec
import trio
from msgspec import Struct

from workqueue.services.cli.access import for_producer_async
from workqueue.services.cli.producer import ANSWER_SECONDS, NoAnswer, no_answer
from workqueue.services.cli.progress import Progress

COUNT_SECONDS = 60.0  #: of a dry run, which may look at every row that there is
LOOK_SECONDS = 0.5  #: between two looks how far it is
AWAY_SECONDS = 60.0  #: for so long a producer may be away meanwhile


class ActionSeen(Struct, frozen=True):
    """An action as the producer shows it, as far as it counts here."""

    id: str
    action: str
    filter: dict[str, Any]
    matched: int
    done: int
    failed: int
    state: str
    created_at: datetime


async def count_matching(url: str, act: str, wanted: dict[str, str]) -> int:
    """How many jobs match that `act` applies to. Raises NoAnswer."""
    body = {"action": act, "filter": wanted, "dry_run": True}
    async with _client(url, COUNT_SECONDS) as client:
        return int(_checked(await client.post("/api/jobs/actions", json=body), 200)["matched"])


async def start_action(url: str, act: str, wanted: dict[str, str], expected: int) -> str:
    """Ask the workers to do it; the id of the action. Raises NoAnswer. Cancelled: it may be started."""
    body = {"action": act, "filter": wanted, "expected": expected}
    async with _client(url, COUNT_SECONDS) as client:
        return str(_checked(await client.post("/api/jobs/actions", json=body), 202)["id"])


async def follow_action(url: str, action_id: str, progress: Progress) -> ActionSeen:
    """Wait for its end. Raises NoAnswer. Cancelled: it goes on."""
    answered = trio.current_time()
    while True:
        try:
            async with _client(url) as client:
                action = await _get(client, f"/api/actions/{action_id}")
        except NoAnswer:
            if trio.current_time() - answered > AWAY_SECONDS:
                raise
            await trio.sleep(LOOK_SECONDS)
            continue
        answered = trio.current_time()
        if action.state != "running":
            return action
        progress(f"{action.done} of {action.matched} jobs")
        await trio.sleep(LOOK_SECONDS)


async def list_actions(url: str) -> list[ActionSeen]:
    """The newest ones. Raises NoAnswer."""
    async with _client(url) as client:
        answer = await client.get("/api/actions")
        _checked(answer, 200)
        return msgspec.json.decode(answer.content, type=list[ActionSeen])


async def stop_action(url: str, action_id: str) -> ActionSeen:
    """Stop it where it is. Raises NoAnswer."""
    async with _client(url) as client:
        answer = await client.post(f"/api/actions/{action_id}/stop", json={})
        _checked(answer, 200)
        return msgspec.json.decode(answer.content, type=ActionSeen)


@asynccontextmanager
async def _client(url: str, seconds: float = ANSWER_SECONDS) -> AsyncIterator[httpx.AsyncClient]:
    """Its errors are NoAnswer and NotAllowed."""
    try:
        async with httpx.AsyncClient(
            base_url=url.rstrip("/"), timeout=seconds, trust_env=False, **for_producer_async()
        ) as client:
            yield client
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoAnswer(no_answer(url, error)) from error


async def _get(client: httpx.AsyncClient, path: str) -> ActionSeen:
    answer = await client.get(path)
    _checked(answer, 200)
    return msgspec.json.decode(answer.content, type=ActionSeen)


def _checked(answer: httpx.Response, status: int) -> Any:
    """The JSON. Raises NoAnswer with the producer's sentence."""
    if answer.status_code != status:
        raise NoAnswer(f"{answer.text.strip()[:300]} ({answer.status_code})")
    return answer.json()
