"""A job as a handler gets it."""

from uuid import uuid4

from core.job import Job


def job(payload: dict[str, object], *, keeps_artifacts: bool = True) -> Job:
    return Job(id=str(uuid4()), type="x", payload=payload, attempt=1, retries=0, keeps_artifacts=keeps_artifacts)
