"""What a child that a handler forks (multiprocessing does, on Linux) must not inherit from a service.

Our signal handlers, or Process.terminate() would do nothing there; and our listening sockets, or the child would hold
the port for as long as it lives. Both are reset in the child, before it runs a line of its own. There is one such list
a process because os.register_at_fork has no way back; what is in it comes and goes.
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_closed_in_children: dict[int, int] = {}  #: descriptor -> its inode: the number may be another file's by then


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
