"""Every error that core/ raises on purpose. Knows no HTTP: services/producer/errors.py maps these to answers.

An error of one service alone (a port in use, an embedded server that does not start) stands beside its code, and is a
WorkQueueError too.
"""


class WorkQueueError(Exception):
    """Base of all; never raised itself."""


class InvalidTask(WorkQueueError):
    """The sender's mistake: nothing was written, trying again is pointless."""


class TypeMissing(InvalidTask):
    """A submitted task without a type."""


class InvalidOption(InvalidTask):
    """A submitted task with an option that no job can have; the text is the sentence for its sender."""


class RetriesNegative(InvalidTask):
    """A submitted task with `retries` below zero."""


class QueueUnavailable(WorkQueueError):
    """Redis did not answer; whether the command took effect is unknown."""


class NeedsOperator(QueueUnavailable):
    """Redis answers, and does not do what we need; the text says what an operator has to do."""


class KeyOfAnotherType(NeedsOperator):
    """A key of the queue holds another type; nothing was done."""


class Refused(NeedsOperator):
    """Redis does not let this user run a command, or does not know it."""


class UnknownReply(NeedsOperator):
    """Redis answered with an error that core/queue/outages.py does not know: another server, or a fault of ours."""


class StoreUnavailable(WorkQueueError):
    """Postgres did not answer; whether the statement took effect is unknown (116 of 119 cancelled INSERTs had)."""


class StoreBusy(StoreUnavailable):
    """Postgres answered that it would not wait any longer for a lock: nothing was done, ask again."""


class StoreRefused(WorkQueueError):
    """Postgres refused the values of one statement (a data error); nothing was done."""


class EnqueueFailed(WorkQueueError):
    """The task was not accepted: Redis did not take it."""


class PersistFailed(WorkQueueError):
    """The task was not accepted: its row was not written, or that is unknown."""


class BatchFailed(WorkQueueError):
    """The trip that carried this item of a batch failed; `__cause__` says why."""


class KeyReused(WorkQueueError):
    """The idempotency key stands for a request with another body."""


class InvalidKey(WorkQueueError):
    """The idempotency key of a request cannot be one."""


class JobsNotStored(WorkQueueError):
    """There is no DATABASE_URL, and so no rows to read."""


class LeaseLost(WorkQueueError):
    """Redis said that our lease is gone: cancel its jobs; late outcomes are refused once their rows were taken back."""


class LoopEnded(WorkQueueError):
    """The loop of asyncio that handlers run in does not run (any more)."""


class ArtifactRefused(WorkQueueError):
    """The handler attached something that cannot be kept; the text says what and why."""


class CannotStart(WorkQueueError):
    """The machine did not give what a run needs, a thread or a process: nothing of the job has started."""


class InvalidSettings(WorkQueueError):
    """All faults of the environment at once, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class PermanentFailure(WorkQueueError):
    """Raised by a handler: this job will never succeed (a wrong payload, say), so do not retry it."""


SECONDS_MAX = 315_360_000.0  #: ten years


class Retry(WorkQueueError):
    """Raised by a handler: this run has failed; the next one, if there is one left, begins after so many seconds.

    Without `after` it begins when the backoff of the handler says. Raises ValueError for less than 0 seconds.
    """

    def __init__(self, reason: str = "retried by its handler", *, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = None if after is None else _seconds("Retry(after", after)


class Snooze(WorkQueueError):
    """Raised by a handler: the job goes back, and comes again after so many seconds; nothing is counted.

    For a job that finds out that it is too early. Raises ValueError for less than 0 seconds.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"snoozed for {seconds:g} s")
        self.seconds = _seconds("Snooze(seconds", seconds)


class RateLimited(WorkQueueError):
    """Raised by a handler: no job of its type starts for so many seconds; this one goes back, and nothing is counted.

    `group=True`: none of its group instead, where the job has one. For a service that says when it may be asked again.
    Raises ValueError for less than 0 seconds.
    """

    def __init__(self, after: float, *, group: bool = False) -> None:
        super().__init__(f"rate limited for {after:g} s")
        self.after = _seconds("RateLimited(after", after)
        self.group = group


def _seconds(what: str, value: float) -> float:
    if not (isinstance(value, int | float) and 0 <= value <= SECONDS_MAX):
        raise ValueError(f"{what}={value!r}): must be from 0 to {SECONDS_MAX:.0f} seconds")
    return float(value)
