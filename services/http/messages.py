"""The types of ASGI, by name."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def values_of(scope: Scope, name: bytes) -> list[bytes]:
    """The values of all headers of this name, which must be in lower case."""
    return [bytes(value) for header, value in scope["headers"] if header == name]
