"""What users import: `from workqueue import Job, handler`, `from workqueue import Client`. Re-exports only.

Each name is imported when it is asked for: a program that only enqueues needs neither Trio nor the services' code.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workqueue.client import Client, Queued, Task, declare
    from workqueue.core import (
        Backoff,
        Discard,
        Job,
        PermanentFailure,
        RateLimited,
        Retry,
        Snooze,
        every,
        handler,
        periodic,
    )

__all__ = [
    "Backoff",
    "Client",
    "Discard",
    "Job",
    "PermanentFailure",
    "Queued",
    "RateLimited",
    "Retry",
    "Snooze",
    "Task",
    "declare",
    "every",
    "handler",
    "periodic",
]

if not TYPE_CHECKING:  # else every name would be known to a type checker

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        room = "workqueue.client" if name in {"Client", "Queued", "Task", "declare"} else "workqueue.core"
        value = globals()[name] = getattr(import_module(room), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
