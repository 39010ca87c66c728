"""Wishes: what a person has asked of this worker: to claim no more, to go on, to stop."""

import logging
from collections.abc import Callable

from workqueue.core.control import Wish
from workqueue.services.published import WorkerState

log = logging.getLogger(__name__)

QUIET = "quiet: it was asked to claim no more. `workqueue workers resume`, or a new start, ends that"


class Wishes:
    """One for each worker. Each wish comes more than once: in a message, and with every renewal of the lease.

    Mutable state: `state`, changed on the Trio thread.
    """

    def __init__(self, changed: Callable[[], None], stop: Callable[[], None]) -> None:
        """`changed` is called after each change of `state`; `stop` where a stop is asked for, as by SIGTERM."""
        self._changed = changed
        self._stop = stop
        self.state = WorkerState.WORKING

    def hear(self, wish: str) -> None:
        """Do it, unless it is done. What is unknown is passed over; once it stops, nothing else counts."""
        match wish:
            case Wish.QUIET if self.state is WorkerState.WORKING:
                log.info("asked to be quiet: no job is claimed until it is asked to resume, or started anew")
                self._become(WorkerState.QUIET)
            case Wish.RESUME if self.state is WorkerState.QUIET:
                log.info("asked to resume: jobs are claimed again")
                self._become(WorkerState.WORKING)
            case Wish.STOP if self.state is not WorkerState.STOPPING:
                log.info("asked to stop")
                self._stop()

    def stopping(self) -> None:
        """A stop has begun, by a signal or a wish."""
        self._become(WorkerState.STOPPING)

    def _become(self, state: WorkerState) -> None:
        self.state = state
        self._changed()
