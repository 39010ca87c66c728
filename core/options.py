"""Options of a job: what its sender may choose. One shape, from the request to the row, the task and the page.

A field of JobOptions is a member of the task, a column of the same name in `jobs` (a migration makes it), and a field
of the requests and answers of the API (services/producer/views.py). Nothing else has to know it.
"""

from functools import lru_cache
from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from workqueue.core.errors import InvalidTask, RetriesNegative

RETRIES_MAX = 1_000_000


class JobOptions(Struct, frozen=True, gc=False):
    """Each has a default, with which it costs nothing."""

    retries: int = 0  #: how often the job runs again after a failure


DEFAULTS = JobOptions()


class TaskOptions(Struct, kw_only=True):
    """As a task has them; null counts as absent."""

    retries: Annotated[int, Meta(ge=0, le=RETRIES_MAX)] | None = None


class RequestedOptions(Struct, kw_only=True):
    """As a request has them, before they are checked."""

    retries: int | None = None


NAMES: tuple[str, ...] = JobOptions.__struct_fields__
CACHED_MAX = 1000  #: combinations; without a cache a task would take half as long again to decode, and twice to encode

#: The values of all options of a TaskOptions: a tuple, or with one option its value.
values_of = attrgetter(*NAMES)

_encode = msgspec.json.Encoder().encode


@lru_cache(CACHED_MAX)
def options_of(values: object) -> JobOptions:
    """The options of a task that was decoded, and so checked, from its `values_of`."""
    each = values if isinstance(values, tuple) else (values,)
    named = {name: value for name, value in zip(NAMES, each, strict=True) if value is not None}
    options = JobOptions(**named)
    return DEFAULTS if options == DEFAULTS else options


def read_options(requested: RequestedOptions) -> JobOptions:
    """What a request asks for. Raises InvalidTask for what no task could hold; see `check_options` for the rest."""
    retries = requested.retries or 0
    if retries > RETRIES_MAX:
        raise InvalidTask(f"retries: at most {RETRIES_MAX}")
    return JobOptions(retries) if retries else DEFAULTS


def check_options(options: JobOptions) -> None:
    """Raise the error that the API has a sentence for."""
    if options.retries < 0:
        raise RetriesNegative("retries cannot be negative")


@lru_cache(CACHED_MAX)
def members(options: JobOptions) -> bytes:
    """As members of a JSON object: `"retries":3`. Retries always, the others where they are not the default."""
    chosen = [(name, getattr(options, name), getattr(DEFAULTS, name)) for name in NAMES]
    return b",".join(
        b'"%b":%b' % (name.encode(), _encode(value))
        for name, value, default in chosen
        if value != default or name == "retries"
    )
