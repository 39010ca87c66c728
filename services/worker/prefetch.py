"""How much to claim ahead. Follows from how long jobs take: time, never a number of jobs."""

import trio

AHEAD_SECONDS = 0.1  #: claimed ahead: what this worker finishes in so long
AHEAD_MAX = 1000
WINDOW_SECONDS = 0.1  #: over which the rate is measured
STALE_SECONDS = 0.2  #: what has waited so long behind a long job goes back


class Prefetch:
    """Measures the rate of finished runs. Jobs of seconds: nothing is claimed ahead; of microseconds: hundreds.

    Mutable state: the rate and the beginning of the window, changed by `target` and `reset`.
    """

    def __init__(self) -> None:
        self._rate = 0.0
        self._since = trio.current_time()
        self._finished = 0

    def target(self, finished: int) -> int:
        """How many jobs may wait claimed, beside those that run; `finished` counts all runs so far."""
        now = trio.current_time()
        if (elapsed := now - self._since) >= WINDOW_SECONDS:
            measured = (finished - self._finished) / elapsed
            self._rate = measured if self._rate == 0 else 0.5 * self._rate + 0.5 * measured
            self._since, self._finished = now, finished
        elif self._rate == 0 and elapsed > 0.005:  # the first jobs after a pause: do not wait for a whole window
            return min(int((finished - self._finished) / elapsed * AHEAD_SECONDS), AHEAD_MAX)
        return min(int(self._rate * AHEAD_SECONDS), AHEAD_MAX)

    def reset(self, finished: int) -> None:
        """Long jobs came after short ones: measure anew."""
        self._rate, self._since, self._finished = 0.0, trio.current_time(), finished
