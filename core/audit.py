"""What the audit keeps of an act of a person: who, what, and on which jobs, within bounds."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from workqueue.core.job_filter import JobFilter
from workqueue.core.limits import Limit

IDS_MAX = 100  #: of the jobs or dead letters that were named, so many are kept; all are counted

NAME_LENGTH_MAX = 200


class AuditEntry(Struct, frozen=True):
    """An act that is about to be done."""

    who: str | None  #: the name of the token; None: there are no tokens
    act: str
    target: str  #: the JSON text of an object


def ids_target(ids: Sequence[object]) -> str:
    """The target of an act on what was named."""
    kept = [str(each) for each in ids[:IDS_MAX]]
    return _json({"ids": kept} | ({"more": len(ids) - IDS_MAX} if len(ids) > IDS_MAX else {}))


def filter_target(action_id: object, wanted: JobFilter) -> str:
    """The target of an action: its id, and what of the filter was given."""
    given = {name: value for name, value in asdict(wanted).items() if value is not None}
    if wanted.ids is not None and len(wanted.ids) > IDS_MAX:
        given |= {"ids": wanted.ids[:IDS_MAX], "more_ids": len(wanted.ids) - IDS_MAX}
    return _json({"action": str(action_id), "filter": given})


def action_target(action_id: object) -> str:
    """The target of what is done to an action."""
    return _json({"action": str(action_id)})


def type_target(job_type: str) -> str:
    """The target of what is done to all jobs of a type, present and to come."""
    return _json({"type": job_type})


def queue_target(name: str) -> str:
    """The target of what is done to all jobs of a queue."""
    return _json({"queue": name})


def schedule_target(name: str) -> str:
    """The target of what is done to a schedule."""
    return _json({"schedule": name})


def limit_target(scope: str, limit: Limit | None = None) -> str:
    """The target of what is done to the limit of a scope; `limit`: the one that it is given."""
    return _json({"scope": scope} | ({} if limit is None else {"limit": limit}))


def worker_target(worker_id: object, name: str) -> str:
    """The target of what a worker is asked: its id, which soon says nothing to a person, and its name."""
    return _json({"worker": str(worker_id), "name": name[:NAME_LENGTH_MAX]})


def all_target() -> str:
    """The target of an act on all that there are."""
    return _json({"all": True})


def _json(value: dict[str, object]) -> str:
    return msgspec.json.encode(value).decode()
