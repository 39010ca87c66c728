"""Responses in the two forms that clients see: JSON, and text/plain with one sentence for every error."""

import logging
from collections.abc import Mapping
from typing import IO

import msgspec
from msgspec import Struct
from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from workqueue.core.errors import WorkQueueError

log = logging.getLogger(__name__)

#: Error class -> status and the exact body (None: the text of the error). An error is looked up by its own class, then
#: by those it inherits from.
ErrorResponses = Mapping[type[Exception], tuple[int, str | None]]


class Refused(WorkQueueError):
    """The response to this request is a status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Streamed(Struct, frozen=True):
    """A response of any length: the content of `file` up to its position. It is closed when it has been sent."""

    content_type: bytes
    file: IO[bytes]


def text(status: int, message: str) -> Response:
    return Response(message, status, content_type="text/plain; charset=utf-8")


def json(value: object, status: int = 200) -> Response:
    """`value` as msgspec writes it; a Raw in it is sent byte by byte as it is."""
    return Response(msgspec.json.encode(value), status, content_type="application/json")


def empty() -> Response:
    """Done, and there is nothing to say."""
    return Response(b"", 204)


def install_error_responses(app: QuartTrio, errors: ErrorResponses) -> None:
    """From now on every error of a route or of the router, bugs included, gets a response in text/plain."""

    @app.errorhandler(Exception)
    async def respond(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return http_error(error)
        return text(*response_to(error, errors))


def response_to(error: Exception, errors: ErrorResponses) -> tuple[int, str]:
    """Status and message for an error of ours; any other error is a bug, and is logged here."""
    if isinstance(error, Refused):
        return error.status, error.message
    for kind in type(error).__mro__:
        if kind in errors:
            status, message = errors[kind]
            return status, str(error) if message is None else message
    log.error("a request met a bug", exc_info=error)
    return 500, "internal error"


def http_error(error: HTTPException) -> Response:
    """For an error of the router."""
    response = text(error.code or 500, error.name.lower())
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response
