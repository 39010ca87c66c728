"""What a person does to many jobs over HTTP: ask for it, look how far it is, stop it."""

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from quart import Response, request
from uuid_utils.compat import uuid7

from workqueue.core.audit import action_target, filter_target
from workqueue.core.job_filter import ActName, JobFilter, StatusFilter
from workqueue.core.store import Action
from workqueue.services.http.responses import Refused, json
from workqueue.services.producer.audit import entry
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.openapi import INVALID_JSON
from workqueue.services.producer.views import read_job_id

SHOWN_MAX = 50
DEVIATION_MAX = 10  #: so many more or fewer jobs than expected are always allowed, and a tenth

COUNT_FAILED = "failed to count the jobs: nothing was changed"
ASK_FAILED = "failed to start the action: it is not known whether it was started"
READ_FAILED = "failed to read actions"
STOP_FAILED = "failed to stop the action: it is not known whether it was stopped"
NOT_AN_ACTION_ID = "not an action id"
ACTION_NOT_FOUND = "action not found"


class ActionRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /api/jobs/actions takes."""

    action: ActName
    filter: JobFilter
    expected: Annotated[float, Meta(ge=0, le=2**53)] | None = None  #: the number that a dry run said
    dry_run: bool = False  #: only say how many jobs match


class Matched(Struct, frozen=True):
    """How many jobs match that the action applies to."""

    matched: int


class ActionAccepted(Struct, frozen=True):
    """Workers do it."""

    id: UUID
    matched: int


class ActionView(Struct, frozen=True, kw_only=True):
    """An action, and how far it is. `failed`: jobs that had changed before their turn came."""

    id: UUID
    action: ActName
    filter: JobFilter
    matched: int
    done: int
    failed: int
    state: Literal["running", "done", "stopped"]
    created_at: datetime
    updated_at: datetime


async def ask(backend: Backend) -> Response:
    """POST /api/jobs/actions."""
    wanted = read_action(bytes(await request.data))
    actions, queue = backend.engine.rows().actions, backend.settings.queue_name
    async with backend.reading(backend.engine.rows(), COUNT_FAILED):
        matched = await actions.count(queue, wanted.action, wanted.filter)
    if wanted.dry_run:
        return json(Matched(matched))
    if wanted.expected is None:
        raise Refused(409, f"{matched} jobs match: send this number as `expected`")
    if abs(matched - wanted.expected) > max(DEVIATION_MAX, wanted.expected / 10):
        raise Refused(409, f"{matched} jobs match, and {wanted.expected:g} were expected")
    action_id = uuid7()
    async with backend.reading(backend.engine.rows(), ASK_FAILED):
        audit = entry(wanted.action, filter_target(action_id, wanted.filter))
        await actions.insert(action_id, queue, wanted.action, wanted.filter, matched, audit)
    return json(ActionAccepted(action_id, matched), 202)


async def list_actions(backend: Backend) -> Response:
    """GET /api/actions."""
    actions, queue = backend.engine.rows().actions, backend.settings.queue_name
    async with backend.reading(backend.engine.rows(), READ_FAILED):
        return json([_view(each) for each in await actions.newest(queue, limit=SHOWN_MAX)])


async def get_action(backend: Backend, action_id: str) -> Response:
    """GET /api/actions/<id>."""
    return json(_view(await _get(backend, _action_id(action_id))))


async def stop_action(backend: Backend, action_id: str) -> Response:
    """POST /api/actions/<id>/stop."""
    wanted = _action_id(action_id)
    store = backend.engine.rows()
    async with backend.reading(store, STOP_FAILED):
        await store.actions.stop(backend.settings.queue_name, wanted, entry("stop", action_target(wanted)))
    return json(_view(await _get(backend, wanted)))


def read_action(body: bytes) -> ActionRequest:
    """Raises Refused(400), which names the member and what is allowed."""
    try:
        wanted = msgspec.json.decode(body, type=ActionRequest)
    except msgspec.ValidationError as error:
        raise Refused(400, _sentence(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, INVALID_JSON) from None
    return wanted


def _sentence(message: str) -> str:
    """Of an error of msgspec: where, then what."""
    found = re.fullmatch(r"(.*?)(?: - at `\$\.?(.*)`)?", message, re.DOTALL)
    what, where = (found[1], found[2]) if found else (message, None)
    if where in (choices := {"action": ActName, "filter.status": StatusFilter}) and what.startswith("Invalid enum"):
        return f"{where}: must be one of {', '.join(choices[where])}"
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        allowed = JobFilter if where else ActionRequest
        names = ", ".join(allowed.__struct_fields__)
        return f"{where or 'body'}: {unknown[1][:50]}: unknown member; allowed are {names}"
    what = what.replace("`", "")
    return f"{where or 'body'}: {what[:1].lower()}{what[1:200]}"


def _view(action: Action) -> ActionView:
    return ActionView(**{name: getattr(action, name) for name in ActionView.__struct_fields__})


async def _get(backend: Backend, action_id: UUID) -> Action:
    store = backend.engine.rows()
    async with backend.reading(store, READ_FAILED):
        action = await store.actions.get(backend.settings.queue_name, action_id)
    if action is None:
        raise Refused(404, ACTION_NOT_FOUND)
    return action


def _action_id(text: str) -> UUID:
    wanted = read_job_id(text)
    if wanted is None:
        raise Refused(400, NOT_AN_ACTION_ID)
    return wanted
