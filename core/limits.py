"""Limits: how many jobs of a type or of a group may run at once, and how many may start in a time. Pure.

A limit is known by its scope: `type:X`, `group:X`, or `groups`, which is that of each group without one of its own.
Postgres decides where there is one; Redis has a copy, which every claim asks (core/queue/scripts/_lanes.lua).
"""

import math
import re
from collections.abc import Mapping

from msgspec import Struct

from workqueue.core.errors import InvalidOption
from workqueue.core.options import GROUP_MAX

RUNNING_MAX = 1_000_000
RATE_MAX = 1_000_000
PER_SECONDS_MAX = 31_536_000.0  #: a year
TYPES_MAX = 100  #: limited types: each claim brings their names
GROUPS_MAX = 10_000  #: limited groups
TYPE_LENGTH_MAX = 200
GROUPS = "groups"  #: the scope of each group without a limit of its own
TOLERANCE = 0.04  #: of the period of a rate: so much of the rate may start at once, and is not used in the long run

_RATE = re.compile(r"([0-9]{1,7})/([0-9]{0,8}(?:\.[0-9]{1,6})?)([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Limit(Struct, frozen=True, omit_defaults=True):
    """What holds for a scope; None: that is not limited."""

    running: int | None = None  #: so many at once, on all workers together
    rate: int | None = None  #: so many starts
    per_seconds: float = 1.0  #: in any time of this length

    @property
    def tolerance_us(self) -> int:
        """Microseconds that a start may be early, after a time in which none could be made, or made late."""
        return 0 if self.rate is None else int(self.per_seconds * 1e6 * TOLERANCE)

    @property
    def interval_us(self) -> int:
        """Microseconds between two starts, in the long run; 0: no rate.

        GCRA (ITU-T I.371) lets at most ceil((period + tolerance) / interval) start in any time shorter than the period:
        so the interval is a little longer than the rate says, and no time has more than `rate` starts.
        """
        return 0 if self.rate is None else math.ceil((self.per_seconds * 1e6 + self.tolerance_us) / self.rate)


class Limits(Struct, frozen=True):
    """All limits of an installation. Of two the one with the greater version is true; 0: there never was one."""

    version: int = 0
    of: Mapping[str, Limit] = {}  #: by scope, as persons have set them
    declared: Mapping[str, Limit] = {}  #: by scope, as the code of the workers does; a person's goes before it

    @property
    def effective(self) -> dict[str, Limit]:
        """What holds, by scope."""
        return {**self.declared, **self.of}


NONE = Limits()


def check_scope(scope: str) -> str:
    """The scope itself. Raises InvalidOption where there can be none of this name."""
    kind, _, name = scope.partition(":")
    most = {"type": TYPE_LENGTH_MAX, "group": GROUP_MAX}.get(kind, 0)
    if scope != GROUPS and not (0 < len(name) <= most and "\0" not in name):
        raise InvalidOption("scope is not valid")
    return scope


def make_limit(running: object = None, rate: object = None, per_seconds: object = None) -> Limit:
    """As a request or a handler says it. Raises InvalidOption, which names what is not valid."""
    if running is not None and not (_is_whole(running) and 1 <= running <= RUNNING_MAX):  # type: ignore[operator]
        raise InvalidOption("running is not valid")
    if rate is not None and not (_is_whole(rate) and 1 <= rate <= RATE_MAX):  # type: ignore[operator]
        raise InvalidOption("rate is not valid")
    if per_seconds is not None and (rate is None or not _is_period(per_seconds)):
        raise InvalidOption("per_seconds is not valid")
    if running is None and rate is None:
        raise InvalidOption("running or rate is required")
    return Limit(running, rate, 1.0 if per_seconds is None else float(per_seconds))  # type: ignore[arg-type]


def read_rate(text: object) -> tuple[int, float]:
    """`100/60s`, `5/m`: how many, in how many seconds. Raises InvalidOption."""
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidOption("rate is not valid")
    limit = make_limit(rate=int(match[1]), per_seconds=float(match[2] or 1) * _UNITS[match[3]])
    return limit.rate or 0, limit.per_seconds


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_period(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0.001 <= value <= PER_SECONDS_MAX
