"""What becomes of a job whose handler has raised: what its handler asks for, and what it may raise to ask for it."""

from collections.abc import Iterator
from random import Random

from msgspec import Struct

from workqueue.core.errors import SECONDS_MAX, PermanentFailure, RateLimited, Retry, Snooze

__all__ = ["NO_POLICY", "Backoff", "Discard", "Policy", "RateLimited", "Retry", "Snooze", "exception_types"]

ExceptionTypes = tuple[type[BaseException], ...]

#: Raised by a handler: the job ends failed, whatever retries it has left.
Discard = PermanentFailure


class Backoff(Struct, frozen=True):
    """How long a job waits after a failure: `base` seconds after the first, twice as long after each further one, at
    most `cap`.

    `jitter`: from 0 to that, by chance, so that jobs that failed together do not come back together (full jitter, after
    AWS Architecture Blog, "Exponential Backoff And Jitter").
    """

    base: float = 1.0
    cap: float = 3600.0
    jitter: bool = True

    def __post_init__(self) -> None:
        for name in ("base", "cap"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value <= SECONDS_MAX):
                raise ValueError(f"Backoff({name}={value!r}): must be from 0 to {SECONDS_MAX:.0f} seconds")

    def seconds(self, failures: int, random: Random) -> float:
        """To wait after failure number `failures` (1: the first)."""
        exponent = min(failures - 1, 62)  # 2.0 ** 1024 would raise OverflowError
        most = min(self.cap, self.base * 2.0**exponent)
        return random.uniform(0.0, most) if self.jitter else most


class Policy(Struct, frozen=True):
    """What a handler asks for."""

    backoff: Backoff | None = None  #: None: what the worker does (RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)
    retry_on: ExceptionTypes = ()  #: only failures of these kinds are retried; none: all are
    discard_on: ExceptionTypes = ()  #: failures of these kinds are not

    def is_permanent(self, error: BaseException) -> bool:
        """Would no retry of it help? Of a group of errors each one counts: all must be such that no retry would."""
        if isinstance(error, PermanentFailure):
            return True
        if not (self.retry_on or self.discard_on):
            return False
        return all(self._is_permanent(each) for each in _leaves(error))

    def _is_permanent(self, error: BaseException) -> bool:
        if isinstance(error, Retry):
            return False
        return isinstance(error, (*self.discard_on, PermanentFailure)) or bool(
            self.retry_on and not isinstance(error, self.retry_on)
        )


NO_POLICY = Policy()


def exception_types(name: str, given: object) -> ExceptionTypes:
    """An exception class, or several. Raises ValueError for anything else."""
    kinds = given if isinstance(given, tuple | list) else (given,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ValueError(f"{name}={given!r}: must be an exception class, or a tuple of them")
    return tuple(kinds)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
