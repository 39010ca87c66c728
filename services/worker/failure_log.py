"""Failures of jobs in the log: each with its traceback, as long as they are few enough to be read."""

import logging

import trio

from core.outcome import Bury, Retry
from core.steps.lease import Held

log = logging.getLogger(__name__)

LINES_MAX = 20  #: a second; what goes beyond is counted, and has its error in the row or the dead letters
WINDOW_SECONDS = 1.0


class FailureLog:
    """Mutable state: since when we count, how many lines were written since, and how many failures were not told."""

    def __init__(self) -> None:
        self._since = trio.current_time()
        self._told = 0
        self._untold = 0

    def tell(self, level: int, what: str, held: Held, verdict: Bury | Retry) -> None:
        """One line with the job's id and the handler's traceback, unless there were many just now."""
        if self._told >= LINES_MAX:
            self._untold += 1
            return
        self._told += 1
        log.log(level, "job %s (%s) %s: %s", held.job_id, held.task.type, what, verdict.error,
                extra={"traceback": verdict.traceback})  # fmt: skip

    def tell_rest(self, *, at_once: bool = False) -> None:
        """Called now and then: how many were not told, and begin to count anew; `at_once`: we end."""
        if trio.current_time() - self._since < WINDOW_SECONDS and not at_once:
            return
        if self._untold:
            log.warning("%d more failures in %.1f s are not shown one by one", self._untold,
                        trio.current_time() - self._since)  # fmt: skip
        self._since, self._told, self._untold = trio.current_time(), 0, 0
