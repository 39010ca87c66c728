"""Who did what: the list over HTTP, and the entries that acts leave."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Raw, Struct
from quart import Response, request

from workqueue.core.audit import AuditEntry
from workqueue.core.store import AuditRow
from workqueue.services.http.responses import json
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.parameters import read_audit_page
from workqueue.services.producer.session import caller

AUDIT_FAILED = "failed to read the audit"


class AuditView(Struct, frozen=True):
    """An act of a person. `count`: of jobs, dead letters, workers; null: none are counted, or its end is not known."""

    id: int
    at: datetime
    who: str | None
    act: str
    target: Annotated[
        Raw, Meta(extra_json_schema={"type": "object", "additionalProperties": True, "description": "on what"})
    ]
    count: int | None


def entry(act: str, target: str) -> AuditEntry:
    """The entry of an act that this request asks for."""
    found = caller()
    return AuditEntry(None if found is None else found.name, act, target)


async def list_audit(backend: Backend) -> Response:
    """GET /api/audit."""
    wanted = read_audit_page(request.args)
    store = backend.engine.rows()
    async with backend.reading(store, AUDIT_FAILED):
        rows = await store.audit.page(backend.settings.queue_name, before=wanted.before, limit=wanted.limit + 1)
    shown = rows[: wanted.limit]
    response = json([_view(row) for row in shown])
    if len(rows) > len(shown):
        response.headers["Link"] = wanted.link(shown[-1].id)
    return response


def _view(row: AuditRow) -> AuditView:
    return AuditView(row.id, row.at, row.who, row.act, Raw(row.target.encode()), row.count)
