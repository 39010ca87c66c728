"""Dead letters over HTTP: the list, one of them whole, and what a person does with them. Without Postgres too."""

import msgspec
from quart import Response, request

from workqueue.core.audit import AuditEntry, all_target, ids_target
from workqueue.core.dead_letter import is_dead_letter_id
from workqueue.services.http.responses import Refused, json
from workqueue.services.producer.audit import entry
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.openapi import INVALID_JSON
from workqueue.services.producer.parameters import read_dead_page
from workqueue.services.producer.views import (
    DEAD_IDS_MAX,
    DeadLetterChoice,
    DeletedView,
    RetriedView,
    StaysView,
    dead_letter_view,
    write_dead_cursor,
)

NOT_A_DEAD_LETTER_ID = "not the id of a dead letter"
DEAD_LETTER_NOT_FOUND = "dead letter not found"
DEAD_LIST_FAILED = "failed to list dead letters"
DEAD_READ_FAILED = "failed to read dead letter"
DEAD_ACT_FAILED = "failed to change the dead letters: it is not known which were changed"
NO_CHOICE = f'the body must be {{"ids": [...]}} with 1 to {DEAD_IDS_MAX} ids of dead letters, or {{"all": true}}'


async def list_dead_letters(backend: Backend) -> Response:
    wanted = read_dead_page(request.args)
    async with backend.dead_letters(DEAD_LIST_FAILED) as letters:
        page = await letters.page(wanted.place, after=wanted.after, limit=wanted.limit)
        response = json([dead_letter_view(entry) for entry in page.entries])
    response.headers["X-Total-Count"] = str(page.total)
    if page.next is not None and page.entries:
        response.headers["Link"] = wanted.link(write_dead_cursor(page.next, page.entries[-1]))
    return response


async def get_dead_letter(backend: Backend, dead_id: str) -> Response:
    if not is_dead_letter_id(dead_id):
        raise Refused(400, NOT_A_DEAD_LETTER_ID)
    async with backend.dead_letters(DEAD_READ_FAILED) as letters:
        entry = await letters.find(dead_id)
        if entry is None:
            raise Refused(404, DEAD_LETTER_NOT_FOUND)
        return json(dead_letter_view(entry, whole=True))


async def retry_dead_letters(backend: Backend) -> Response:
    ids = await _choice()
    if (failure := await backend.known_failure()) is not None:  # what it pushes, workers must be able to take
        raise Refused(500, DEAD_ACT_FAILED) from failure
    async with backend.dead_letters(DEAD_ACT_FAILED) as letters, backend.engine.audit().of(_entry("retry", ids)) as act:
        done = await (letters.retry_all() if ids is None else letters.retry(ids))
        act.count = done.retried
    reasons = [StaysView(each.id, each.why) for each in done.reasons]
    return json(RetriedView(done.retried, done.kept, reasons, done.missing, done.left))


async def delete_dead_letters(backend: Backend) -> Response:
    ids = await _choice()
    async with (
        backend.dead_letters(DEAD_ACT_FAILED) as letters,
        backend.engine.audit().of(_entry("delete", ids)) as act,
    ):
        done = await (letters.delete_all() if ids is None else letters.delete(ids))
        act.count = done.deleted
    return json(DeletedView(done.deleted, done.missing, done.left))


def _entry(act: str, ids: list[str] | None) -> AuditEntry:
    return entry(f"dead {act}", all_target() if ids is None else ids_target(ids))


async def _choice() -> list[str] | None:
    """The ids that the body names; None: all. Raises Refused(400): what is not understood must not be taken for all."""
    try:
        choice = msgspec.json.decode(await request.get_data(), type=DeadLetterChoice)
    except msgspec.ValidationError:
        raise Refused(400, NO_CHOICE) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, INVALID_JSON) from None
    if isinstance(choice.ids, list) and choice.all is msgspec.UNSET:
        return choice.ids
    if choice.all is True and choice.ids is msgspec.UNSET:
        return None
    raise Refused(400, NO_CHOICE)
