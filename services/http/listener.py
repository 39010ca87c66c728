"""The socket that a service listens on: opened before any other resource, so that a port in use ends the start."""

import socket

from workqueue.core.errors import WorkQueueError

BACKLOG = 100


class PortTaken(WorkQueueError):
    """The address cannot be listened on."""


def open_listener(host: str, port: int, variable: str) -> socket.socket:
    """Listen on host:port. Raises PortTaken, which names the variable that sets the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise PortTaken(
            f"cannot listen on {host}:{port}: {error.strerror or error}. "
            f"End what listens there, or set {variable} (or HOST) to something else"
        ) from None
