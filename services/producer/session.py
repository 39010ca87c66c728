"""The page's session: a token is exchanged for a cookie, looked at, and given back."""

from datetime import UTC, datetime
from typing import Literal, cast

import msgspec
from msgspec import Struct
from quart import Response, current_app, request

from workqueue.services.http.guard import CHALLENGE
from workqueue.services.http.responses import Refused, empty, json, text
from workqueue.services.http.sessions import SESSION_SECONDS
from workqueue.services.http.tokens import CALLER, COOKIE, EXTENSION, TOKEN_REQUIRED, Caller, Tokens
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.openapi import INVALID_JSON

BAD_BODY = 'the body must be {"token": "..."}'
NO_TOKENS = "no tokens are set: everything is open"


TokenRole = Literal["enqueue", "read", "operate", "admin"]


class SessionRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /api/session takes."""

    token: str


class SessionView(Struct, frozen=True):
    """Who asks. `name` is null, and the role is admin, where no tokens are set."""

    name: str | None
    role: TokenRole
    ends_at: datetime | None  #: of a session; null where the token itself was sent


def caller() -> Caller | None:
    """Whose request this is; None: no tokens are set."""
    return cast(Caller | None, request.scope.get(CALLER))


async def open_session(_: Backend) -> Response:
    """POST /api/session."""
    try:
        given = msgspec.json.decode(await request.get_data(), type=SessionRequest)
    except msgspec.ValidationError:
        raise Refused(400, BAD_BODY) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, INVALID_JSON) from None
    tokens: Tokens | None = current_app.extensions.get(EXTENSION)
    if tokens is None:
        raise Refused(404, NO_TOKENS)
    secret = given.token.strip().encode("utf-8", "replace")  # what is pasted often has a space at its end
    if (token := tokens.of_secret(secret, request.scope)) is None:  # type: ignore[arg-type]
        status, message = TOKEN_REQUIRED
        response = text(status, message.decode())
        response.headers[CHALLENGE[0].decode()] = CHALLENGE[1].decode()
        return response
    value, ends_at = tokens.open_session(token, secret)
    response = json(_view(Caller(token.name, token.role, ends_at)))
    _set_cookie(response, value, max_age=SESSION_SECONDS)
    return response


async def get_session(_: Backend) -> Response:
    """GET /api/session."""
    return json(_view(caller()))


async def close_session(_: Backend) -> Response:
    """DELETE /api/session."""
    response = empty()
    _set_cookie(response, "", max_age=0)
    return response


def _set_cookie(response: Response, value: str, *, max_age: int) -> None:
    response.set_cookie(
        COOKIE, value, max_age=max_age, path="/", httponly=True, samesite="Strict", secure=_is_behind_tls()
    )
    response.headers["Cache-Control"] = "no-store"


def _is_behind_tls() -> bool:
    """Does the browser speak TLS, with us or with a proxy before us? The page's own origin says so, too."""
    told = (request.scheme, request.headers.get("X-Forwarded-Proto", ""))
    return "https" in told or request.headers.get("Origin", "").startswith("https://")


def _view(found: Caller | None) -> SessionView:
    if found is None:
        return SessionView(None, "admin", None)
    ends_at = None if found.session_ends_at is None else datetime.fromtimestamp(found.session_ends_at, UTC)
    return SessionView(found.name, cast(TokenRole, str(found.role)), ends_at)
