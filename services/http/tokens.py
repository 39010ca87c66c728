"""Who may call what: the one place where tokens are checked, called by Guard before any of a body is read.

With no tokens there is no Gate, and a request costs nothing more. With tokens each request needs one, but for what the
table of routes calls public. A token comes as `Authorization: Bearer`, or as the session that the page has got for it
(sessions.py); what stands in the header counts where both are there.
"""

import hmac
import logging
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from workqueue.core.api_tokens import GRANTS, ApiToken, Role, digest_of
from workqueue.services.http.access import ORIGIN_NOT_ALLOWED, READING, Access
from workqueue.services.http.messages import Scope, values_of
from workqueue.services.http.sessions import NONCE_BYTES, SESSION_SECONDS, seal, unseal
from workqueue.services.logs import Seldom

COOKIE = "workqueue_session"
CALLER = "workqueue.caller"  #: in the scope of a request
EXTENSION = "workqueue.tokens"  #: of an app: its Tokens
COOKIES_MAX = 4  #: of our name that are looked at: a browser may send those of several paths

TOKEN_REQUIRED = (401, b"token required")
NOT_ALLOWED = (403, b"not allowed")

#: Method and path, as Quart will match them -> what the caller must be allowed to do.
RequiredRole = Callable[[str, str], Role]

log = logging.getLogger(__name__)


class Caller(Struct, frozen=True):
    """Whose token or session came with a request."""

    name: str
    role: Role
    session_ends_at: int | None = None  #: seconds since 1970; None: the token itself came


def _now() -> float:
    """Seconds since 1970: several processes, and this one after a restart, must agree when a session ends."""
    return datetime.now(UTC).timestamp()


class Tokens:
    """The tokens of one service. Mutable state: the tokens as they are now, changed by `replace`."""

    def __init__(self, tokens: Sequence[ApiToken], *, now: Callable[[], float] = _now) -> None:
        self._tokens = tuple(tokens)
        self._now = now
        self._wrong = Seldom(60.0)

    def replace(self, tokens: Sequence[ApiToken]) -> None:
        """From the next request on these count, and no others."""
        self._tokens = tuple(tokens)

    def of_secret(self, secret: bytes, scope: Scope) -> ApiToken | None:
        """The token with this secret. Takes as long for each secret: hashes of all are compared."""
        digest = digest_of(secret)
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        if found is None:
            client = (scope.get("client") or ("?",))[0]
            self._wrong.warning(log, "a wrong token came from %s for %s %r", client, scope["method"], scope["path"])
        return found

    def open_session(self, token: ApiToken, secret: bytes) -> tuple[str, int]:
        """The value of a cookie, and when it ends."""
        ends_at = int(self._now()) + SESSION_SECONDS
        return seal(token, secret, ends_at=ends_at, nonce=os.urandom(NONCE_BYTES)), ends_at

    def caller(self, scope: Scope) -> Caller | None:
        """Whose request it is; None: no token came, or a wrong one."""
        secrets = [secret for value in values_of(scope, b"authorization") if (secret := _bearer(value)) is not None]
        if secrets:
            token = self.of_secret(secrets[0], scope) if len(secrets) == 1 else None
            return None if token is None else Caller(token.name, token.role)
        for value in _cookies(scope):
            if (found := unseal(value, self._tokens, now=self._now())) is not None:
                token, ends_at = found
                return Caller(token.name, token.role, ends_at)
        return None


class Gate:
    """Lets requests pass that may. Mutable state: none of its own."""

    def __init__(self, tokens: Tokens, required: RequiredRole) -> None:
        self._tokens = tokens
        self._required = required

    def refusal(self, scope: Scope, access: Access) -> tuple[int, bytes] | None:
        """Status and message for a request that is refused; None: it may pass, and its scope has its CALLER."""
        role = self._required(scope["method"], scope["path"])
        if role is Role.PUBLIC:
            return None
        caller = self._tokens.caller(scope)
        if caller is None:
            return TOKEN_REQUIRED
        if role not in GRANTS[caller.role]:
            return NOT_ALLOWED
        if caller.session_ends_at is not None and scope["method"] not in READING and not access.is_own_page(scope):
            return ORIGIN_NOT_ALLOWED
        scope[CALLER] = caller
        return None


def _bearer(value: bytes) -> bytes | None:
    """The secret of an Authorization header; None: it is of another scheme, a proxy's own perhaps."""
    scheme, _, secret = value.partition(b" ")
    return secret.strip() if scheme.lower() == b"bearer" else None


def _cookies(scope: Scope) -> list[str]:
    """The values of cookies with our name."""
    found = []
    for header in values_of(scope, b"cookie"):
        for part in header.decode("latin-1").split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                found.append(value)
    return found[:COOKIES_MAX]
