"""How long to wait before the next try of one thing: a server or process that is away. (Of a failed job: policies.py.)

Pure: the random source comes from outside, so that a test can ask for the extremes.
"""

from random import Random


class Pauses:
    """Pauses between tries of one thing: each twice as long as the one before, up to a cap.

    Mutable state: the next pause.
    """

    def __init__(
        self, first_seconds: float, cap_seconds: float, *, jitter: float = 0.0, random: Random | None = None
    ) -> None:
        """`jitter`: the share of a pause that is left to chance, so that a hundred processes do not try in step."""
        self._first = first_seconds
        self._cap = cap_seconds
        self._jitter = jitter
        self._random = random or _random
        self._next = first_seconds

    def next(self) -> float:
        """Seconds to wait now."""
        pause, self._next = self._next, min(self._next * 2, self._cap)
        return pause if not self._jitter else pause * self._random.uniform(1.0 - self._jitter, 1.0)

    def reset(self) -> None:
        """It has worked: the next pause is the first one again."""
        self._next = self._first


_random = Random()  # noqa: S311 - jitter, no secret
