from functools import partial
from typing import Any, cast

import pytest

import core
import workqueue
from workqueue.core.handlers import Every, Registry, every, handler, registry
from workqueue.core.job import Job
from workqueue.core.options import JobOptions
from workqueue.core.schedules import job_options


def test_a_later_registration_wins_and_kinds_are_told_apart():
    registry = Registry()

    @registry.handler("a", timeout=5)
    def first(job: Job) -> object: ...

    @registry.handler("a")
    async def second(job: Job) -> object: ...

    registry.handler("b")(first)
    found, plain = registry.get("a"), registry.get("b")
    assert found is not None
    assert plain is not None
    assert (found.function, found.is_async, found.timeout_seconds) == (second, True, None)
    assert not plain.is_async
    assert registry.types == ["a", "b"]


@pytest.mark.parametrize(("job_type", "timeout"), [("", None), ("x" * 201, None), ("x", 0), ("x", -1)])
def test_a_handler_that_cannot_be_is_refused(job_type, timeout):
    with pytest.raises(ValueError, match="handler"):
        Registry().handler(job_type, timeout=timeout)


def test_a_handler_stays_the_function_that_it_was():
    def function(job: Job) -> object: ...

    assert Registry().handler("x")(function) is function


def test_what_only_binds_arguments_is_still_a_coroutine_function():
    async def function(more: int, job: Job) -> object: ...

    mine = Registry()
    mine.handler("x")(partial(function, 1))
    found = mine.get("x")
    assert found is not None
    assert found.is_async


def test_an_unknown_type_has_no_handler():
    assert Registry().get("x") is None
    assert Registry().types == []


def test_users_find_it_under_both_names():
    assert workqueue.handler is core.handler is handler
    assert workqueue.Job is core.Job is Job
    assert handler.__self__ is registry  # type: ignore[attr-defined]


class Awaits:
    async def __call__(self, job: Job) -> object: ...


class Plain:
    def __call__(self, job: Job) -> object: ...


class Method:
    async def run(self, job: Job) -> object: ...

    @staticmethod
    async def still(job: Job) -> object: ...


@pytest.mark.parametrize(
    ("function", "is_async"),
    [(Awaits(), True), (Plain(), False), (Method().run, True), (Method.still, True), (lambda job: 1, False),
     (partial(lambda more, job: 1, 2), False), (print, False), (lambda *jobs: 1, False),
     (lambda job, more=1: 1, False)],
)  # fmt: skip
def test_what_can_be_called_with_a_job_is_a_handler(function, is_async):
    mine = Registry()
    mine.handler("x")(function)
    found = mine.get("x")
    assert found is not None
    assert found.is_async is is_async


def generates(job: Job):
    yield 1


async def generates_too(job: Job):
    yield 1


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda: 1, r"must take one argument, the job"),
        (lambda job, more: 1, r"must take one argument, the job; it is .*<lambda>\(job, more\)"),
        (lambda *, job: 1, r"must take one argument"),
        (generates, r"is a generator"),
        (generates_too, r"is a generator"),
        (Plain, r"is a class"),
        (None, r"cannot be called"),
        ("send", r"cannot be called"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_where_it_is_registered(function, says):
    with pytest.raises(ValueError, match=rf"^handler 'x': .*{says}"):
        Registry().handler("x")(function)


def test_a_handler_without_its_type_is_told_how():
    with pytest.raises(ValueError, match=r'Plain.__call__: a handler needs the type .*@handler\("send_email"\)'):
        Registry().handler(cast(Any, Plain.__call__))  # as `@handler` alone does


# --- schedules


def job_function(job: Job) -> object: ...


def test_a_schedule_is_of_the_handler_below_it():
    registry = Registry()

    @registry.periodic("*/5 * * * *", tz="Europe/Berlin", payload={"a": 1}, name="often")
    @registry.periodic(every(minutes=1, seconds=30), missed="all", overlap="wait", jitter=5, queue="slow", retries=0)
    @registry.handler("report", retries=3, queue="mail")
    def report(job: Job) -> object: ...

    often, default = registry.schedules
    assert (often.name, often.cron, often.tz, often.type, often.payload) == (
        "often", "*/5 * * * *", "Europe/Berlin", "report", '{"a":1}',
    )  # fmt: skip
    assert job_options(often) == JobOptions(retries=3, queue="mail")
    assert (default.name, default.every, default.missed, default.overlap, default.jitter) == (
        "report", 90, "all", "wait", 5,
    )  # fmt: skip
    assert job_options(default) == JobOptions(queue="slow")
    assert registry.get("report").function is report  # type: ignore[union-attr]
    assert every(hours=1, days=1) == Every(90_000)


@pytest.mark.parametrize(
    ("when", "members", "said"),
    [
        ("* * * *", {}, "periodic '* * * *' of 'report': cron is not valid"),
        (every(), {}, "periodic Every(seconds=0) of 'report': every is not valid"),
        ("@daily", {"tz": "Europe/Nowhere"}, "periodic '@daily' of 'report': tz is not valid"),
        ("@daily", {"payload": [1]}, "periodic '@daily' of 'report': payload is not valid"),
        ("@daily", {"payload": {"a": object()}}, "periodic '@daily' of 'report': payload is not valid"),
        ("@daily", {"missed": "never"}, "periodic '@daily' of 'report': missed is not valid"),
        ("@daily", {"name": "a/b"}, "periodic '@daily' of 'report': name is not valid"),
        (30, {}, "periodic 30 of 'report': cron is not valid"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_when_it_is_imported(when, members, said):
    registry = Registry()
    registry.handler("report")(job_function)
    with pytest.raises(ValueError, match=r"periodic") as caught:
        registry.periodic(when, **members)(job_function)
    assert str(caught.value) == said
    assert registry.schedules == []


def test_a_schedule_without_a_handler_and_a_second_one_of_its_name_are_refused():
    registry = Registry()
    with pytest.raises(ValueError, match=r"put it above @handler"):
        registry.periodic("@daily")(job_function)
    registry.handler("report")(job_function)
    registry.periodic("@daily")(job_function)
    with pytest.raises(ValueError, match=r"there is a schedule 'report': give it a name"):
        registry.periodic("@hourly")(job_function)
    registry.periodic("@hourly", name="hourly")(job_function)


def test_users_find_them():
    assert workqueue.periodic == registry.periodic
    assert workqueue.every is every


def test_a_handler_runs_where_it_says():
    registry = Registry()

    async def coroutine(job: Job) -> object: ...
    def plain(job: Job) -> object: ...

    for name, function, runtime in (
        ("a", coroutine, None),
        ("b", coroutine, "asyncio"),
        ("c", plain, None),
        ("d", plain, "thread"),
    ):
        registry.handler(name, runtime=cast("Any", runtime))(function)
    found = {name: registry.get(name) for name in registry.types}
    assert [(each.runtime, each.is_async, each.can_be_cancelled) for each in found.values() if each] == [
        ("trio", True, True), ("asyncio", False, True), ("thread", False, False), ("thread", False, False),
    ]  # fmt: skip
    assert registry.uses("asyncio")
    for default, expected in (("asyncio", "asyncio asyncio thread thread"), ("trio", "trio asyncio thread thread")):
        registry.decide(default)
        kept = [handler for name in registry.types if (handler := registry.get(name))]
        assert " ".join(each.runtime for each in kept) == expected
        assert kept[0].is_async == (default == "trio")
    assert not Registry().uses("asyncio")
    for function, runtime, says in (
        (plain, "asyncio", "is a plain function"),
        (coroutine, "thread", "is a coroutine function"),
        (coroutine, "gevent", "must be one of trio, thread, asyncio"),
    ):
        with pytest.raises(ValueError, match=says):
            registry.handler("x", runtime=cast("Any", runtime))(function)
