"""The way from a running job back to its worker (core.job.RunContext)."""

from msgspec import Struct


class WorkerContext(Struct, frozen=True):
    """One for all jobs of a worker."""

    keeps_artifacts: bool
