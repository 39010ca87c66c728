"""Schedules: jobs that are enqueued again and again, when they are due, and what becomes of times that passed. Pure.

Cron expressions are read by cronsim, which does as Debian's cron at a change of the clocks: of an expression with fixed
minutes and hours a time that does not exist comes right after the gap, and one that exists twice comes once; `*` in one
of the two follows the clock, so that `*/5 * * * *` comes every 5 minutes all night.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import Raw, Struct

from workqueue.core.errors import InvalidOption, InvalidTask
from workqueue.core.options import JobOptions, RequestedOptions, check_options, choose_options, read_options
from workqueue.core.wire import DEPTH_MAX, TYPE_LENGTH_MAX, depth

NAME_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 200  #: of an expression, and of the name of a time zone
EVERY_SECONDS_MIN = 1.0  #: workers look once a second
EVERY_SECONDS_MAX = 315_360_000.0  #: ten years
JITTER_SECONDS_MAX = 86_400.0
LATE_SECONDS_MAX = 60.0  #: `missed="skip"`: a time that is later than this makes no job

#: What cron has instead of five fields.
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

Choice = TypeVar("Choice", bound=StrEnum)


class Missed(StrEnum):
    """What becomes of due times at which no worker was there."""

    SKIP = "skip"  #: no job for what is more than LATE_SECONDS_MAX late
    ONCE = "once"  #: one job for all of them
    ALL = "all"  #: a job for each


class Overlap(StrEnum):
    """What becomes of a due time while the last job of the schedule has not ended."""

    ALLOW = "allow"  #: one more job
    SKIP = "skip"  #: no job
    WAIT = "wait"  #: a job as soon as the last one has ended


class Schedule(Struct, frozen=True, kw_only=True):
    """A definition that was checked (`make_schedule`)."""

    name: str
    cron: str | None = None
    every: float | None = None  #: seconds; either this or `cron`
    tz: str = "UTC"
    type: str
    payload: str = "{}"  #: the JSON text of an object
    options: str = "{}"  #: of its jobs: the JSON text of what POST /enqueue takes, but for times
    missed: Missed = Missed.ONCE
    overlap: Overlap = Overlap.ALLOW
    jitter: float = 0.0  #: seconds; each job waits for a random part of them


class Plan(Struct, frozen=True):
    """What is to be done about a schedule that is due."""

    dues: list[datetime]  #: a job for each
    next_at: datetime | None  #: None: never again


#: What a sender may choose for the jobs of a schedule: it is the schedule that says when, and beside which (overlap).
OPTION_NAMES = ("retries", "expires_in", "timeout", "queue")
#: What a definition may have.
MEMBERS = ("cron", "every", "tz", "type", "payload", *OPTION_NAMES, "missed", "overlap", "jitter")
NO_TIME = "cron or every is required"
EXCLUDED = "cron and every exclude each other"
SENTENCES = (
    *(f"{each} is not valid" for each in ("name", *MEMBERS) if each != "type"),
    "type is required",
    "type is not valid",
    "retries cannot be negative",
    NO_TIME,
    EXCLUDED,
)


def make_schedule(name: object, members: Mapping[str, object]) -> Schedule:
    """Check a definition; `members` are of MEMBERS, None counts as absent, `payload` is a dict or the Raw JSON of one.

    Raises InvalidOption with one of SENTENCES.
    """
    if not isinstance(name, str) or not is_name(name):
        raise InvalidOption("name is not valid")
    given = {member: value for member, value in members.items() if value is not None}
    cron, every = given.get("cron"), given.get("every")
    if cron is None and every is None:
        raise InvalidOption(NO_TIME)
    if cron is not None and every is not None:
        raise InvalidOption(EXCLUDED)
    tz = given.get("tz", "UTC")
    if not isinstance(tz, str) or _zone(tz) is None:
        raise InvalidOption("tz is not valid")
    if cron is not None and (not isinstance(cron, str) or not _is_cron(cron)):
        raise InvalidOption("cron is not valid")
    return Schedule(
        name=name,
        cron=None if cron is None else " ".join(str(cron).split()),
        every=None if every is None else _seconds("every", every, EVERY_SECONDS_MIN, EVERY_SECONDS_MAX),
        tz=tz,
        type=_type(given.get("type")),
        payload=_payload(given.get("payload", {})),
        options=_options({each: given[each] for each in OPTION_NAMES if each in given}),
        missed=_choice(Missed, "missed", given.get("missed", Missed.ONCE)),
        overlap=_choice(Overlap, "overlap", given.get("overlap", Overlap.ALLOW)),
        jitter=_seconds("jitter", given.get("jitter", 0.0), 0.0, JITTER_SECONDS_MAX),
    )


def is_name(text: str) -> bool:
    """1 to NAME_LENGTH_MAX printable characters without a slash: a name is one segment of a path."""
    return 0 < len(text) <= NAME_LENGTH_MAX and text.isprintable() and "/" not in text and text not in {".", ".."}


def job_options(schedule: Schedule) -> JobOptions:
    """Those of a job that is made now."""
    return _chosen(msgspec.json.decode(schedule.options))


def times_after(schedule: Schedule, after: datetime, *, anchor: datetime | None = None) -> Iterator[datetime]:
    """Its due times later than `after`, in order, in UTC. `anchor`: a due time, from which `every` counts.

    Raises InvalidOption where this machine cannot read the expression or does not know the time zone.
    """
    if schedule.every is not None:
        step = timedelta(seconds=schedule.every)
        at = anchor if anchor is not None else after
        at += max(0, (after - at) // step) * step
        while True:
            if at > after:
                yield at
            try:
                at += step
            except OverflowError:
                return
    yield from _cron_times(schedule, after, reverse=False)


def next_times(schedule: Schedule, after: datetime, count: int, *, anchor: datetime | None = None) -> list[datetime]:
    """The next `count` of them; fewer: there are no more within 50 years. Raises what `times_after` raises."""
    return list(islice(times_after(schedule, after, anchor=anchor), count))


def first_time(schedule: Schedule, after: datetime) -> datetime:
    """The first of them. Raises InvalidOption as well where there is none within 50 years."""
    found = next(times_after(schedule, after), None)
    if found is None:
        raise InvalidOption("cron is not valid")
    return found


def plan(schedule: Schedule, due: datetime, now: datetime, *, room: int) -> Plan:
    """What to do at `now` about a schedule that was due at `due`, before now: at most `room` jobs.

    Without room, or where one job has to wait for the other, the plan ends before now, and is to be followed by another
    one. Raises what `times_after` raises.
    """
    following = times_after(schedule, due, anchor=due)
    first = next(following, None)
    if first is None or first > now:
        late = (now - due).total_seconds() > LATE_SECONDS_MAX
        return Plan([] if late and schedule.missed is Missed.SKIP else [due], first)
    if schedule.missed is Missed.ALL and schedule.overlap is not Overlap.SKIP:  # all but the first would overlap it
        dues = [due]
        room = room if schedule.overlap is Overlap.ALLOW else 1
        while first is not None and first <= now and len(dues) < room:
            dues.append(first)
            first = next(following, None)
        return Plan(dues, first)
    newest = _newest(schedule, due, now)
    if schedule.missed is Missed.SKIP and (now - newest).total_seconds() > LATE_SECONDS_MAX:
        return Plan([], next(times_after(schedule, now, anchor=due), None))
    return Plan([newest], next(times_after(schedule, now, anchor=due), None))


def _newest(schedule: Schedule, due: datetime, now: datetime) -> datetime:
    """The last due time that is not after now, found without a walk through all that were missed."""
    if schedule.every is not None:
        step = timedelta(seconds=schedule.every)
        return due + (now - due) // step * step
    backwards = _cron_times(schedule, now + timedelta(seconds=1), reverse=True)
    return max(due, next((at for at in backwards if at <= now), due))


def _cron_times(schedule: Schedule, start: datetime, *, reverse: bool) -> Iterator[datetime]:
    """In UTC, each later than the one before, or with `reverse` earlier.

    cronsim looks at the clock on the wall alone: begun in an hour that comes twice, it may answer with one before.
    """
    zone = _zone(schedule.tz)
    if zone is None:
        raise InvalidOption("tz is not valid")
    last = start
    try:
        times = CronSim(_fields(schedule.cron or ""), start.astimezone(zone), reverse=reverse)
        for each in times:
            at = each.astimezone(UTC)
            if at < last if reverse else at > last:
                yield at
                last = at
    except _CRON_ERRORS:
        raise InvalidOption("cron is not valid") from None
    except OverflowError:  # the year 9999
        return


#: CronSimError, and what cronsim raises for `MON#1/2` and a number of 5,000 digits.
_CRON_ERRORS = (CronSimError, AssertionError, TypeError, ValueError)


def _fields(cron: str) -> str:
    return ALIASES.get(cron.lower(), cron)


@lru_cache(1000)
def _is_cron(cron: str) -> bool:
    """Five fields that a time fits."""
    fields = _fields(cron.strip())
    if len(cron) > TEXT_LENGTH_MAX or len(fields.split()) != 5 or not fields.isascii():
        return False
    try:
        return next(CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC)), None) is not None
    except _CRON_ERRORS:
        return False


@lru_cache(1000)
def _zone(name: str) -> ZoneInfo | None:
    """None: there is no such time zone here. `localtime` would be another one on each machine."""
    if len(name) > TEXT_LENGTH_MAX or name.lower() in {"localtime", "posixrules", "factory"}:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _seconds(name: str, value: object, least: float, most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidOption(f"{name} is not valid")
    return float(value)


def _type(value: object) -> str:
    if value is None or value == "":
        raise InvalidOption("type is required")
    if not isinstance(value, str) or len(value) > TYPE_LENGTH_MAX or "\0" in value or not _is_utf8(value):
        raise InvalidOption("type is not valid")
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _payload(value: object) -> str:
    try:
        text = bytes(value) if isinstance(value, Raw) else msgspec.json.encode(value)
        if text == b"null":
            return "{}"
        if text[:1] == b"{" and depth(text) <= DEPTH_MAX:
            return text.decode()
    except (TypeError, ValueError, RecursionError):  # what has no JSON
        pass
    raise InvalidOption("payload is not valid")


def _options(given: dict[str, object]) -> str:
    _chosen(given)
    return msgspec.json.encode(given).decode()


def _chosen(given: dict[str, object]) -> JobOptions:
    retries = given.get("retries", 0)
    if not isinstance(retries, int) or isinstance(retries, bool):
        raise InvalidOption("retries is not valid")
    requested = RequestedOptions(**given)  # type: ignore[arg-type]
    try:
        options = read_options(requested)
        check_options(options)
    except InvalidTask as error:
        negative = retries < 0
        raise InvalidOption("retries cannot be negative" if negative else "retries is not valid") from error
    return choose_options(options, requested).options


def _choice(kinds: type[Choice], name: str, value: object) -> Choice:
    try:
        return kinds(str(value))
    except ValueError:
        raise InvalidOption(f"{name} is not valid") from None
