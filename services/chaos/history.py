"""The record of all faults, with their times: it explains, or does not, why a job ran twice. Pure.

Times are seconds of the machine's monotonic clock, which all of its processes share.
"""

from collections.abc import Iterable

from msgspec import Struct


class Stretch(Struct):
    """From, until; inf while it lasts."""

    begun: float
    ended: float = float("inf")

    def touches(self, begun: float, ended: float) -> bool:
        return self.begun <= ended and begun <= self.ended


class Life(Stretch):
    """One process of ours from its start to its end."""

    name: str = ""
    pid: int = 0
    asked_at: float | None = None  #: when it got a signal to end from us
    killed: bool = False  #: by us, kill -9
    status: int | None = None


class Trouble(Stretch):
    """A time in which something between a process and a server, or the server itself, did not work."""

    kind: str = ""
    server: str = ""  #: Redis | Postgres
    process: str = ""  #: whose link; "": the server's own trouble, everybody's


class Stop(Stretch):
    """SIGSTOP to SIGCONT."""

    name: str = ""
    pid: int = 0


class History(Struct):
    """Mutable state: each fault and process appends its own record."""

    lives: list[Life] = []
    stops: list[Stop] = []
    troubles: list[Trouble] = []
    losses: list[float] = []  #: when Redis lost all that it had, or may have lost its last second
    counts: dict[str, int] = {}  #: kind of fault -> how often it struck
    told: list[str] = []  #: one line a fault, for people

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def life(self, pid: int, at: float) -> Life | None:
        """The process that had this pid at that time."""
        found = [life for life in self.lives if life.pid == pid and life.begun <= at + 1]
        return max(found, key=lambda life: life.begun, default=None)


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same times without overlaps, in order."""
    result: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda stretch: stretch.begun):
        if result and stretch.begun <= result[-1].ended:
            result[-1].ended = max(result[-1].ended, stretch.ended)
        else:
            result.append(Stretch(stretch.begun, stretch.ended))
    return result
