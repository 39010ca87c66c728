"""Requests over HTTP with httpcore: what it raises, said as the calls know it, and names resolved within a deadline."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from socket import SOCK_STREAM, gaierror, getaddrinfo
from typing import Any
from urllib.parse import urlsplit

import httpcore

from workqueue.client.calls import NoAnswer, NotSent, Send

CONNECTIONS_MAX = 100
IDLE_SECONDS = 4.0  #: shorter than a producer keeps a connection
ANSWER_BYTES_MAX = 64 * 1024 * 1024

#: Of the environment: where a client without an argument goes, and its token.
URL_VARIABLE = "WORKQUEUE_URL"
TOKEN_VARIABLE = "WORKQUEUE_TOKEN"  # noqa: S105 - a name
DEFAULT_URL = "http://127.0.0.1:8080"

_NOT_SENT = (
    httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout, httpcore.UnsupportedProtocol, gaierror,
)  # fmt: skip
_NO_ANSWER = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


class Target:
    """Where the producer is, and what each request carries."""

    def __init__(self, url: str | None, token: str | None, environ: Mapping[str, str] = os.environ) -> None:
        """Raises ValueError for what is no URL of a producer."""
        url = url or environ.get(URL_VARIABLE) or DEFAULT_URL
        token = token or environ.get(TOKEN_VARIABLE)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{parts.scheme or url!r}: a client takes http:// and https:// URLs of a producer")
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("the URL of a producer has no query, no fragment and no user: give its token as `token`")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.shown = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
        self.is_secure = parts.scheme == "https"
        self._base = self.shown + parts.path.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token:
            if not token.isascii() or not token.isprintable() or " " in token:
                raise ValueError("the token has characters that no token has")
            self._headers["Authorization"] = f"Bearer {token}"

    def request(self, send: Send) -> dict[str, Any]:
        """The arguments of httpcore's request."""
        seconds = max(send.seconds, 0.001)
        return {
            "method": send.method,
            "url": self._base + send.path,
            "headers": {**self._headers, **send.headers},
            "content": send.body,
            "extensions": {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)},
        }

    def lost(self, error: BaseException) -> NotSent | NoAnswer:
        """What a failure of httpcore, or of the system, means."""
        text = f"{self.shown}: {str(error) or type(error).__name__}"
        return NotSent(text) if isinstance(error, _NOT_SENT) else NoAnswer(text)


FAILURES = (*_NOT_SENT, *_NO_ANSWER)


def options(target: Target) -> dict[str, Any]:
    """Of a pool of connections. Loading the certificates of the system takes 20 ms: not for http://."""
    return {
        "ssl_context": ssl.create_default_context() if target.is_secure else None,
        "max_connections": CONNECTIONS_MAX,
        "max_keepalive_connections": CONNECTIONS_MAX,
        "keepalive_expiry": IDLE_SECONDS,
    }


class ResolvingBackend(httpcore.NetworkBackend):
    """Connects as httpcore does, and bounds the resolution of a name, too: getaddrinfo knows no time-out of its own."""

    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = [host] if timeout is None or _is_address(host) else _resolve(host, port, timeout)
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError):
                return self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
        return self._backend.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.NetworkStream:
        """No producer listens on one."""
        raise httpcore.UnsupportedProtocol("unix")


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _resolve(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of the host. A thread that hangs longer is left alone, and ends with the system's own patience."""
    found: list[str] = []
    failed: list[OSError] = []

    def ask() -> None:
        try:
            found.extend(str(each[4][0]) for each in getaddrinfo(host, port, type=SOCK_STREAM))
        except OSError as error:
            failed.append(error)

    asking = threading.Thread(target=ask, name="workqueue-resolve", daemon=True)
    asking.start()
    asking.join(seconds)
    if failed:
        raise httpcore.ConnectError(f"the name {host!r} is not known: {failed[0]}") from failed[0]
    if not found:
        raise httpcore.ConnectTimeout(f"no answer to the question for the address of {host!r}")
    return found
