"""Cross-origin resource sharing: which headers a browser gets with each response, and with a preflight."""

from workqueue.services.http.messages import Headers, Scope

PREFLIGHT_SECONDS = b"600"  #: how long a browser may remember the response to a preflight
METHODS = b"GET, POST, OPTIONS"
REQUEST_HEADERS = b"Content-Type, Idempotency-Key, Authorization"
EXPOSED_HEADERS = b"Link, X-Total-Count, X-Looked-Until"


class Cors:
    """The headers for one set of allowed origins; none where the set is empty. Mutable state: none."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, scope: Scope) -> Headers:
        """For the response to this request, whatever its status."""
        if not self._origins:
            return []
        headers = [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", REQUEST_HEADERS),
            (b"access-control-expose-headers", EXPOSED_HEADERS),
        ]
        if self._origins == {b"*"}:
            return [*headers, (b"access-control-allow-origin", b"*")]
        headers.append((b"vary", b"Origin"))  # also without a match: a cache must not hand that response to others
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(origins) == 1 and origins[0] in self._origins:
            headers.append((b"access-control-allow-origin", origins[0]))
        return headers

    def is_preflight(self, scope: Scope) -> bool:
        """True: respond with 204 and `preflight_headers`, whatever the path."""
        return bool(self._origins) and scope["method"] == "OPTIONS"

    @property
    def preflight_headers(self) -> Headers:
        """Those that a preflight gets besides."""
        return [(b"access-control-max-age", PREFLIGHT_SECONDS)]
