"""Whether more ran at once than a limit allows: what is seen, and what is not held against it."""

from tests.chaos.support import PID, evidence
from workqueue.services.chaos.history import History, Life, Trouble
from workqueue.services.chaos.ledger import Run, read_ledger
from workqueue.services.chaos.limits import GROUPS, LimitSet, overruns
from workqueue.services.chaos.verdict import Kind, judge

SCOPES = {1: frozenset({"group:a", "type:x"}), 2: frozenset({"group:a", "type:x"}), 3: frozenset({"group:b"})}


def runs(*spans: tuple[int, float, float | None]) -> list[Run]:
    return [Run(n, 1, 7, begun, ended, "end" if ended else "") for n, begun, ended in spans]


def found(limit: LimitSet, *spans: tuple[int, float, float | None], explained: bool = False) -> list[int]:
    over = overruns(limit, SCOPES, runs(*spans), lambda run, at: explained, grace_seconds=1.0)
    return [run.n for run in over]


def test_a_run_that_begins_while_as_many_as_allowed_go_on_is_seen():
    for scope in (GROUPS, "group:a", "type:x"):
        limit = LimitSet(scope, 1, 0.0, 100.0)
        assert found(limit, (1, 10, 12), (2, 11, 13)) == [2]
        assert found(limit, (1, 10, 11), (2, 11, 13)) == []
        assert found(limit, (1, 10, 12), (3, 11, 13)) == [], "another group"
        assert found(LimitSet(scope, 2, 0.0), (1, 10, 12), (2, 11, 13)) == []
    assert found(LimitSet("group:b", 1, 0.0), (1, 10, 12), (2, 11, 13)) == []


def test_a_limit_counts_only_while_it_certainly_held():
    spans = (1, 10.0, 12.0), (2, 11.0, 13.0)
    assert found(LimitSet(GROUPS, 1, 10.5, 20.0), *spans) == [], "just set: a permit may be older"
    assert found(LimitSet(GROUPS, 1, 0.0, 10.9), *spans) == []
    assert found(LimitSet(GROUPS, 1, 9.0, 20.0), *spans) == [2]


def test_a_run_whose_worker_died_counts_no_more():
    assert found(LimitSet(GROUPS, 1, 0.0), (1, 10, None), (2, 11, 13)) == []
    assert found(LimitSet(GROUPS, 1, 0.0), (1, 10, 12), (2, 11, 13), explained=True) == []


def test_the_verdict_names_it():
    lines = "start 101 7 1 1\nstart 102 7 2 1\nend 103 7 1 1\nend 104 7 2 1"
    limits = [LimitSet("type:x", 1, 0.0)]
    verdict = judge(evidence(lines, limits=limits, scopes=SCOPES))
    assert verdict.count(Kind.OVERRUN) == 1
    assert judge(evidence(lines, limits=[], scopes=SCOPES)).count(Kind.OVERRUN) == 0
    assert len(read_ledger(lines.splitlines()).runs) == 2


def test_a_permit_that_redis_lost_while_an_outage_held_up_its_claim_is_no_overrun():
    lines = "start 120 7 1 1\nstart 121 7 2 1\nend 122 7 1 1\nend 123 7 2 1"
    limits = [LimitSet("type:x", 1, 0.0)]
    away = Trouble(104.0, 119.0, "worker 1", "Postgres")
    for lost, troubles, expected in ((105.0, [away], 0), (105.0, [], 1), (95.0, [away], 1), (118.0, [], 0)):
        history = History([Life(0.0, 1000.0, "worker 1", PID, 900.0)], stops=[], troubles=troubles, losses=[lost])
        verdict = judge(evidence(lines, limits=limits, scopes=SCOPES, history=history))
        assert verdict.count(Kind.OVERRUN) == expected, (lost, troubles)
