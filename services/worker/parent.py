"""What one of several worker processes shares with its parent: a socket, and the end.

A module of its own, because a worker without a parent needs nothing of what the parent is made of.
"""

import socket

import trio


def open_socket(path: str) -> socket.socket:
    """Where a child listens: a Unix socket in a folder that only its parent's user may enter."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


async def wait_for_parents_end(file_descriptor: int) -> None:
    """Return when the other end of our standard input is closed: our parent is gone, however it went."""
    async with trio.lowlevel.FdStream(file_descriptor) as stream:
        while await stream.receive_some(100):
            pass
