"""Options of a job, from a request or a task to the members of a task."""

import json

import pytest

from workqueue.core.errors import InvalidTask, RetriesNegative
from workqueue.core.options import (
    DEFAULTS,
    NAMES,
    RETRIES_MAX,
    JobOptions,
    RequestedOptions,
    TaskOptions,
    check_options,
    members,
    options_of,
    read_options,
)


def test_absent_options_are_the_defaults():
    assert read_options(RequestedOptions()) is DEFAULTS
    assert options_of(TaskOptions()) is DEFAULTS
    assert read_options(RequestedOptions(retries=0)) is DEFAULTS


@pytest.mark.parametrize("retries", [1, RETRIES_MAX])
def test_options_keep_their_values_from_the_request_to_the_task(retries):
    options = read_options(RequestedOptions(retries=retries))
    check_options(options)
    assert options == options_of(TaskOptions(retries=retries)) == JobOptions(retries)
    assert json.loads(b"{%b}" % members(options)) == {"retries": retries}


def test_retries_are_bounded_on_both_sides():
    with pytest.raises(InvalidTask, match=f"at most {RETRIES_MAX}"):
        read_options(RequestedOptions(retries=RETRIES_MAX + 1))
    with pytest.raises(RetriesNegative):
        check_options(read_options(RequestedOptions(retries=-1)))


def test_retries_always_stand_in_a_task():
    assert members(DEFAULTS) == members(JobOptions()) == b'"retries":0'


def test_requests_and_tasks_have_every_option():
    assert set(NAMES) == set(TaskOptions.__struct_fields__) == set(RequestedOptions.__struct_fields__)
