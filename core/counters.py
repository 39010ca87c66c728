"""The three counters of a job."""

from msgspec import Struct


class Counters(Struct, frozen=True, gc=False):
    """How its runs so far have ended; the number of its next run is their sum + 1."""

    attempts: int = 0  #: failures, the last one included
    recoveries: int = 0  #: runs whose worker died
    interruptions: int = 0  #: runs that were given back by a stop

    @property
    def run(self) -> int:
        return self.attempts + self.recoveries + self.interruptions + 1


NEVER_RUN = Counters()
