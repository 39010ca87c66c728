from functools import partial

import pytest

import core
import workqueue
from core.handlers import Registry, handler, registry
from core.job import Job


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
