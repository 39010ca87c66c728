"""SQL statements, one a file with its contract in the header. Each is a transaction of its own.

In the files, `:name` is a parameter, and these are put in place when they are loaded:
    {job_columns}     what the API shows of a job (_job_columns.sql)
    {options}         the columns of the options of a job (core/options.py); {given.options} the same of `given`, and
                      {mine.options} of `mine`
    {listed_columns}  what a list shows of it (_listed_columns.sql)
    {among}           a filter of jobs, the part that an index serves (_among.sql)
    {matching}        the rest of it (_matching.sql)
    {since}           a moment (_since.sql)
    {schedule_columns} those of a schedule (_schedule_columns.sql)
    {option_arrays}   one parameter for each of them, an array that `option_arrays` makes
    {due_arrays}      two more (`due_arrays`): :delays float8[] seconds, and :are_far boolean[]
    {due.options}     the columns of the options, run_at by this server's clock where there is a delay
`{schema}` stands for the schema of the tables, and is put in its place by the pool.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import get_args

import msgspec

from workqueue.core.job_filter import ActName
from workqueue.core.options import COLUMNS, FREE_NAMES, NAMES, PLAIN_NAMES, JobOptions

#: Types of columns, by those of the options.
_COLUMN_TYPES = {int: "int", float: "float8", bool: "boolean", str: "text", datetime: "timestamptz"}
_AS_TEXT = frozenset({"int", "float8"})  #: arrays of these are three times cheaper as text (array_text)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")

_encode = msgspec.json.Encoder().encode


class Statement(str):
    """The text of a statement, its parameters numbered; `names` are theirs, in order."""

    def __init__(self, text: str, names: tuple[str, ...] = ()) -> None:
        self.names = names
        self._text = str(text)  # asyncpg takes no subclass

    def __new__(cls, text: str, names: tuple[str, ...] = ()) -> "Statement":
        return super().__new__(cls, text)

    def bind(self, **values: object) -> tuple[str, *tuple[object, ...]]:
        """The text and the arguments, as Pool.fetch takes them. Raises KeyError for a name that is missing."""
        return (self._text, *[values[name] for name in self.names])


def array_text(values: Sequence[object]) -> str:
    """An array of numbers or ids as Postgres reads it from text: asyncpg takes three times as long for its binary form,
    because it asks an abstract class about each element."""
    return f"{{{_encode(values)[1:-1].decode()}}}"


def option_arrays(options: Sequence[JobOptions], names: Sequence[str] = NAMES) -> dict[str, object]:
    """The parameters that {option_arrays} stands for; `names`: of a statement that takes these alone."""
    arrays: dict[str, object] = {}
    for name in names:
        values = [getattr(each, name) for each in options]
        arrays[f"option_{name}"] = array_text(values) if _OPTION_TYPES[name] in _AS_TEXT else values
    return arrays


def due_arrays(delays: Sequence[float | None], are_far: Sequence[bool]) -> dict[str, object]:
    """The parameters that {due_arrays} stands for."""
    return {"delays": delays, "are_far": are_far}


def _column_type(annotation: object) -> str:
    """Of `int` and of `int | None`."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and kind in _COLUMN_TYPES]
    return _COLUMN_TYPES[kinds[0]]


_OPTION_TYPES = {field.name: _column_type(field.type) for field in msgspec.structs.fields(JobOptions)}


def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.sql").read_text("utf-8")


def _part(name: str) -> str:
    """The text of a file whose name begins with `_`, without its comments."""
    return "\n".join(line for line in _read(name).splitlines() if not line.startswith("--"))


def _of_options(names: Sequence[str]) -> dict[str, str]:
    """The parts for a statement that writes these options."""
    arrays = [f":option_{each}::{'text::' if kind in _AS_TEXT else ''}{kind}[]" for each, kind in _OPTION_TYPES.items()
              if each in names]  # fmt: skip
    columns = [COLUMNS.get(name, name) for name in names]
    delayed = "coalesce(now() + make_interval(secs => delay), run_at) AS run_at"
    return {
        "{options}": ", ".join(columns),
        "{given.options}": ", ".join(f"given.{column}" for column in columns),
        "{job.options}": ", ".join(f"job.{column}" for column in columns),
        "{made.options}": ", ".join("starts_at" if column == "run_at" else column for column in columns),
        "{mine.options}": ", ".join(f"mine.{column}" for column in columns),
        "{due.options}": ", ".join(delayed if column == "run_at" else column for column in columns),
        "{option_arrays}": ", ".join(arrays),
    }


_PARTS = {
    "{job_columns}": _part("_job_columns"),
    "{listed_columns}": _part("_listed_columns"),
    "{among}": _part("_among"),
    "{matching}": _part("_matching"),
    **_of_options(NAMES),
    "{due_arrays}": ":delays::float8[], :are_far::boolean[]",
    "{schedule_columns}": _part("_schedule_columns"),
}


def _load(name: str, options: Sequence[str] = NAMES, **parts: str) -> Statement:
    """`options`: those that it writes. `parts`: further ones, for this statement."""
    text = _read(name)
    all_parts = {f"{{{each}}}": value for each, value in parts.items()} | _PARTS | _of_options(options)
    for _ in range(3):  # a part may have one inside
        for part, replacement in all_parts.items():
            text = text.replace(part, replacement)
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    return Statement(_PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", text), names)


def _count(name: str, counted: str) -> Statement:
    """The statement of a list, asked for sums alone."""
    listed = _load(name, columns="id")
    return Statement(f"SELECT {counted} FROM (\n{listed}\n) AS listed", listed.names)  # noqa: S608 - our own texts


GREET = _load("greet")
BEGIN_SLOWLY = _load("begin_slowly")
INSERT_JOBS = _load("insert_jobs", options=PLAIN_NAMES)
INSERT_JOBS_WITH_OPTIONS = _load("insert_jobs_with_options", options=FREE_NAMES)
INSERT_ONCE = _load("insert_once", options=FREE_NAMES)
INSERT_UNIQUE = _load("insert_unique")
PRUNE_UNIQUE = _load("prune_unique")
CLAIMED_TASKS = _load("claimed_tasks")
JOIN_JOBS = _load("join_jobs")
FREE_KEYS = _load("free_keys")
PRUNE_KEYS = _load("prune_keys")
REFUSE_JOBS = _load("refuse_jobs")
DELETE_OUTBOX = _load("delete_outbox")
CLAIM_JOBS = _load("claim_jobs")
GET_ROW_STATUS = _load("get_row_status")
ADOPT_JOBS = _load("adopt_jobs", options=PLAIN_NAMES)
ADOPT_JOBS_WITH_OPTIONS = _load("adopt_jobs")
COMPLETE_JOBS = _load("complete_jobs")
FINISH_JOBS = _load("finish_jobs")
REQUEUE_JOBS = _load("requeue_jobs")
OWNED_JOBS = _load("owned_jobs")
TAKE_OUTBOX = _load("take_outbox")
WAITING_JOBS = _load("waiting_jobs")
LIST_JOBS = _load("list_jobs", columns="{listed_columns}")
LIST_RUNNING_JOBS = _load("list_running_jobs", columns="{listed_columns}")
LIST_WAITING_JOBS = _load("list_waiting_jobs", columns="{listed_columns}")
SEARCH_JOBS = _load("search_jobs", columns="{listed_columns}")
COUNT_JOBS = _count("list_jobs", "count(id) AS count")
COUNT_RUNNING_JOBS = _count("list_running_jobs", "count(id) AS count")
LIST_WAITING_IDS = _load("list_waiting_jobs", columns="id, created_at")
COUNT_FOUND_JOBS = _count(
    "search_jobs", "count(*) FILTER (WHERE matches) AS count, coalesce(bool_or(is_last), false) AS cut"
)
GET_JOB = _load("get_job")
GET_RUNS = _load("get_runs")
GET_ARTIFACTS = _load("get_artifacts")
GET_ARTIFACT = _load("get_artifact")
RECOVER_JOBS = _load("recover_jobs")
GET_OWNERS = _load("get_owners")
OLDEST_PROTOCOL = _load("oldest_protocol")
CHECK_STORE = _load("check_store")
GET_INSTALLATION = _load("get_installation")
READ_CHECKPOINT = _load("read_checkpoint")
OUTBOX_LOST_JOBS = _load("outbox_lost_jobs")
ADVANCE_CHECKPOINT = _load("advance_checkpoint")
BRING_JOBS = _load("bring_jobs")
PENDING_IDS = _load("pending_ids")
DELETE_COMPLETED_JOBS = _load("delete_completed_jobs")
DELETE_FAILED_JOBS = _load("delete_failed_jobs")
_ACTS = {
    ActName.CANCEL: ("cancel_jobs", "state IN ('pending', 'processing') AND (state = 'pending' OR cancel_at IS NULL)"),
    ActName.RETRY: ("retry_jobs", "state IN ('failed', 'cancelled')"),
    ActName.RUN_NOW: ("run_jobs_now", "state = 'pending' AND run_at > now()"),
    ActName.DELETE: ("delete_jobs", "state IN ('completed', 'failed', 'cancelled')"),
}
#: Act -> its statement for jobs that are named.
ACT = {act: _load(name, chosen=_part("_ids"), done=_part("_audited")) for act, (name, _) in _ACTS.items()}
#: Act -> its statement for the next piece of an action.
ACT_ON_PIECE = {
    act: _load(name, chosen=_part("_piece"), done=_part("_advance"), applies=applies)
    for act, (name, applies) in _ACTS.items()
}
#: Act -> how many jobs match that it applies to.
COUNT_MATCHING_JOBS = {act: _load("count_matching_jobs", applies=applies) for act, (_, applies) in _ACTS.items()}
REPORT_JOBS = _load("report_jobs")
GET_LOGS = _load("get_logs")
INSERT_ACTION = _load("insert_action")
NEXT_ACTION = _load("next_action")
GET_ACTION = _load("get_action")
LIST_ACTIONS = _load("list_actions")
STOP_ACTION = _load("stop_action")
PRUNE_ACTIONS = _load("prune_actions")
CANCELLED_JOBS = _load("cancelled_jobs")
ENDED_JOBS = _load("ended_jobs")
CHANGED_JOBS = _load("changed_jobs", since=_part("_since"))
WATCHED_JOBS = _load("watched_jobs")
PRUNE_DELETED = _load("prune_deleted")
GET_PAUSES = _load("get_pauses")
CHANGE_PAUSES = _load("change_pauses")
CHANGE_PAUSED_QUEUES = _load("change_paused_queues")
OUTRUN_PAUSES = _load("outrun_pauses")
GET_LIMITS = _load("get_limits")
GET_LIMITS_VERSION = _load("get_limits_version")
PUT_LIMIT = _load("put_limit")
DELETE_LIMIT = _load("delete_limit")
DECLARE_LIMITS = _load("declare_limits")
OUTRUN_LIMITS = _load("outrun_limits")
ADD_STATS = _load("add_stats")
GET_STATS = _load("get_stats")
GET_QUEUE_STATS = _load("get_queue_stats")
GET_FAILURES = _load("get_failures")
PRUNE_STATS = _load("prune_stats")
NOW = _load("now")
BEGIN_AUDIT = _load("begin_audit")
END_AUDIT = _load("end_audit")
LIST_AUDIT = _load("list_audit")
PRUNE_AUDIT = _load("prune_audit")
LIST_SCHEDULES = _load("list_schedules")
GET_SCHEDULES = _load("get_schedules")
DUE_SCHEDULES = _load("due_schedules")
PUT_SCHEDULES = _load("put_schedules")
CHANGE_SCHEDULE = _load("change_schedule")
DELETE_SCHEDULE = _load("delete_schedule")
FIRE_SCHEDULES = _load(
    "fire_schedules", is_far="coalesce(starts_at > now() + make_interval(secs => :far_seconds), false)"
)
DECLARE_SCHEDULES = _load("declare_schedules")
LEAVE_SCHEDULES = _load("leave_schedules")
