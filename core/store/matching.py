"""The parameters of a filter of jobs, as _among.sql and _matching.sql take them."""

from msgspec.structs import asdict

from workqueue.core.job_filter import JobFilter, StatusFilter

ENDED_BADLY = frozenset({StatusFilter.FAILED, StatusFilter.CANCELLED})


def bound(wanted: JobFilter, *, ended_badly: bool = False) -> dict[str, object]:
    """`ended_badly`: only jobs that failed or were cancelled are meant, whatever the filter says."""
    values = asdict(wanted)
    values["in_queue"] = values.pop("queue")  # `queue` is the installation
    values["in_group"] = values.pop("group")
    if wanted.error is not None:
        values["error"] = f"%{_escaped(wanted.error)}%"
    values["ended_badly"] = ended_badly or wanted.status in ENDED_BADLY
    values["again"] = wanted.status == StatusFilter.RETRYING
    values["timed"] = wanted.status == StatusFilter.SCHEDULED
    return values


def _escaped(text: str) -> str:
    """As LIKE takes it literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
