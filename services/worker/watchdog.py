"""Names the handler that blocks the loop, and ends a worker that makes no progress, so that it is replaced."""

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

import trio
from msgspec import Struct

from workqueue.services.logs import printable
from workqueue.services.worker.heartbeats import Heartbeats

log = logging.getLogger(__name__)

BLOCKED_SECONDS = 1.0  #: a loop that is blocked for longer is reported
ASLEEP_SECONDS = 5.0  #: a gap this long between two looks: the process was stopped as a whole (SIGSTOP, a laptop's lid)
REPORT_SECONDS = 5.0  #: for the last words; a blocked standard error must not keep the process alive
EXIT_STATUS = 70
STACK_MAX = 12  #: frames that are shown, the innermost ones
LOOP = "loop"  #: the event loop itself
LEASE = "lease"  #: the thread that keeps the lease


class Blockages(Struct):
    """What was seen since the start."""

    blocked: int = 0  #: how often the loop was blocked
    blocked_seconds: float = 0.0


class Watchdog:
    """Looks at the heartbeats about each second, from the lease thread: outside of the loop that it watches.

    Mutable state: when it looked last, since when the process has been awake, and how long the loop is blocked now.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        *,
        limit_seconds: float,
        describe: Callable[[], str],
        job_in: Callable[[Sequence[FrameType]], str | None],
        end: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Made on the loop's thread. `describe` names the jobs that run, `job_in` the one whose handler is in a stack.

        Both, and `end`, are called in the thread that looks.
        """
        self._heartbeats = heartbeats
        self._limit = limit_seconds
        self._describe = describe
        self._job_in = job_in
        self._end = end
        self._clock = clock
        self._loop_thread = threading.get_ident()
        self._looked_at = self._awake_since = clock()
        self._blocked_for = 0.0
        self.counts = Blockages()

    async def beat(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Give the loop's own sign of life, and watch the lease thread in turn, until cancelled."""
        with self._heartbeats.service(LOOP) as heartbeat:
            task_status.started()
            last = self._clock()
            while True:
                heartbeat(0.0)
                last = self._looked(last)
                if LEASE in (overdue := self._heartbeats.overdue(self._limit)) and self._awake() > self._limit:
                    self._replace({LEASE: overdue[LEASE]})  # the thread that looks makes no progress itself
                await trio.sleep(0.2)

    def look(self) -> None:
        """Report a blocked loop; end the process when a service gives no sign of life beyond the limit."""
        self._looked_at = self._looked(self._looked_at)
        awake = self._awake()
        if awake > self._limit and (overdue := self._heartbeats.overdue(self._limit)):
            self._replace(overdue)
        self._report(min(self._heartbeats.overdue(BLOCKED_SECONDS).get(LOOP, 0.0), awake))

    def _looked(self, last: float) -> float:
        now = self._clock()
        if now - last > ASLEEP_SECONDS:
            self._awake_since = now  # the whole process was stopped: every service gets time to wake
        return now

    def _awake(self) -> float:
        return self._clock() - self._awake_since

    def _report(self, seconds: float) -> None:
        if seconds > BLOCKED_SECONDS:
            if not self._blocked_for:
                self.counts.blocked += 1
                stack = self._stack()
                shown = traceback.StackSummary.extract(((frame, frame.f_lineno) for frame in stack), lookup_lines=False)
                # A child task's frames do not name its job.
                culprit = self._job_in(stack) or f"a task of one of these: {self._describe()}"
                # In a thread of its own: the loop may be blocked because it writes to the log.
                with suppress(RuntimeError):  # the machine gives no thread
                    threading.Thread(target=_log_blockage, args=(seconds, culprit, shown), daemon=True).start()
            self.counts.blocked_seconds += seconds - self._blocked_for
            self._blocked_for = seconds
        else:
            self._blocked_for = 0.0

    def _stack(self) -> list[FrameType]:
        """The frames of the loop's thread, the outermost first."""
        frame = sys._current_frames().get(self._loop_thread)
        stack = []
        while frame is not None:
            stack.append(frame)
            frame = frame.f_back
        return stack[::-1]

    def _replace(self, overdue: dict[str, float]) -> None:
        def report() -> None:
            names = {LOOP: overdue[LOOP]} if LOOP in overdue else overdue  # a blocked loop holds up every service
            shown = ", ".join(f"{name} for {seconds:.0f} s" for name, seconds in names.items())
            sys.stderr.write(
                f"no progress in {shown}; running: {printable(self._describe())}. This worker ends to be replaced\n"
            )
            sys.stderr.flush()
            faulthandler.dump_traceback(all_threads=True)

        last_words = threading.Thread(target=report, daemon=True)
        with suppress(RuntimeError):  # the machine gives no thread
            last_words.start()
            last_words.join(REPORT_SECONDS)
        self._end(EXIT_STATUS)


def _log_blockage(seconds: float, culprit: str, stack: traceback.StackSummary) -> None:
    log.error(
        "the loop was blocked for %.1f s by %s. Blocking work belongs in a plain function, which gets a thread",
        seconds, culprit, extra={"traceback": "".join(stack.format()[-STACK_MAX:])},
    )  # fmt: skip
