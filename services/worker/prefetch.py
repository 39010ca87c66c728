"""How many jobs to claim ahead. Derived from the duration of jobs and claims: a time, never a number of jobs."""

import trio

AHEAD_SECONDS = 0.1  #: claimed ahead: what this worker finishes in so long, or in two claims where they take longer
AHEAD_SECONDS_MAX = 1.0
AHEAD_MAX = 1000
WINDOW_SECONDS = 0.1  #: over which the rate is measured
STALE_AHEADS = 2  #: a job that has waited so many times longer behind a long job goes back


class Prefetch:
    """Measures the rate of finished runs. Jobs of seconds: nothing is claimed ahead; of microseconds: hundreds.

    Mutable state: the rate, the beginning of the window, and how long a claim takes; changed by `target`, `reset` and
    `claimed`.
    """

    def __init__(self) -> None:
        self._rate = 0.0
        self._since = trio.current_time()
        self._finished = 0
        self._claim_seconds = 0.0

    def claimed(self, seconds: float) -> None:
        """A claim took so long. A worker that claims less than that ahead waits (a busy machine, a far Postgres): it
        then finishes less, claims even less ahead, and waits longer.
        """
        self._claim_seconds += 0.2 * (seconds - self._claim_seconds)

    @property
    def ahead_seconds(self) -> float:
        return min(max(AHEAD_SECONDS, 2 * self._claim_seconds), AHEAD_SECONDS_MAX)

    @property
    def stale_seconds(self) -> float:
        """A job that has waited so long behind a long job goes back."""
        return STALE_AHEADS * self.ahead_seconds

    def target(self, finished: int) -> int:
        """How many jobs may wait claimed, beside those that run; `finished` counts all runs so far."""
        now = trio.current_time()
        if (elapsed := now - self._since) >= WINDOW_SECONDS:
            measured = (finished - self._finished) / elapsed
            self._rate = measured if self._rate == 0 else 0.5 * self._rate + 0.5 * measured
            self._since, self._finished = now, finished
        elif self._rate == 0 and elapsed > 0.005:  # the first jobs after a pause: do not wait for a whole window
            return min(int((finished - self._finished) / elapsed * self.ahead_seconds), AHEAD_MAX)
        return min(int(self._rate * self.ahead_seconds), AHEAD_MAX)

    def reset(self, finished: int) -> None:
        """Long jobs came after short ones: measure anew."""
        self._rate, self._since, self._finished = 0.0, trio.current_time(), finished
