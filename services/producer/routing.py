"""Routes as data: what one row of the table in api.py says, and what is made from the rows.

Quart gets a rule for each row, and with it the 405 of every other method; Guard gets the rows that it calls itself; the
dashboard and the dev proxy get the paths that are not pages. openapi.py makes the document from the same rows.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Concatenate, Literal

import msgspec
from msgspec import Raw, Struct
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import BaseConverter, Map

from workqueue.core.api_tokens import Role
from workqueue.services.http.access import READING
from workqueue.services.http.body import Body
from workqueue.services.http.guard import FastRoute, RouteKey, StreamRoute
from workqueue.services.http.live import LiveResponse, LiveRoute
from workqueue.services.http.messages import Headers, Scope
from workqueue.services.http.responses import Refused, Streamed
from workqueue.services.http.tokens import RequiredRole
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.dashboard import Dashboard
from workqueue.services.producer.openapi import INVALID_JSON, JSON, NO_JSON, Operation

#: Parameters of paths that may have slashes inside: %2F is one before a route sees it. Something must follow them.
MANY_SEGMENTS = frozenset({"job_type", "scope"})
PAGE_METHODS = frozenset({"GET", "HEAD"})


class View(Struct, frozen=True):
    """Called by Quart, with the values of the path's parameters by name; the rest is in quart.request."""

    call: Callable[Concatenate[Backend, ...], Awaitable[Response]]


class PageView(Struct, frozen=True):
    """Called by Quart: a file of the dashboard, or what stands beside it. Needs no backend."""

    call: Callable[[Dashboard], Awaitable[Response]]


class Fast(Struct, frozen=True):
    """Called by Guard with the whole body, without Quart (guard.FastRoute). Its path has no parameters."""

    call: Callable[[Backend, bytes, Headers], Awaitable[bytes]]


class Streaming(Struct, frozen=True):
    """Called by Guard with a body that arrives (guard.StreamRoute). Its path has no parameters.

    `new` makes one for each app, because it may keep state across requests.
    """

    new: Callable[[], Callable[[Backend, Body, Headers], Awaitable[Streamed]]]


class Live(Struct, frozen=True):
    """Called by Guard, also for HEAD, and sends events until its client has gone (live.LiveRoute). Its path has no
    parameters."""

    call: Callable[[Backend, Scope, LiveResponse], Awaitable[None]]


class Route(Struct, frozen=True):
    """One row of the table."""

    method: str
    path: str  #: as OpenAPI writes it: /api/jobs/{job_id}; a parameter is one whole segment, or several (MANY_SEGMENTS)
    role: Role  #: of the caller (services/http/tokens.py)
    handler: View | PageView | Fast | Streaming | Live
    operation: Operation | None  #: None: not in the API's document
    body: Literal["none", "whole", "stream"] = "none"
    #: stream: of any length, in the form of the body; events: Server-Sent Events; none: 204
    answer: Literal["json", "text", "bytes", "stream", "events", "none"] = "json"

    @property
    def key(self) -> RouteKey:
        return self.method, self.path

    @property
    def acts(self) -> bool:
        """Does it change what happens to jobs, or who may? Then it takes JSON alone: a hostile page can send a form or
        a text without a preflight, and no JSON. What enqueues is left to the rule about origins (access.py)."""
        return self.method not in READING and self.role is not Role.ENQUEUE

    @property
    def segments(self) -> list[str]:
        return self.path.removeprefix("/").split("/")


def add_rules(
    app: QuartTrio, routes: Sequence[Route], get_backend: Callable[[], Backend], dashboard: Dashboard
) -> None:
    """A rule for each route. Those that Guard calls have one for the 405 of other methods alone."""
    app.url_map.converters["segment"] = _SegmentConverter
    app.url_map.converters["segments"] = _SegmentsConverter
    for number, route in enumerate(routes):
        view: Any = None
        match route.handler:
            case View(call):
                view = _view(call, get_backend)
                if route.acts:
                    view = _json_only(view, has_body=route.body != "none")
            case PageView(call):
                view = _page_view(call, dashboard)
        app.add_url_rule(_rule(route, routes), _endpoint(number, route), view, methods=[route.method])


def required_role(app: QuartTrio, routes: Sequence[Route]) -> RequiredRole:
    """What a caller of a method and path must be allowed to do, by the rules that `add_rules` has made.

    Asked of the very map that Quart asks, so that no path can be one route here and another one there. What is no route
    needs a token, whichever: 404 and 405 are no one's affair without one. Only pages need none: the files of the
    dashboard have no data, and the page that asks for a token must be there before it.
    """
    roles = {_endpoint(number, route): route.role for number, route in enumerate(routes)}
    called_by_guard = {route.key: route.role for route in routes if isinstance(route.handler, Fast | Streaming | Live)}
    taken, adapter = reserved(routes), app.url_map.bind("")

    def required(method: str, path: str) -> Role:
        if (role := called_by_guard.get((method, path))) is not None:
            return role
        try:
            endpoint, _ = adapter.match(path, method=method)
        except NotFound:
            is_page = method in PAGE_METHODS and not path.startswith("//") and path.split("/")[1] not in taken
            return Role.PUBLIC if is_page else Role.ANY
        except HTTPException:
            return Role.ANY
        return roles[endpoint]

    return required


def _endpoint(number: int, route: Route) -> str:
    return f"{number} {route.path}"


def fast_routes(routes: Iterable[Route], get_backend: Callable[[], Backend]) -> dict[RouteKey, FastRoute]:
    """What Guard calls with a whole body."""
    return {
        route.key: _fast_route(route.handler.call, get_backend) for route in routes if isinstance(route.handler, Fast)
    }


def streams(routes: Iterable[Route], get_backend: Callable[[], Backend]) -> dict[RouteKey, StreamRoute]:
    """What Guard calls with a body that arrives."""
    return {
        route.key: _stream_route(route.handler.new(), get_backend)
        for route in routes
        if isinstance(route.handler, Streaming)
    }


def live_routes(routes: Iterable[Route], get_backend: Callable[[], Backend]) -> dict[RouteKey, LiveRoute]:
    """What Guard calls as long as a client listens."""
    found: dict[RouteKey, LiveRoute] = {}
    for route in routes:
        if isinstance(route.handler, Live):
            live_route = _live_route(route.handler.call, get_backend)
            found |= {route.key: live_route, ("HEAD", route.path): live_route}
    return found


def reserved(routes: Iterable[Route]) -> frozenset[str]:
    """The first segments of all routes: an unknown path below one of them is not found, and no page."""
    return frozenset(route.segments[0] for route in routes) - {""}


def proxied(routes: Iterable[Route]) -> list[str]:
    """The prefixes of paths that the page's dev server passes on to the producer: all but the page's own."""
    return sorted({f"/{route.segments[0]}" for route in routes if not isinstance(route.handler, PageView)})


def _view(call: Callable[Concatenate[Backend, ...], Awaitable[Response]], get_backend: Callable[[], Backend]) -> Any:
    async def view(**parameters: str) -> Response:
        return await call(get_backend(), **parameters)

    return view


def _json_only(view: Any, *, has_body: bool) -> Any:
    """`view`, refusing what is no JSON. A route without a body takes an empty one, or any object."""

    async def checked(**parameters: str) -> Response:
        if request.mimetype != JSON:
            raise Refused(415, NO_JSON)
        if not has_body and (body := await request.get_data()):
            try:
                msgspec.json.decode(body, type=dict[str, Raw])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise Refused(400, INVALID_JSON) from None
        response: Response = await view(**parameters)
        return response

    return checked


def _page_view(call: Callable[[Dashboard], Awaitable[Response]], dashboard: Dashboard) -> Any:
    async def view() -> Response:
        return await call(dashboard)

    return view


def _fast_route(
    call: Callable[[Backend, bytes, Headers], Awaitable[bytes]], get_backend: Callable[[], Backend]
) -> FastRoute:
    async def fast_route(body: bytes, headers: Headers) -> bytes:
        return await call(get_backend(), body, headers)

    return fast_route


def _stream_route(
    call: Callable[[Backend, Body, Headers], Awaitable[Streamed]], get_backend: Callable[[], Backend]
) -> StreamRoute:
    async def stream_route(body: Body, headers: Headers) -> Streamed:
        return await call(get_backend(), body, headers)

    return stream_route


def _live_route(
    call: Callable[[Backend, Scope, LiveResponse], Awaitable[None]], get_backend: Callable[[], Backend]
) -> LiveRoute:
    async def live_route(scope: Scope, response: LiveResponse) -> None:
        await call(get_backend(), scope, response)

    return live_route


def _rule(route: Route, routes: Sequence[Route]) -> str:
    """The path as Werkzeug writes it. A parameter takes any segment that is not a literal of another route there."""
    parts: list[str] = []
    for at, segment in enumerate(route.segments):
        if segment.strip("{}") in MANY_SEGMENTS:
            segment = f"<segments:{segment.strip('{}')}>"
        elif segment.startswith("{"):
            same_start = [other.segments for other in routes if other.segments[:at] == route.segments[:at]]
            literals = {f'"{other[at]}"' for other in same_start if len(other) > at and not other[at].startswith("{")}
            segment = f"<segment({', '.join(sorted(literals))}):{segment.strip('{}')}>"
        parts.append(segment)
    return "/" + "/".join(parts)


class _SegmentsConverter(BaseConverter):
    """One segment or more."""

    part_isolating = False
    regex = ".+?"


class _SegmentConverter(BaseConverter):
    """One segment of a path, other than these."""

    part_isolating = True

    def __init__(self, url_map: Map, *literals: str) -> None:
        super().__init__(url_map)
        taken = "|".join(map(re.escape, literals))
        self.regex = rf"(?!(?:{taken})\Z)[^/]+" if taken else "[^/]+"
