"""The API's description for GET /openapi.json, made from the routes and from the structs that are sent, so they agree.

Written by hand and not by quart-schema, which wraps every response of the app, knows no errors in text/plain, and whose
page of documentation needs scripts inside of the HTML, which our Content-Security-Policy forbids.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from workqueue.services.http.access import ORIGIN_NOT_ALLOWED, READING, UNKNOWN_HOST
from workqueue.services.http.connection import NO_ROOM, TOO_MANY_CLIENTS
from workqueue.services.http.guard import BODY_TOO_LARGE, BODY_TOO_SLOW
from workqueue.services.http.tokens import COOKIE, NOT_ALLOWED, TOKEN_REQUIRED

if TYPE_CHECKING:
    from workqueue.services.producer.routing import Route

Json = dict[str, Any]

JSON, NDJSON, TEXT = "application/json", "application/x-ndjson", "text/plain"
EVENTS = "text/event-stream"

#: Of every route: what services/http may say before the route is called.
ANYWHERE = {
    401: TOKEN_REQUIRED[1].decode(),
    403: NOT_ALLOWED[1].decode(),
    408: BODY_TOO_SLOW.decode(),
    413: BODY_TOO_LARGE.decode(),
    421: UNKNOWN_HOST[1].decode(),
    503: f"{NO_ROOM.decode()} | {TOO_MANY_CLIENTS.decode()}",
}
NO_JSON = "Content-Type must be application/json"
INVALID_JSON = "invalid JSON body"
ACTING = {415: NO_JSON}  #: of every route that acts (routing.py)
CHANGING = {
    403: f"{ANYWHERE[403]} | {ORIGIN_NOT_ALLOWED[1].decode()}"
}  #: the same, of every route that changes something


#: Where API_TOKENS is set.
SECURITY: dict[str, Json] = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}


class Parameter(Struct, frozen=True):
    """In the path, the query or a header. `schema` is JSON Schema."""

    name: str
    where: str
    schema: Json
    description: str


class Operation(Struct, frozen=True, kw_only=True):
    """What the document says of one route, besides what the route says itself."""

    id: str
    summary: str
    takes: Any = None  #: the type of the body; of a stream, of one job in it
    examples: Mapping[str, Any] = {}  #: of the body, by content type
    shows: Any = None  #: the type of the JSON in a 200; of a stream, of one answer in it
    events: Mapping[str, Any] = {}  #: name of an event -> the type of the JSON in it
    description: str = "OK"  #: of the 200
    link: str = ""  #: what the Link header of a 200 leads to
    total: str = ""  #: what the X-Total-Count header of a 200 counts
    errors: Mapping[int, str] = {}  #: status -> sentences, text/plain
    other_json: Mapping[int, tuple[str, Any]] = {}  #: status beside 200 -> description and type of its JSON
    parameters: tuple[Parameter, ...] = ()


@cache
def our_version() -> str:
    try:
        return version("workqueue")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.0.0"


def document(routes: Iterable["Route"], version: str) -> Json:
    """An OpenAPI 3.1 document of every route that has an operation."""
    schemas = _Schemas()
    paths: dict[str, Json] = {}
    for route in routes:
        if route.operation is not None:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, route.operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "WorkQueue", "version": version, "description": "Errors are text/plain: one sentence."},
        "paths": paths,
        "security": [{}, *({name: []} for name in SECURITY)],  # nothing: where no tokens are set
        "components": {"schemas": schemas.components, "securitySchemes": SECURITY},
    }


class _Schemas:
    """Schemas of our types. Mutable state: the structs that were met, each once."""

    def __init__(self) -> None:
        self.components: dict[str, Json] = {}

    def of_request(self, kind: Any) -> Json:
        return self._add(kind)[0]

    def of_response(self, kind: Any) -> Json:
        """We send every member, also where it has its default; only one without a default (UNSET) may be absent."""
        schema, found = self._add(kind)
        for component in found.values():
            properties: dict[str, Json] = component.get("properties", {})
            always = [name for name, member in properties.items() if "default" in member]
            if always:
                required = {*component.get("required", ()), *always}
                component["required"] = [name for name in properties if name in required]
                for name in always:
                    del properties[name]["default"]
        return schema

    def _add(self, kind: Any) -> tuple[Json, dict[str, Json]]:
        (schema,), found = msgspec.json.schema_components((kind,), ref_template="#/components/schemas/{name}")
        self.components |= found
        return schema, found


def _operation(route: "Route", operation: Operation, schemas: _Schemas) -> Json:
    success: Json = {"description": operation.description}
    if route.answer != "none":
        success["content"] = _content(route, operation, schemas)
    if operation.link:
        success["headers"] = {"Link": {"description": operation.link, "schema": {"type": "string"}}}
    if operation.total:
        total = {"description": operation.total, "required": True, "schema": {"type": "integer", "minimum": 0}}
        success.setdefault("headers", {})["X-Total-Count"] = total
    errors = ANYWHERE | ({} if route.method in READING else CHANGING) | dict(operation.errors)
    if route.acts:
        errors |= ACTING
        errors[400] = " | ".join(filter(None, (errors.get(400), INVALID_JSON)))
    responses = {"204" if route.answer == "none" else "200": success} | {
        str(status): _text(message) for status, message in sorted(errors.items())
    }
    for status, (description, kind) in operation.other_json.items():
        either = {JSON: {"schema": schemas.of_response(kind)}}
        if status in errors:  # for another reason, in text
            either |= _text("")["content"]
        responses[str(status)] = {"description": description, "content": either}
    result: Json = {"operationId": operation.id, "summary": operation.summary, "responses": responses}
    if operation.parameters:
        result["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if route.body != "none":
        result["requestBody"] = _request(route, operation, schemas)
    elif route.acts:  # its Content-Type is what counts
        result["requestBody"] = {"required": True, "content": {JSON: {"schema": {"type": "object"}, "example": {}}}}
    return result


def _content(route: "Route", operation: Operation, schemas: _Schemas) -> Json:
    match route.answer:
        case "json":
            return {JSON: {"schema": schemas.of_response(operation.shows)}}
        case "stream":  # in the form of the request: a line for a line, or an array
            one = schemas.of_response(operation.shows)
            return {NDJSON: {"schema": one}, JSON: {"schema": {"type": "array", "items": one}}}
        case "events":  # of events OpenAPI 3.1 knows nothing: what they are stands in a member of our own
            data = {name: schemas.of_response(kind) for name, kind in operation.events.items()}
            return {EVENTS: {"schema": {"type": "string"}, "x-events": data}}
        case "bytes":
            return {"*/*": {}}
        case _:
            content: Json = _text("")["content"]
            return content


def _request(route: "Route", operation: Operation, schemas: _Schemas) -> Json:
    schema = schemas.of_request(operation.takes)
    content: Json = {JSON: {"schema": schema}}
    if route.body == "stream":
        content = {NDJSON: {"schema": schema}, JSON: {"schema": {"type": "array", "items": schema}}}
    for kind, example in operation.examples.items():
        content[kind]["example"] = example
    return {"required": route.body == "whole", "content": content}


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "schema": parameter.schema,
        "description": parameter.description,
    }


def _text(message: str) -> Json:
    return {"description": message, "content": {TEXT: {"schema": {"type": "string"}}}}
