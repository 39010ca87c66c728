"""Failures of jobs in the log: a line each, with the traceback where it is new, as long as they are few."""

import logging

import trio

from workqueue.core.outcome import Fail, Retry
from workqueue.core.steps.lease import ClaimedTask

log = logging.getLogger(__name__)

LINES_MAX = 20  #: a second; further failures are counted, and have their errors in the rows or the dead letters
WINDOW_SECONDS = 1.0
SHOWN_LENGTH_MAX = 500  #: of an error's text
TRACEBACK_SECONDS = 60.0  #: the same traceback is shown again after so long
TRACEBACKS_MAX = 100  #: that are remembered


class FailureLog:
    """Mutable state: since when it counts, how many lines were written and how many failures got none since then; which
    tracebacks were shown, and when.
    """

    def __init__(self) -> None:
        self._since = trio.current_time()
        self._written = 0
        self._omitted = 0
        self._shown: set[tuple[str, str]] = set()
        self._shown_since = self._since

    def tell(self, level: int, what: str, held: ClaimedTask, verdict: Fail | Retry) -> None:
        """One line with the job's id and the handler's traceback, unless that was shown lately; none beyond
        LINES_MAX."""
        if self._written >= LINES_MAX:
            self._omitted += 1
            return
        self._written += 1
        error = verdict.error
        if len(error) > SHOWN_LENGTH_MAX:
            error = f"{error[:SHOWN_LENGTH_MAX]}..."
        log.log(level, "job %s (%s) %s: %s", held.job_id, held.task.type, what, error,
                extra={"traceback": self._if_new(held.task.type, verdict.traceback)})  # fmt: skip

    def _if_new(self, job_type: str, traceback: str | None) -> str | None:
        if traceback is None:
            return None
        now = trio.current_time()
        if now - self._shown_since > TRACEBACK_SECONDS or len(self._shown) >= TRACEBACKS_MAX:
            self._shown, self._shown_since = set(), now
        # The frames alone: the error's text has numbers and names in it, and differs each time.
        place = job_type, "\n".join(line for line in traceback.split("\n") if line.startswith("  "))
        if place in self._shown:
            return None
        self._shown.add(place)
        return traceback

    def tell_rest(self, *, at_once: bool = False) -> None:
        """Log how many failures got no line, once a second has passed, and count anew; `at_once`: the worker ends."""
        if trio.current_time() - self._since < WINDOW_SECONDS and not at_once:
            return
        if self._omitted:
            log.warning("%d more failures in %.1f s are not shown one by one", self._omitted,
                        trio.current_time() - self._since)  # fmt: skip
        self._since, self._written, self._omitted = trio.current_time(), 0, 0
