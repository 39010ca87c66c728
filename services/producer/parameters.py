"""The queries of the lists, read strictly: an unknown parameter or value is refused, never ignored."""

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

from msgspec import Struct
from werkzeug.datastructures import MultiDict

from workqueue.core.job_filter import ERROR_LENGTH_MAX, JobFilter, PayloadMatch, StatusFilter
from workqueue.core.options import GROUP_MAX, is_queue_name
from workqueue.core.schedules import is_name
from workqueue.core.wire import TYPE_LENGTH_MAX
from workqueue.services.http.responses import Refused
from workqueue.services.producer.openapi import Parameter
from workqueue.services.producer.views import read_cursor, read_dead_cursor, read_job_id

LIMIT_DEFAULT, LIMIT_MAX = 50, 500
WRONG_CURSOR = "cursor: must be one from the Link header of an answer"


def _limit_of(description: str) -> Parameter:
    integer = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}
    return Parameter("limit", "query", {"anyOf": [integer, {"const": ""}], "default": LIMIT_DEFAULT}, description)


_MOMENT = {"anyOf": [{"type": "string", "format": "date-time"}, {"const": ""}]}
CURSOR = Parameter("cursor", "query", {"type": "string"}, "from the Link header of the page before")
#: The query of GET /api/jobs; an empty value counts as absent.
FILTER = (
    Parameter(
        "status",
        "query",
        {"type": "string", "enum": [*StatusFilter, ""]},
        "only jobs in this state; scheduled and retrying are parts of pending: what waits for its first time, and what "
        "waits after a failure",
    ),
    Parameter("type", "query", {"type": "string", "maxLength": TYPE_LENGTH_MAX}, "only this type"),
    Parameter("queue", "query", {"type": "string", "maxLength": 64}, "only this queue"),
    Parameter("group", "query", {"type": "string", "maxLength": GROUP_MAX}, "only this group"),
    Parameter("created_after", "query", _MOMENT, "only jobs that were accepted then or later"),
    Parameter("created_before", "query", _MOMENT, "only jobs that were accepted before"),
    Parameter(
        "error",
        "query",
        {"type": "string", "maxLength": ERROR_LENGTH_MAX},
        "only jobs whose error has this in it, in capitals or not",
    ),
    Parameter(
        "count",
        "query",
        {"type": "string", "enum": ["capped", ""]},
        "capped: X-Total-Count says how many jobs match; with a + behind it where there are more, or may be",
    ),
    _limit_of("jobs a page"),
    CURSOR,
)
FILTER_NAMES = tuple(parameter.name for parameter in FILTER)
PAYLOAD = "payload."  #: begins the names of further ones, at most PAYLOAD_MATCHES_MAX: payload.user.id=7
PAYLOAD_MATCHES_MAX = 5
PATH_LENGTH_MAX = 200
VALUE_LENGTH_MAX = 1000
#: The query of GET /api/dead.
DEAD_PAGE = (_limit_of("dead letters a page; fewer where they are large"), CURSOR)
DEAD_PAGE_NAMES = tuple(parameter.name for parameter in DEAD_PAGE)
#: The query of GET /api/jobs/<id>/runs.
BEFORE = Parameter(
    "before",
    "query",
    {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 999_999_999}, {"const": ""}]},
    "only runs with a lower number",
)
#: The query of GET /api/jobs/<id>/logs.
LOG_NUMBER_MAX = 2**53
AFTER = Parameter(
    "after",
    "query",
    {"anyOf": [{"type": "integer", "minimum": 0, "maximum": LOG_NUMBER_MAX}, {"const": ""}]},
    "only lines with a higher number",
)
#: The query of GET /api/stats: range -> seconds of a bucket, how many of them.
RANGES = {"15m": (60, 15), "1h": (60, 60), "24h": (600, 144), "7d": (3600, 168)}
STATS = (
    Parameter("range", "query", {"type": "string", "enum": [*RANGES, ""], "default": "1h"}, "how far back"),
    Parameter("type", "query", {"type": "string", "maxLength": TYPE_LENGTH_MAX}, "only this type"),
)
STATS_NAMES = tuple(parameter.name for parameter in STATS)
#: The query of GET /api/audit.
AUDIT_ID_MAX = 2**53
AUDIT_PAGE = (
    _limit_of("acts a page"),
    Parameter(
        "before",
        "query",
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": AUDIT_ID_MAX}, {"const": ""}]},
        "only acts with a lower id",
    ),
)
AUDIT_PAGE_NAMES = tuple(parameter.name for parameter in AUDIT_PAGE)
SCHEDULE_PAGE = (
    _limit_of("schedules a page"),
    Parameter("after", "query", {"type": "string"}, "only those behind this name; from the Link of the page before"),
)
SCHEDULE_PAGE_NAMES = tuple(parameter.name for parameter in SCHEDULE_PAGE)
#: The query of GET /api/events.
EVENT_JOBS_MAX = 20
EVENT_ID_MAX = 2**53
_EVENT_ID = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": EVENT_ID_MAX}, {"const": ""}]}
EVENTS = (
    Parameter(
        "job",
        "query",
        {"type": "array", "items": {"type": "string", "format": "uuid"}, "maxItems": EVENT_JOBS_MAX},
        "a job's id: its state comes too, whenever it changes",
    ),
    Parameter("last_event_id", "query", _EVENT_ID, "as the header, for programs that cannot send it"),
    Parameter("Last-Event-ID", "header", _EVENT_ID, "the id of the last event that came: what has changed since"),
)
#: The query of GET /api/jobs/<id>.
WAIT_SECONDS_MAX = 60
WAIT = Parameter(
    "wait",
    "query",
    {"anyOf": [{"type": "integer", "minimum": 0, "maximum": WAIT_SECONDS_MAX}, {"const": ""}]},
    "answer when the job has ended, or after so many seconds",
)


class Filter(Struct, frozen=True):
    """Which jobs to list, how many, and from which position on."""

    jobs: JobFilter = JobFilter()
    payload: tuple[PayloadMatch, ...] = ()
    limit: int = LIMIT_DEFAULT
    before: tuple[datetime, UUID] | None = None
    counts: bool = False

    def link(self, cursor: str) -> str:
        """The Link header of the next page of the same filter, which is not counted again."""
        moments = {name: getattr(self.jobs, name) for name in ("created_after", "created_before")}
        given = {
            "status": self.jobs.status, "type": self.jobs.type, "queue": self.jobs.queue,
            "group": self.jobs.group, "error": self.jobs.error,
            **{name: moment.isoformat() for name, moment in moments.items() if moment},
            **{PAYLOAD + ".".join(match.path): match.value for match in self.payload},
            "limit": str(self.limit), "cursor": cursor,
        }  # fmt: skip
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return f'</api/jobs?{query}>; rel="next"'


def read_filter(query: MultiDict[str, str]) -> Filter:
    """An empty value counts as absent. Raises Refused(400), which names the parameter and what is allowed."""
    _check_names(query, FILTER_NAMES, PAYLOAD)
    jobs = JobFilter(
        status=_status(query.get("status", "")),
        type=_job_type(query.get("type", "")),
        queue=_queue(query.get("queue", "")),
        group=_group(query.get("group", "")),
        created_after=_moment(query, "created_after"),
        created_before=_moment(query, "created_before"),
        error=_error(query.get("error", "")),
    )
    return Filter(
        jobs,
        _payload(query),
        _limit(query.get("limit", "")),
        _before(query.get("cursor", "")),
        _counts(query.get("count", "")),
    )


def _group(text: str) -> str | None:
    if len(text) > GROUP_MAX or "\0" in text:
        raise Refused(400, f"group: must have 1 to {GROUP_MAX} characters, no NUL")
    return text or None


def _queue(text: str) -> str | None:
    if text and not is_queue_name(text):
        raise Refused(400, "queue: must have 1 to 64 letters, digits, - and _")
    return text or None


class DeadPageWanted(Struct, frozen=True):
    """How many dead letters to list, and from where on."""

    limit: int = LIMIT_DEFAULT
    place: int = 0
    after: str = ""

    def link(self, cursor: str) -> str:
        """The Link header of the next page."""
        return f'</api/dead?{urlencode({"limit": self.limit, "cursor": cursor})}>; rel="next"'


def read_dead_page(query: MultiDict[str, str]) -> DeadPageWanted:
    """By the rules of `read_filter`. Raises Refused(400)."""
    _check_names(query, DEAD_PAGE_NAMES)
    limit, text = _limit(query.get("limit", "")), query.get("cursor", "")
    if not text:
        return DeadPageWanted(limit)
    if (position := read_dead_cursor(text)) is None:
        raise Refused(400, WRONG_CURSOR)
    return DeadPageWanted(limit, *position)


class StatsWanted(Struct, frozen=True):
    """Which statistics."""

    range: str = "1h"
    job_type: str | None = None


def read_stats_query(query: MultiDict[str, str]) -> StatsWanted:
    """By the rules of `read_filter`. Raises Refused(400)."""
    _check_names(query, STATS_NAMES)
    name = query.get("range", "") or "1h"
    if name not in RANGES:
        raise Refused(400, f"range: must be one of {', '.join(RANGES)}")
    return StatsWanted(name, _job_type(query.get("type", "")))


class AuditPageWanted(Struct, frozen=True):
    """How many acts to list, and which of them have been listed."""

    limit: int = LIMIT_DEFAULT
    before: int | None = None

    def link(self, before: int) -> str:
        """The Link header of the next page."""
        return f'</api/audit?{urlencode({"limit": self.limit, "before": before})}>; rel="next"'


def read_audit_page(query: MultiDict[str, str]) -> AuditPageWanted:
    """By the rules of `read_filter`. Raises Refused(400)."""
    _check_names(query, AUDIT_PAGE_NAMES)
    limit, text = _limit(query.get("limit", "")), query.get("before", "")
    if not text:
        return AuditPageWanted(limit)
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and int(text) <= AUDIT_ID_MAX):
        raise Refused(400, "before: must be the id of an act")
    return AuditPageWanted(limit, int(text))


class SchedulePageWanted(Struct, frozen=True):
    """How many schedules to list, and which of them have been listed."""

    limit: int = LIMIT_DEFAULT
    after: str = ""

    def link(self, after: str) -> str:
        """The Link header of the next page."""
        return f'</api/schedules?{urlencode({"limit": self.limit, "after": after})}>; rel="next"'


def read_schedule_page(query: MultiDict[str, str]) -> SchedulePageWanted:
    """By the rules of `read_filter`. Raises Refused(400)."""
    _check_names(query, SCHEDULE_PAGE_NAMES)
    limit, after = _limit(query.get("limit", "")), query.get("after", "")
    if after and not is_name(after):
        raise Refused(400, "after: must be the name of a schedule")
    return SchedulePageWanted(limit, after)


def read_run_number(query: MultiDict[str, str]) -> int | None:
    """`before` of GET /api/jobs/<id>/runs. Raises Refused(400)."""
    if unknown := [name for name in query if name != "before"]:
        raise Refused(400, f"{unknown[0][:50]}: unknown parameter; allowed is before")
    texts = query.getlist("before")
    if texts in ([], [""]):
        return None
    if len(texts) > 1 or not (texts[0].isascii() and texts[0].isdecimal() and 1 <= len(texts[0]) <= 9):
        raise Refused(400, "before: must be the number of a run, given once")
    return int(texts[0])


def read_log_number(query: MultiDict[str, str]) -> int:
    """`after` of GET /api/jobs/<id>/logs. Raises Refused(400)."""
    if unknown := [name for name in query if name != "after"]:
        raise Refused(400, f"{unknown[0][:50]}: unknown parameter; allowed is after")
    texts = query.getlist("after")
    if texts in ([], [""]):
        return 0
    text = texts[0]
    if len(texts) > 1 or not (text.isascii() and text.isdecimal() and len(text) <= 16 and int(text) <= LOG_NUMBER_MAX):
        raise Refused(400, "after: must be the number of a line, given once")
    return int(text)


class EventsWanted(Struct, frozen=True):
    """Which jobs to tell the state of, and since when the changes of all."""

    job_ids: frozenset[UUID] = frozenset()
    since: int | None = None


def read_events_query(query: MultiDict[str, str], last_event_ids: Sequence[str]) -> EventsWanted:
    """`last_event_ids`: the values of the header. A browser that comes back sends it beside the query of the first
    time, so it counts before that. An empty value counts as absent. Raises Refused(400)."""
    for name in query:
        if name not in {"job", "last_event_id"}:
            raise Refused(400, f"{name[:50]}: unknown parameter; allowed are job, last_event_id")
    job_ids = {read_job_id(text) for text in query.getlist("job")}
    if len(query.getlist("job")) > EVENT_JOBS_MAX or None in job_ids:
        raise Refused(400, f"job: must be the id of a job, given at most {EVENT_JOBS_MAX} times")
    texts = list(last_event_ids) if any(last_event_ids) else query.getlist("last_event_id")
    if texts in ([], [""]):
        return EventsWanted(frozenset(filter(None, job_ids)))
    text = texts[0]
    if len(texts) > 1 or not (text.isascii() and text.isdecimal() and len(text) <= 16 and int(text) <= EVENT_ID_MAX):
        raise Refused(400, "Last-Event-ID, last_event_id: must be the id of an event, given once")
    return EventsWanted(frozenset(filter(None, job_ids)), int(text))


def read_wait(query: MultiDict[str, str]) -> int:
    """`wait` of GET /api/jobs/<id>, in seconds. Raises Refused(400)."""
    texts = query.getlist("wait")
    if texts in ([], [""]):
        return 0
    text = texts[0]
    if len(texts) > 1 or not (
        text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= WAIT_SECONDS_MAX
    ):
        raise Refused(400, f"wait: must be a whole number of seconds from 0 to {WAIT_SECONDS_MAX}, given once")
    return int(text)


def _check_names(query: MultiDict[str, str], allowed: Sequence[str], prefix: str = "") -> None:
    for name in query:
        if name not in allowed and not (prefix and name.startswith(prefix)):
            more = f", {prefix}<name>" if prefix else ""
            raise Refused(400, f"{name[:50]}: unknown parameter; allowed are {', '.join(allowed)}{more}")
        if len(query.getlist(name)) > 1:
            raise Refused(400, f"{name}: must be given once")


def _status(text: str) -> StatusFilter | None:
    if not text:
        return None
    try:
        return StatusFilter(text)
    except ValueError:
        raise Refused(400, f"status: must be one of {', '.join(StatusFilter)}") from None


def _moment(query: MultiDict[str, str], name: str) -> datetime | None:
    if not (text := query.get(name, "")):
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Refused(400, f"{name}: must be a time with its offset, as 2026-01-31T12:00:00Z")


def _error(text: str) -> str | None:
    if len(text) > ERROR_LENGTH_MAX or "\0" in text:
        raise Refused(400, f"error: must have 1 to {ERROR_LENGTH_MAX} characters, none of them NUL")
    return text or None


def _counts(text: str) -> bool:
    if text not in {"", "capped"}:
        raise Refused(400, "count: must be capped")
    return bool(text)


def _payload(query: MultiDict[str, str]) -> tuple[PayloadMatch, ...]:
    names = [name for name in query if name.startswith(PAYLOAD)]
    if len(names) > PAYLOAD_MATCHES_MAX:
        raise Refused(400, f"{PAYLOAD}<name>: at most {PAYLOAD_MATCHES_MAX} of them can be given")
    return tuple(_payload_match(name, query[name]) for name in names)


def _payload_match(name: str, value: str) -> PayloadMatch:
    path = tuple(name.removeprefix(PAYLOAD).split("."))
    if not all(path) or len(name) > PATH_LENGTH_MAX or not name.isprintable():
        raise Refused(400, f"{name[:50]!a}: must be names of members with dots between them, as payload.user.id")
    if len(value) > VALUE_LENGTH_MAX or "\0" in value:
        raise Refused(400, f"{name}: must have at most {VALUE_LENGTH_MAX} characters, none of them NUL")
    return PayloadMatch(path, value)


def _job_type(text: str) -> str | None:
    if len(text) > TYPE_LENGTH_MAX or "\0" in text:
        raise Refused(400, f"type: must have 1 to {TYPE_LENGTH_MAX} characters, none of them NUL")
    return text or None


def _limit(text: str) -> int:
    if not text:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and 1 <= int(text) <= LIMIT_MAX):
        raise Refused(400, f"limit: must be a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def _before(text: str) -> tuple[datetime, UUID] | None:
    if not text:
        return None
    if (before := read_cursor(text)) is None:
        raise Refused(400, WRONG_CURSOR)
    return before
