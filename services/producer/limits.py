"""Limits over HTTP: list them, set one, take one away; and the rows of their routes."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from quart import Response, request

from workqueue.core.api_tokens import Role
from workqueue.core.audit import limit_target
from workqueue.core.limits import (
    GROUPS,
    PER_SECONDS_MAX,
    RATE_MAX,
    RUNNING_MAX,
    TYPE_LENGTH_MAX,
    Limit,
    Limits,
    check_scope,
    make_limit,
)
from workqueue.services.http.responses import Refused, empty, json
from workqueue.services.producer.audit import entry
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.errors import ONLY_WITH_DATABASE
from workqueue.services.producer.openapi import INVALID_JSON, JSON, Operation, Parameter
from workqueue.services.producer.routing import Route, View

READ_FAILED = "failed to read limits"
CHANGE_FAILED = "failed to change the limit: it is not known whether it was changed"
NO_LIMIT = "no limit"
NOT_A_SCOPE = "scope is not valid"
TOO_MANY = "too many limits"
#: What make_limit says.
SENTENCES = ("running is not valid", "rate is not valid", "per_seconds is not valid", "running or rate is required")
MEMBERS = ("running", "rate", "per_seconds")


class LimitRequest(Struct, frozen=True):
    """What PUT /api/limits/<scope> takes: `running`, or `rate`, or both. null counts as absent."""

    running: (
        Annotated[int, Meta(ge=1, le=RUNNING_MAX, description="so many at once, on all workers together")] | None
    ) = None
    rate: Annotated[int, Meta(ge=1, le=RATE_MAX, description="so many starts in any time of `per_seconds`")] | None = (
        None
    )
    per_seconds: (
        Annotated[float, Meta(ge=0.001, le=PER_SECONDS_MAX, description="only beside `rate`; default: 1")] | None
    ) = None


class LimitView(Struct, frozen=True):
    """A limit. At least one of `running` and `rate` is there."""

    scope: str  #: type:X, group:X, or groups: that of each group without one of its own
    running: int | None  #: so many at once; null: any number
    rate: int | None  #: so many starts in any time of `per_seconds`; null: any number
    per_seconds: float | None  #: null: there is no rate
    declared: bool  #: by the code of the workers alone; a limit that a person sets goes before it


async def list_limits(backend: Backend) -> Response:
    """GET /api/limits."""
    acts = backend.engine.limit_acts()
    async with backend.reading(backend.engine.rows(), READ_FAILED):
        limits = await acts.read()
    effective = limits.effective
    return json([_view(limits, scope, effective[scope]) for scope in sorted(effective)])


async def get_limit(backend: Backend, scope: str) -> Response:
    """GET /api/limits/<scope>."""
    acts = backend.engine.limit_acts()
    check_scope(scope)
    async with backend.reading(backend.engine.rows(), READ_FAILED):
        limits = await acts.read()
    if (limit := limits.effective.get(scope)) is None:
        raise Refused(404, NO_LIMIT)
    return json(_view(limits, scope, limit))


async def put_limit(backend: Backend, scope: str) -> Response:
    """PUT /api/limits/<scope>: the whole limit. The answer is that of a GET."""
    store, acts = backend.engine.rows(), backend.engine.limit_acts()
    check_scope(scope)
    limit = make_limit(**_members(bytes(await request.data)))
    async with backend.reading(store, CHANGE_FAILED):
        limits = await acts.put(scope, limit, entry("set limit", limit_target(scope, limit)))
    if limits is None:
        raise Refused(409, TOO_MANY)
    return json(_view(limits, scope, limit))


async def delete_limit(backend: Backend, scope: str) -> Response:
    """DELETE /api/limits/<scope>: one that the code declares holds again."""
    store, acts = backend.engine.rows(), backend.engine.limit_acts()
    check_scope(scope)
    async with backend.reading(store, CHANGE_FAILED):
        limits = await acts.delete(scope, entry("delete limit", limit_target(scope)))
    if limits is None:
        raise Refused(404, NO_LIMIT)
    return empty()


def _members(body: bytes) -> dict[str, Any]:
    """The members of a request. Raises Refused(400)."""
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, INVALID_JSON) from None
    if unknown := [name for name in members if name not in MEMBERS]:
        raise Refused(400, f"{unknown[0][:50]}: unknown member; allowed are {', '.join(MEMBERS)}")
    return members


def _view(limits: Limits, scope: str, limit: Limit) -> LimitView:
    per_seconds = None if limit.rate is None else limit.per_seconds
    return LimitView(scope, limit.running, limit.rate, per_seconds, scope not in limits.of)


SCOPE = Parameter(
    "scope",
    "path",
    {"type": "string", "pattern": f"^({GROUPS}|(type|group):[^\\x00]{{1,{TYPE_LENGTH_MAX}}})$"},
    "type:X, group:X, or groups: each group without a limit of its own",
)
_NONE = {400: NOT_A_SCOPE, 404: f"{NO_LIMIT} | {ONLY_WITH_DATABASE}"}

ROUTES = (
    Route(
        "GET",
        "/api/limits",
        Role.READ,
        View(list_limits),
        Operation(
            id="list_limits",
            summary="The limits of types and groups, in the order of their scopes",
            shows=list[LimitView],
            errors={404: ONLY_WITH_DATABASE, 500: READ_FAILED},
        ),
    ),
    Route(
        "GET",
        "/api/limits/{scope}",
        Role.READ,
        View(get_limit),
        Operation(
            id="get_limit",
            summary="The limit of a type, of a group, or of each group without one of its own",
            shows=LimitView,
            errors=_NONE | {500: READ_FAILED},
            parameters=(SCOPE,),
        ),
    ),
    Route(
        "PUT",
        "/api/limits/{scope}",
        Role.OPERATE,
        View(put_limit),
        Operation(
            id="put_limit",
            summary="Limit how many jobs run at once, and how many start in a time; live within a second",
            takes=LimitRequest,
            examples={JSON: {"running": 10, "rate": 100, "per_seconds": 60}},
            shows=LimitView,
            errors={
                400: " | ".join((NOT_A_SCOPE, INVALID_JSON, *SENTENCES)),
                404: ONLY_WITH_DATABASE,
                409: TOO_MANY,
                500: CHANGE_FAILED,
            },
            parameters=(SCOPE,),
        ),
        body="whole",
    ),
    Route(
        "DELETE",
        "/api/limits/{scope}",
        Role.OPERATE,
        View(delete_limit),
        Operation(
            id="delete_limit",
            summary="Take away a limit that a person has set; one that the code declares holds again",
            description="it is taken away",
            errors=_NONE | {500: CHANGE_FAILED},
            parameters=(SCOPE,),
        ),
        answer="none",
    ),
)
