"""Which requests are refused before any route sees them: the one place with the rules against hostile web pages.

A page of another origin can make a browser send requests to a service that only that browser reaches. A form or a text
is posted without a preflight. Where the page's own host name resolves to our address (DNS rebinding), the page can even
read the responses. The browser sends `Origin`, `Sec-Fetch-Site` and `Host`, which a page cannot choose; programs other
than browsers send none of the first two.
"""

import ipaddress
import logging
from urllib.parse import urlsplit

from workqueue.core.settings import Settings
from workqueue.services.http.messages import Scope, values_of
from workqueue.services.logs import Seldom

READING = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": 80, "https": 443}

UNKNOWN_HOST = (421, b"unknown host")
ORIGIN_NOT_ALLOWED = (403, b"origin not allowed")

log = logging.getLogger(__name__)


class Access:
    """The rules of one service. Mutable state: when an unknown host was last logged."""

    def __init__(self, settings: Settings) -> None:
        self._origins = settings.origins
        self._any_origin = "*" in settings.origins
        self._any_host = "*" in settings.hosts
        names = {host_of(origin) for origin in settings.origins} | {settings.host.lower()} | settings.hosts
        self._hosts = frozenset(names - {"*", ""})
        self._unknown_hosts = Seldom(60.0)

    def refusal(self, scope: Scope) -> tuple[int, bytes] | None:
        """Status and message for a request that is refused; None: the request may pass."""
        host = next(iter(values_of(scope, b"host")), b"").decode("latin-1")
        if not self._knows(host):
            self._unknown_hosts.warning(
                log, "a request for host %r was refused: if it is a name of this service, add it to ALLOWED_HOSTS", host
            )
            return UNKNOWN_HOST
        if scope["method"] in READING or self._may_change(scope, host):
            return None
        return ORIGIN_NOT_ALLOWED

    def is_own_page(self, scope: Scope) -> bool:
        """Does a request that changes something, with a session, come from our own page or an allowed one?

        Stricter than the rule for all: a browser sends the cookies of localhost to each port of it, so a page that
        another program serves there would act in the name of the person. A program sends no Origin.
        """
        origins = [value.decode("latin-1") for value in values_of(scope, b"origin")]
        host = next(iter(values_of(scope, b"host")), b"").decode("latin-1")
        return all(origin in self._origins or _is_same(origin, host) for origin in origins)

    def _knows(self, host: str) -> bool:
        """Is it a name of ours, or a literal address, which no page can rebind? Without Host it is HTTP/1.0, which no
        browser speaks."""
        if self._any_host or not host:
            return True
        name = host_of(f"//{host}")
        return name in self._hosts or _is_address(name) or is_loopback(name)

    def _may_change(self, scope: Scope, host: str) -> bool:
        origins = values_of(scope, b"origin")
        if not origins:
            return values_of(scope, b"sec-fetch-site") != [b"cross-site"]
        if self._any_origin:
            return True
        origin = origins[0].decode("latin-1")
        if len(origins) > 1 or origin == "null":
            return False
        if origin in self._origins or _is_same(origin, host):
            return True
        server = scope.get("server") or ("",)
        return is_loopback(host_of(origin)) and is_loopback(str(server[0]))


def host_of(url: str) -> str:
    """The name or address in a URL, in lower case; "" where there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    """Is `origin` the host that the request is for? The schemes may differ: a proxy before us may speak TLS for us."""
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        port = DEFAULT_PORTS.get(theirs.scheme)
        return bool(ours.hostname) and (ours.hostname, ours.port or port) == (theirs.hostname, theirs.port or port)
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Does a name or an address lead to this machine alone?"""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
