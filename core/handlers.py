"""`@handler`, and the registry that knows which function runs which type of job."""

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from core.job import Job

TYPE_LENGTH_MAX = 200

HandlerFunction = Callable[[Job], Awaitable[object]] | Callable[[Job], object]
F = TypeVar("F", bound=HandlerFunction)


class Handler(Struct, frozen=True):
    """A function and how it wants to be run."""

    type: str
    function: HandlerFunction
    is_async: bool  #: False: it runs in a thread
    timeout_seconds: float | None


class Registry:
    """Type of job -> handler. Filled while modules are imported, read by the worker."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def handler(self, job_type: str, *, timeout: float | None = None) -> Callable[[F], F]:
        """Register the decorated function for jobs of `job_type`; a plain function runs in a thread.

        `timeout` in seconds bounds each run (None: no bound): a coroutine is cancelled then with all that it started;
        a thread cannot be stopped, so its job fails and the thread keeps its place until it returns.
        A later registration of the same type wins, so that users can replace a built-in handler.
        Raises ValueError for a type that no task can have or a timeout that is not positive.
        """
        if not job_type or len(job_type) > TYPE_LENGTH_MAX:
            raise ValueError(f"handler {job_type!r}: a type has 1 to {TYPE_LENGTH_MAX} characters")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"handler {job_type!r}: timeout={timeout!r}: it must be above 0 seconds")

        def register(function: F) -> F:
            self._handlers[job_type] = Handler(job_type, function, inspect.iscoroutinefunction(function), timeout)
            return function

        return register

    def get(self, job_type: str) -> Handler | None:
        return self._handlers.get(job_type)

    @property
    def types(self) -> list[str]:
        """Every type that can run here, sorted."""
        return sorted(self._handlers)


#: What `@handler` fills: importing a module of handlers must be enough, so there is one per process.
registry = Registry()
handler = registry.handler
