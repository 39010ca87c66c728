"""The description that a worker writes with each renewal of its lease. Any program may write there: read with care."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

BYTES_MAX = 1 << 20  #: of one worker's description
COUNT_MAX = 2**53  #: browsers can still add numbers up to here

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]


class WorkerState(StrEnum):
    """What a worker is about, as it says itself."""

    WORKING = "working"
    QUIET = "quiet"  #: claims no more, and finishes what runs
    STOPPING = "stopping"


class RunningJob(Struct, frozen=True):
    """A job that a worker runs now."""

    job_id: str = ""
    type: str = ""
    seconds: Seconds = 0.0


class Published(Struct, frozen=True):
    """Another version may leave members out, or have more."""

    name: str = ""
    host: str = ""
    pid: Count = 0
    version: str = ""
    protocol: Count = 1
    oldest: Count = 1  #: protocol of another process beside which it can work
    concurrency: Count = 0
    types: list[str] = []
    running: list[RunningJob] = []
    running_in: dict[str, Count] = {}  #: how many run, by queue
    jobs_done: Count = 0
    jobs_failed: Count = 0
    uptime_seconds: Seconds = 0.0
    state: str = WorkerState.WORKING  #: another version may have more states
    lease_seconds: Seconds = 0.0  #: silent for longer, it has lost its lease or soon will; 0: it did not say


_decoder = msgspec.json.Decoder(Published, strict=False)


def read_published(text: bytes) -> Published | None:
    """None: it cannot be read, because another program wrote it, or a version with another format."""
    if len(text) > BYTES_MAX:
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
