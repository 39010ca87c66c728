"""Options of a job: what its sender may choose. One shape, from the request to the row, the task and the page.

A field of JobOptions is a member of the task, a column in `jobs` (a migration makes it; of the same name, or of that in
COLUMNS), and a field of the requests and answers of the API (services/producer/views.py). Nothing else has to know it.
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from workqueue.core.errors import InvalidOption, InvalidTask, RetriesNegative

RETRIES_MAX = 1_000_000
DELAY_SECONDS_MAX = 315_360_000  #: ten years
#: No moment is later: Postgres takes it in every time zone, and so does Python.
MOMENT_MAX = datetime(9000, 1, 1, tzinfo=UTC)
MOMENT_MIN = datetime(2, 1, 1, tzinfo=UTC)


DEFAULT_QUEUE = "default"
QUEUE_NAME = r"^[A-Za-z0-9_-]{1,64}\Z"
UNIQUE_KEY_MAX = 255  #: characters
UNIQUE_KEY = rf"^[^\x00]{{1,{UNIQUE_KEY_MAX}}}\Z"  #: Postgres takes no NUL
UNTIL_ENDED, UNTIL_STARTED = "ended", "started"  #: when a unique key is free again; or after so many seconds
GROUP_MAX = 200  #: characters
GROUP = rf"^[^\x00]{{1,{GROUP_MAX}}}\Z"
KEEP, REPLACE = "keep", "replace"  #: what becomes of a job that still waits when its unique key comes again


class JobOptions(Struct, frozen=True, gc=False):
    """Each has a default, with which it costs nothing."""

    retries: int = 0  #: how often the job runs again after a failure
    timeout: float | None = None  #: seconds that each run may last, instead of what its handler says
    run_at: datetime | None = None  #: UTC; not started before
    expires_at: datetime | None = None  #: UTC; not started for the first time after it: then the job fails
    queue: str = DEFAULT_QUEUE  #: of this installation
    unique_key: str | None = None  #: one job at a time under this key
    #: When the key is free again: None when the job has ended, UNTIL_STARTED, or the text of a number of seconds.
    unique_until: str | None = None
    on_duplicate: str | None = None  #: REPLACE; None: the first job stays as it is
    group: str | None = None  #: for fairness, order and limits (core/limits.py)


DEFAULTS = JobOptions()

EXCLUDED = "delay and run_at exclude each other"
TOO_MANY_QUEUES = "too many queues"
#: What a request is told of an option that no job can have.
SENTENCES = (
    *(f"{name} is not valid" for name in ("queue", "delay", "run_at", "expires_in", "timeout")),
    *(f"{name} is not valid" for name in ("unique_key", "unique_until", "on_duplicate", "group")),
    EXCLUDED,
    TOO_MANY_QUEUES,
)

Seconds = Annotated[float, Meta(gt=0)]
Moment = Annotated[datetime, Meta(tz=True)]


class PlainTaskOptions(Struct, kw_only=True):
    """Those of nearly every task: a decoder that has to look for the others takes a fifth longer."""

    retries: Annotated[int, Meta(ge=0, le=RETRIES_MAX)] | None = None


class TaskOptions(PlainTaskOptions, kw_only=True):
    """As a task has them; null counts as absent."""

    timeout: Seconds | None = None
    run_at: Moment | None = None
    expires_at: Moment | None = None
    queue: Annotated[str, Meta(pattern=QUEUE_NAME)] | None = None
    unique_key: Annotated[str, Meta(pattern=UNIQUE_KEY)] | None = None
    unique_until: Literal["ended", "started"] | Seconds | None = None
    on_duplicate: Literal["keep", "replace"] | None = None
    group: Annotated[str, Meta(pattern=GROUP)] | None = None


class PlainRequestedOptions(Struct, kw_only=True):
    """Those of nearly every request."""

    retries: int | None = None


class RequestedOptions(PlainRequestedOptions, kw_only=True):
    """As a request has them, before they are checked: each fault has a sentence of its own, also a wrong JSON type."""

    timeout: object = None
    delay: object = None
    run_at: object = None
    expires_in: object = None
    queue: object = None
    unique_key: object = None
    unique_until: object = None
    on_duplicate: object = None
    group: object = None


class Chosen(Struct, frozen=True):
    """What a request has chosen."""

    options: JobOptions
    delay: float | None = None  #: seconds; `run_at` is what that comes to on our clock


NAMES: tuple[str, ...] = JobOptions.__struct_fields__
#: Columns that are not named like their options: statements of the release before would take them for others.
COLUMNS = {"expires_at": "start_by", "queue": "in_queue", "group": "in_group"}
PLAIN_NAMES = NAMES[:1]  #: those of a job that has chosen nothing else
#: Those of a job without a unique key: its statements take no arrays for one.
FREE_NAMES = tuple(name for name in NAMES if not name.startswith("unique_") and name != "on_duplicate")
CACHED_MAX = 1000  #: combinations; without a cache a task would take half as long again to decode, and twice to encode

#: The values of all options of a TaskOptions.
values_of = attrgetter(*NAMES)
_KEY_AT, _GROUP_AT = NAMES.index("unique_key"), NAMES.index("group")
_REQUESTED = attrgetter(*(name for name in RequestedOptions.__struct_fields__ if name != "retries"))
_FURTHER = attrgetter(*NAMES[1:])
_NO_FURTHER = _FURTHER(DEFAULTS)

_encode = msgspec.json.Encoder().encode


def are_plain(options: Iterable[JobOptions]) -> bool:
    """Do all of them choose their retries at the most?"""
    last = DEFAULTS
    for each in options:  # nearly always those of the one before; a generator would take twice as long
        if each is not last:
            if each is not DEFAULTS and _FURTHER(each) != _NO_FURTHER:
                return False
            last = each
    return True


def options_of(values: tuple[object, ...]) -> JobOptions:
    """The options of a task that was decoded, from its `values_of`. Raises InvalidTask for a moment out of range."""
    key, group = values[_KEY_AT], values[_GROUP_AT]
    if key is None and group is None:
        return _options_of(values)
    # Each job may have others: they are no part of what is cached.
    alike = [*values]
    alike[_KEY_AT], alike[_GROUP_AT] = key and "any", None
    return replace(_options_of(tuple(alike)), unique_key=key, group=group)


@lru_cache(CACHED_MAX)
def _options_of(values: tuple[object, ...]) -> JobOptions:
    named = {
        name: _utc(name, value) if isinstance(value, datetime) else value
        for name, value in zip(NAMES, values, strict=True)
        if value is not None
    }
    if named.keys() & _UNIQUE_NAMES:
        named |= dict(zip(_UNIQUE_NAMES, _unique(*(named.get(name) for name in _UNIQUE_NAMES)), strict=True))
    options = JobOptions(**named)  # type: ignore[arg-type]
    return DEFAULTS if options == DEFAULTS else options


@lru_cache(CACHED_MAX)
def plain_options(retries: int | None) -> JobOptions:
    """The options of a job that chooses its retries at the most."""
    return JobOptions(retries) if retries else DEFAULTS


def read_options(requested: PlainRequestedOptions) -> JobOptions:
    """What a request asks for at the least. Raises InvalidTask for what no task could hold; see `check_options` and
    `choose_options` for the rest."""
    retries = requested.retries or 0
    if retries > RETRIES_MAX:
        raise InvalidTask(f"retries: at most {RETRIES_MAX}")
    return plain_options(retries)


def check_options(options: JobOptions) -> None:
    """Raise the error that the API has a sentence for."""
    if options.retries < 0:
        raise RetriesNegative("retries cannot be negative")


def choose_options(options: JobOptions, requested: RequestedOptions) -> Chosen:
    """`options` with what else is requested. Raises the error that the API has a sentence for."""
    if _REQUESTED(requested) == _NOTHING_REQUESTED:
        return Chosen(options)
    now = datetime.now(UTC)
    queue = DEFAULT_QUEUE if requested.queue is None else requested.queue
    if not isinstance(queue, str) or not _QUEUE_NAME.match(queue):
        raise InvalidOption("queue is not valid")
    timeout = _seconds("timeout", requested.timeout)
    expires_in = _seconds("expires_in", requested.expires_in)
    delay = None
    if requested.delay is not None:
        if requested.run_at is not None:
            raise InvalidOption(EXCLUDED)
        delay = _number(requested.delay)
        if delay is None or not 0 <= delay <= DELAY_SECONDS_MAX:
            raise InvalidOption("delay is not valid")
    run_at = _requested_moment("run_at", requested.run_at)
    if delay:
        run_at = now + timedelta(seconds=delay)
    if run_at is not None and run_at <= now:
        run_at = delay = None
    expires_at = None
    if expires_in is not None:
        expires_at = MOMENT_MAX if expires_in > _SECONDS_MAX else now + timedelta(seconds=expires_in)
    unique = _requested_unique(requested)
    group = _text("group", requested.group, _GROUP)
    return Chosen(JobOptions(options.retries, timeout, run_at, expires_at, queue, *unique, group), delay or None)


def is_queue_name(text: str) -> bool:
    return _QUEUE_NAME.match(text) is not None


@lru_cache(CACHED_MAX)
def members(options: JobOptions) -> bytes:
    """As members of a JSON object: `"retries":3`. Retries always, the others where they are not the default."""
    chosen = [(name, getattr(options, name), getattr(DEFAULTS, name)) for name in NAMES]
    return b",".join(
        b'"%b":%b' % (name.encode(), _encode(value) if name != "unique_until" else _encode_until(value))
        for name, value, default in chosen
        if value != default or name == "retries"
    )


def until_seconds(options: JobOptions) -> float | None:
    """Seconds after which its unique key is free; None: that depends on what becomes of the job."""
    return None if options.unique_until in (None, UNTIL_STARTED) else float(options.unique_until)


_QUEUE_NAME = re.compile(QUEUE_NAME)
_UNIQUE_KEY = re.compile(UNIQUE_KEY, re.DOTALL)
_GROUP = re.compile(GROUP, re.DOTALL)
_UNIQUE_NAMES = ("unique_key", "unique_until", "on_duplicate")
_NOTHING_REQUESTED = _REQUESTED(RequestedOptions())
_SECONDS_MAX = 20 * DELAY_SECONDS_MAX  #: further off is never


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of 400 digits
        return None


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None or not 0 < seconds < math.inf:
        raise InvalidOption(f"{name} is not valid")
    return seconds


def _text(name: str, value: object, pattern: re.Pattern[str]) -> str | None:
    if value is None or (isinstance(value, str) and pattern.match(value)):
        return value
    raise InvalidOption(f"{name} is not valid")


def _requested_unique(requested: RequestedOptions) -> tuple[str | None, str | None, str | None]:
    key, until, on_duplicate = requested.unique_key, requested.unique_until, requested.on_duplicate
    _text("unique_key", key, _UNIQUE_KEY)
    if until not in (None, UNTIL_ENDED, UNTIL_STARTED):
        until = _seconds("unique_until", until)
    if on_duplicate not in (None, KEEP, REPLACE):
        raise InvalidOption("on_duplicate is not valid")
    return _unique(key, until, on_duplicate)


def _unique(key: object, until: object, on_duplicate: object) -> tuple[str | None, str | None, str | None]:
    """The three options, the defaults as None; of no meaning without a key."""
    if not isinstance(key, str):
        return None, None, None
    if isinstance(until, int | float):
        seconds = float(min(until, _SECONDS_MAX))
        until = str(int(seconds)) if seconds.is_integer() else repr(seconds)
    return key, str(until) if until not in (None, UNTIL_ENDED) else None, REPLACE if on_duplicate == REPLACE else None


def _encode_until(value: object) -> bytes:
    return _encode(value) if value == UNTIL_STARTED else str(value).encode()


def _requested_moment(name: str, value: object) -> datetime | None:
    if value is None:
        return None
    try:
        return _utc(name, msgspec.convert(value, Moment)) if isinstance(value, str) else _invalid(name)
    except (msgspec.ValidationError, InvalidTask):
        return _invalid(name)


def _invalid(name: str) -> datetime:
    raise InvalidOption(f"{name} is not valid")


def _utc(name: str, moment: datetime) -> datetime:
    try:
        if MOMENT_MIN <= (utc := moment.astimezone(UTC)) <= MOMENT_MAX:
            return utc
    except OverflowError:
        pass
    raise InvalidTask(f"no valid task: `{name}` is no moment before the year 9000")
