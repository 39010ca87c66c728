"""What a client raises. Each text is one sentence that a person can act upon."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from workqueue.client.jobs import JobInfo


class ClientError(Exception):
    """Any of the below."""


class Refused(ClientError):
    """The producer does not take it, and would not the next time: the text says why. Nothing was changed."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status  #: of HTTP


class NotAllowed(Refused):
    """A token is asked for, or this one may not do that."""


class Unavailable(ClientError):
    """No answer within the deadline. An act may have been carried out, unless it is a NotEnqueued."""


class NotEnqueued(Unavailable):
    """The producer could not be reached within the deadline. No job was accepted."""


class MaybeEnqueued(Unavailable):
    """It was sent, and there was no answer within the deadline: the job may have been accepted.

    `idempotency_key`: enqueue the same again with it, and there will be one job at most. None: of `enqueue_many`, whose
    jobs have none; `answered` says how many items were answered before, and none behind the lost request was sent.
    """

    def __init__(self, text: str, idempotency_key: str | None = None, answered: int = 0) -> None:
        super().__init__(text)
        self.idempotency_key = idempotency_key
        self.answered = answered


class _Ended(ClientError):
    def __init__(self, text: str, job: JobInfo) -> None:
        super().__init__(text)
        self.job = job


class JobFailed(_Ended):
    """The job that was waited for has failed; the text has its last error."""


class JobCancelled(_Ended):
    """The job that was waited for was cancelled."""


class StillRunning(ClientError):
    """The job that was waited for has not ended in time. It goes on."""

    def __init__(self, job_id: UUID, seconds: float, status: str) -> None:
        super().__init__(f"job {job_id} has not ended within {seconds:g} s: it is {status}")
        self.job_id = job_id
        self.status = status
