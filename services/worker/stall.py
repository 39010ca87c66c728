"""What makes no progress: a handler that blocks the loop is named, and a worker that stands still is replaced."""

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import trio
from msgspec import Struct

from workqueue.services.logs import printable
from workqueue.services.worker.beats import Beats
from workqueue.services.worker.slot import Slot

log = logging.getLogger(__name__)

BLOCKED_SECONDS = 1.0  #: a loop that stands still for longer is told of
ASLEEP_SECONDS = 5.0  #: who looks each second and did not for so long was stopped as a whole (SIGSTOP, a laptop's lid)
REPORT_SECONDS = 5.0  #: for the last words; whoever blocks our standard error must not keep us alive
EXIT_STATUS = 70
STACK_MAX = 12  #: frames that are shown, the innermost ones
LOOP = "loop"  #: the event loop itself
LEASE = "lease"  #: the thread that keeps the lease


class Stalls(Struct):
    """What was seen since the start."""

    blocked: int = 0  #: how often the loop stood still
    blocked_seconds: float = 0.0


class Stall:
    """Looks at the signs of life, about each second and from outside of the loop.

    Mutable state: when it looked last, since when it has been awake, and the stall that it sees at the moment.
    """

    def __init__(
        self,
        beats: Beats,
        *,
        limit_seconds: float,
        describe: Callable[[], str],
        end: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Made on the loop's thread. `describe` names the jobs that run; `end` is called in the thread that looks."""
        self._beats = beats
        self._limit = limit_seconds
        self._describe = describe
        self._end = end
        self._clock = clock
        self._loop_thread = threading.get_ident()
        self._looked_at = self._awake_since = clock()
        self._blocked_for = 0.0
        self.counts = Stalls()

    async def beat(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The loop's own sign of life, until cancelled."""
        with self._beats.service(LOOP) as alive:
            task_status.started()
            last = self._clock()
            while True:
                alive(0.0)
                last = self._looked(last)
                if LEASE in (silent := self._beats.silent(self._limit)) and self._awake() > self._limit:
                    self._replace({LEASE: silent[LEASE]})  # the thread that looks stands still itself
                await trio.sleep(0.2)

    def look(self) -> None:
        """Tell of a loop that stands still; end the process when something stands still beyond the limit."""
        self._looked_at = self._looked(self._looked_at)
        awake = self._awake()
        if awake > self._limit and (silent := self._beats.silent(self._limit)):
            self._replace(silent)
        self._tell(min(self._beats.silent(BLOCKED_SECONDS).get(LOOP, 0.0), awake))

    def _looked(self, last: float) -> float:
        now = self._clock()
        if now - last > ASLEEP_SECONDS:
            self._awake_since = now  # we stood still ourselves: give everybody time to wake
        return now

    def _awake(self) -> float:
        return self._clock() - self._awake_since

    def _tell(self, seconds: float) -> None:
        if seconds > BLOCKED_SECONDS:
            if not self._blocked_for:
                self.counts.blocked += 1
                stack = self._stack()
                shown = traceback.StackSummary.extract(((frame, frame.f_lineno) for frame in stack), lookup_lines=False)
                # In a thread of its own: the loop may stand still because it writes to the log.
                with suppress(RuntimeError):  # the machine gives no thread
                    threading.Thread(target=_say, args=(seconds, self._culprit(stack), shown), daemon=True).start()
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

    def _culprit(self, stack: list[FrameType]) -> str:
        for frame in stack:
            slot = frame.f_locals.get("self")
            if isinstance(slot, Slot) and (attempt := slot.attempt) is not None:
                return f"job {attempt.job.id} ({attempt.job.type})"
        return f"a task of one of {self._describe()}"  # a child task: its own frames do not name its job

    def _replace(self, silent: dict[str, float]) -> None:
        def report() -> None:
            names = {LOOP: silent[LOOP]} if LOOP in silent else silent  # where the loop stands still, all of them do
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


def _say(seconds: float, culprit: str, stack: traceback.StackSummary) -> None:
    log.error(
        "the loop has stood still for %.1f s in %s. Blocking work belongs into a plain function, which gets a thread",
        seconds, culprit, extra={"traceback": "".join(stack.format()[-STACK_MAX:])},
    )  # fmt: skip
