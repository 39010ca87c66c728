"""How one attempt ended, and what that means for the job. Pure."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from workqueue.core.job import Artifact, RunOutcome
from workqueue.core.policies import Backoff


class Complete(Struct, frozen=True, gc=False):
    """The handler returned, so the job is done: how the attempt ended, and what follows from it."""

    result: bytes  #: JSON text
    artifacts: Sequence[Artifact] = ()


class Failed(Struct, frozen=True, gc=False):
    """The handler raised, or what it returned cannot be kept."""

    error: str  #: `Class: text`
    traceback: str | None = None
    permanent: bool = False  #: no retry will help
    delay_ms: int | None = None  #: the handler says when the next run begins


class Snoozed(Struct, frozen=True):
    """The handler has put the job off: it goes back, and nothing is counted."""

    delay_ms: int


class Paused(Struct, frozen=True):
    """The handler has found that its type, or its group, has to pause: the job goes back, and nothing is counted."""

    delay_ms: int
    group: bool = False


class TimedOut(Struct, frozen=True):
    """The handler took longer than it may."""

    seconds: float


class Interrupted(Struct, frozen=True):
    """It had started and was cancelled by us: a stop, or a lost lease. Not the job's fault."""

    reason: str = "its worker stopped"


class Cancelled(Struct, frozen=True):
    """A person has cancelled the job, and the run was ended for it, or never began."""

    error: str = "cancelled"


class NotStarted(Struct, frozen=True):
    """It was claimed and goes back untouched, to be claimed again after `delay_ms`."""

    delay_ms: int = 0
    lacking: str = ""  #: what the machine did not give, where that is why


Outcome = Complete | Failed | Snoozed | Paused | TimedOut | Interrupted | Cancelled | NotStarted


class Fail(Struct, frozen=True, gc=False):
    """The job has failed for good."""

    error: str
    outcome: RunOutcome
    traceback: str | None = None


class Cancel(Struct, frozen=True, gc=False):
    """The job ends cancelled."""

    error: str


class Retry(Struct, frozen=True, gc=False):
    """The job failed and runs again after a backoff; this failure counts."""

    error: str
    outcome: RunOutcome
    traceback: str | None = None
    delay_ms: int | None = None  #: None: after a backoff
    backoff: Backoff | None = None  #: of its handler


class GiveBack(Struct, frozen=True):
    """The job goes back; `interrupted` says whether that was a run."""

    interrupted: bool
    delay_ms: int = 0
    pauses: Literal["type", "group"] | None = None  #: for so long, what starts no other job either


Verdict = Complete | Fail | Cancel | Retry | GiveBack


def decide(
    outcome: Outcome,
    *,
    failures: int,
    retries: int,
    interruptions: int = 0,
    max_interruptions: int = 1_000_000,
    backoff: Backoff | None = None,
) -> Verdict:
    """What a finished attempt means for its job; `failures` and `interruptions` count those before this attempt.

    `backoff`: what its handler asks for. A job that outlasts every stop would go from worker to worker for ever: at
    `max_interruptions` it has failed.
    """
    if isinstance(outcome, Complete):  # nearly always: the patterns below would cost a short job a tenth more
        return outcome
    delay_ms: int | None = None
    match outcome:
        case Failed(error, traceback, permanent, delay_ms):  # first: each class that is asked for in vain takes 0.1 us
            again, name = failures < retries and not permanent, RunOutcome.FAILED
        case Interrupted() if interruptions + 1 < max_interruptions:
            return GiveBack(interrupted=True)
        case Interrupted():
            again, name, traceback = False, RunOutcome.INTERRUPTED, None
            error = f"interrupted {interruptions + 1} times by the stop of its worker"
        case Cancelled(error):
            return Cancel(error)
        case Paused(put_off_ms, group):
            return GiveBack(interrupted=False, delay_ms=put_off_ms, pauses="group" if group else "type")
        case NotStarted(put_off_ms) | Snoozed(put_off_ms):
            return GiveBack(interrupted=False, delay_ms=put_off_ms)
        case TimedOut(seconds):
            again, name, traceback = failures < retries, RunOutcome.TIMED_OUT, None
            error = f"timed out after {seconds:g} s"
    return Retry(error, name, traceback, delay_ms, backoff) if again else Fail(error, name, traceback)
