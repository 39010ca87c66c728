"""Signs of life: a step beats for the loop that runs it, whichever that is.

The loop sets its heartbeat for its task and the tasks below, as a cancel scope sets its deadline. So a step cannot beat
for another loop than the one that hangs when the step does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: `heartbeat(seconds)`: the next sign of life comes within so many seconds.
Heartbeat = Callable[[float], None]


def no_heartbeat(seconds: float) -> None:
    """For steps that no watched loop runs."""


_heartbeat: ContextVar[Heartbeat] = ContextVar("heartbeat", default=no_heartbeat)


def beat(seconds: float) -> None:
    """Give a sign of life for the loop that runs this task; the next one comes within so many seconds."""
    _heartbeat.get()(seconds)


@contextmanager
def beating_for(heartbeat: Heartbeat) -> Iterator[None]:
    """Every `beat` in this block, and in tasks that are started in it, goes to `heartbeat`."""
    token = _heartbeat.set(heartbeat)
    try:
        yield
    finally:
        _heartbeat.reset(token)
