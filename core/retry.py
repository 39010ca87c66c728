"""How long a failed job waits. Pure: takes its random source, so a test can ask for the extremes."""

from random import Random

from msgspec import Struct


class RetryPolicy(Struct, frozen=True):
    """Bounds of the wait between two attempts of one job."""

    base_seconds: float = 1.0
    cap_seconds: float = 3600.0


def backoff(failures: int, policy: RetryPolicy, random: Random) -> float:
    """Seconds to wait after failure number `failures` (1 = the first).

    Full jitter: uniform between 0 and the exponential bound, so that a thousand jobs that failed
    together do not come back together. After AWS Architecture Blog, "Exponential Backoff And Jitter".
    """
    exponent = min(failures - 1, 62)  # 2.0 ** 1024 would raise OverflowError
    return random.uniform(0.0, min(policy.cap_seconds, policy.base_seconds * 2.0**exponent))
