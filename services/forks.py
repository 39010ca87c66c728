"""Cleans up in children that a handler forks (multiprocessing does, on Linux).

A child must not inherit the signal handlers of a service, or Process.terminate() would do nothing there, nor its
listening sockets, or it would hold the port as long as it lives. Both are reset in the child before it runs any other
code. The list is one per process, because os.register_at_fork cannot be undone.
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_closed_in_children: dict[int, int] = {}  #: descriptor -> its inode: the number may belong to another file by then


def not_for_children(listener: socket.socket) -> AbstractContextManager[None]:
    """While the block lasts, children that are forked close this socket (its descriptor may have another owner)."""
    return _closed(listener.fileno())


@contextmanager
def _closed(descriptor: int) -> Iterator[None]:
    _closed_in_children[descriptor] = os.fstat(descriptor).st_ino
    try:
        yield
    finally:
        _closed_in_children.pop(descriptor, None)


def _in_child() -> None:
    for number in RESET:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    for descriptor, inode in _closed_in_children.items():
        with suppress(OSError):
            if os.fstat(descriptor).st_ino == inode:
                os.close(descriptor)
    _closed_in_children.clear()


os.register_at_fork(after_in_child=_in_child)
