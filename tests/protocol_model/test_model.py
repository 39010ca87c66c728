"""The protocol is explored at random, and each of its mechanisms is seen to be needed: without it something breaks."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from tests.protocol_model.explore import explore
from tests.protocol_model.mechanisms import MECHANISMS, Options

TESTS = Path(__file__).parent.parent
PART = 40  #: schedules a test: so that two processes share them

MODES = {
    "with losses of Redis": Options(),
    "without losses": Options(losses=False),
    "a type that is paused": Options(pausing=True, person=True),
    "jobs that wait for a time": Options(timed=True, person=True),
    "schedules": Options(firing=True),
    "unique keys": Options(timed=True, unique=True),
    "groups and limits": Options(grouped=True, person=True),
    "groups and limits, without losses": Options(grouped=True, pausing=True, losses=False),
    "Redis only": Options(redis_only=True, losses=False),
    "Redis only, groups and limits": Options(redis_only=True, losses=False, grouped=True),
}
SHOWN = [name for name, mechanism in MECHANISMS.items() if mechanism.seed]
ELSEWHERE = [name for name, mechanism in MECHANISMS.items() if not mechanism.seed]


@pytest.mark.parametrize("first", [1, 1 + PART])
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_lost_and_nothing_runs_twice_in_some_schedules(mode: str, first: int) -> None:
    bad = {}
    for seed in range(first, first + PART):
        if violations := explore(seed, MODES[mode]).violations:
            bad[seed] = violations
    assert not bad, f"{mode}: python -m tests.protocol_model --schedules 1 --trace --seed {next(iter(bad))}"


@pytest.mark.parametrize("name", SHOWN)
def test_without_a_mechanism_a_schedule_goes_bad(name: str) -> None:
    mechanism = MECHANISMS[name]
    without = mechanism.without(name)
    assert explore(mechanism.seed, without).violations, f"another one: --find --without {name} --schedules 1000"
    assert not explore(mechanism.seed, replace(without, off=frozenset())).violations, "and with it nothing is wrong"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_no_schedule_shows_has_its_reason_and_a_test_of_the_code(name: str) -> None:
    mechanism = MECHANISMS[name]
    assert mechanism.why
    path, _, test = mechanism.test.partition("::")
    tree = ast.parse((TESTS / path).read_text("utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_same_seed_gives_the_same_schedule() -> None:
    one, two = (explore(7, Options(), tracing=True) for _ in range(2))
    assert one == two
    assert len(one.trace) > 100
