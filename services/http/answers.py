"""Answers in the two forms that clients see: JSON, and text/plain with one sentence for everything that went wrong."""

import logging
from collections.abc import Mapping

import msgspec
from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from workqueue.core.errors import WorkQueueError

log = logging.getLogger(__name__)

#: Error class -> status and the exact body. An error is looked up by its own class, then by those it inherits from.
Table = Mapping[type[Exception], tuple[int, str]]


class Refused(WorkQueueError):
    """The answer to this request is a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def text(status: int, sentence: str) -> Response:
    return Response(sentence, status, content_type="text/plain; charset=utf-8")


def json(value: object, status: int = 200) -> Response:
    """`value` as msgspec writes it; a Raw in it goes out byte by byte as it is."""
    return Response(msgspec.json.encode(value), status, content_type="application/json")


def install_errors(app: QuartTrio, table: Table) -> None:
    """From now on every error of a route, of the router, and every bug, is answered in text/plain."""

    @app.errorhandler(Exception)
    async def answer(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return _http_error(error)
        return text(*answer_to(error, table))


def answer_to(error: Exception, table: Table) -> tuple[int, str]:
    """Status and sentence for an error of ours; anything else is a bug, logged here."""
    if isinstance(error, Refused):
        return error.status, error.sentence
    for kind in type(error).__mro__:
        if kind in table:
            return table[kind]
    log.error("a request met a bug", exc_info=error)
    return 500, "internal error"


def _http_error(error: HTTPException) -> Response:
    answer = text(error.code or 500, error.name.lower())
    if isinstance(error, MethodNotAllowed):
        answer.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return answer
