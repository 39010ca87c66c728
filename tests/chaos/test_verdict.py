"""The verdict itself: what a sound history looks like, and that each kind of unsoundness is seen."""

from typing import Any

import pytest

from tests.chaos.support import PID, evidence, ran, row
from workqueue.services.chaos.history import Life, Stop, Trouble
from workqueue.services.chaos.load import FOREIGN_FIRST, Told
from workqueue.services.chaos.person import BULK_TYPE, PAUSED_TYPE, Act, Pause
from workqueue.services.chaos.verdict import Evidence, Kind, judge


def kinds(found: Evidence) -> list[Kind]:
    return [fault.kind for fault in judge(found).faults]


ONCE = ran((1, 101, "end"))
TWICE = ran((1, 101, "end"), (2, 102, "end"))
CUT_SHORT = ran((1, 101, ""), (2, 104, "end"))


def test_a_job_that_was_accepted_and_ran_once_is_well():
    assert judge(evidence(ONCE, rows=[row()])).is_good
    assert judge(evidence(ONCE)).is_good


def test_a_retry_is_no_duplicate():
    verdict = judge(evidence(ran((1, 101, "fail"), (2, 102, "end")), rows=[row(attempts=1)]))
    assert verdict.is_good
    assert verdict.explained == {}


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        ("", None),
        (ran((1, 101, "")), None),
        ("", []),
        (ONCE, [row("processing")]),
        ("", [row("pending")]),
        ("", [row("cancelled")]),
        (ran((1, 101, "")), [row()]),
        ("", [row("failed", attempts=4)]),
    ],
)
def test_an_accepted_job_without_an_end_or_a_run_is_lost(lines, rows):
    assert Kind.LOST in kinds(evidence(lines, rows=rows))


def test_a_job_that_ended_and_ran_again_without_a_cause_is_a_duplicate():
    assert kinds(evidence(TWICE, rows=[row(interruptions=1)])) == [Kind.DUPLICATE]
    assert kinds(evidence(TWICE)) == [Kind.DUPLICATE]
    assert judge(evidence(TWICE)).count(Kind.DUPLICATE) == 1


def test_runs_that_the_row_does_not_count_are_seen():
    assert kinds(evidence(TWICE, rows=[row()])) == [Kind.DUPLICATE, Kind.LIE]


def test_two_runs_of_one_number_are_seen_even_where_a_fault_would_explain_them():
    found = evidence(ran((1, 101, ""), (1, 102, "end")))
    life = found.history.lives[0]
    life.killed, life.asked_at, life.ended = True, 101.5, 101.5
    assert kinds(found) == [Kind.LIE]


@pytest.mark.parametrize("lines", [TWICE, CUT_SHORT])
def test_a_kill_explains_a_second_run_only_while_the_worker_had_the_job(lines):
    found = evidence(lines, rows=[row(recoveries=1)])
    life = found.history.lives[0]
    life.killed, life.asked_at, life.ended = True, 101.3, 101.3
    assert judge(found).is_good
    assert judge(found).explained == {"killed": 1}
    life.asked_at = life.ended = 100.9
    assert kinds(found) == [Kind.DUPLICATE], "before it began"


def test_a_kill_long_after_a_run_has_ended_explains_nothing():
    found = evidence(ran((1, 101, "end"), (2, 130, "end")))
    life = found.history.lives[0]
    life.killed, life.asked_at, life.ended = True, 120.0, 120.0
    assert kinds(found) == [Kind.DUPLICATE]
    found.history.troubles.append(Trouble(101, 118, "", "Redis", ""))
    assert judge(found).is_good, "an outage held its outcome up until then"


def test_an_end_that_was_asked_for_explains_a_second_run_only_if_a_server_was_out_of_reach():
    found = evidence(TWICE)
    life = found.history.lives[0]
    life.asked_at, life.ended = 101.05, 101.5
    assert kinds(found) == [Kind.DUPLICATE]
    found.history.troubles.append(Trouble(101.0, 101.4, "", "Postgres", "worker 1"))
    assert judge(found).explained == {"ended out of reach": 1}


def test_a_kill_of_another_worker_explains_nothing():
    found = evidence(TWICE)
    found.history.lives.append(Life(0.0, 101.3, "worker 2", PID + 1, 101.3, killed=True))
    assert kinds(found) == [Kind.DUPLICATE]


@pytest.mark.parametrize(("seconds", "explains"), [(1.0, False), (2.0, True)])
def test_standing_still_explains_a_second_run_once_it_may_cost_the_lease(seconds, explains):
    found = evidence(CUT_SHORT)
    found.history.stops.append(Stop(101.2, 101.2 + seconds, "worker 1", PID))
    assert judge(found).is_good is explains
    noted = evidence(f"{CUT_SHORT}\nasleep 101.2 {PID} {101.2 + seconds}")
    assert judge(noted).is_good is explains


def test_being_cut_off_from_redis_alone_explains_a_second_run_and_an_outage_for_all_does_not():
    found = evidence(CUT_SHORT)
    found.history.troubles.append(Trouble(100.0, 101.0, "", "Redis", "worker 1"))
    assert not judge(found).is_good
    found.history.troubles.append(Trouble(101.5, 102.5, "", "Redis", "worker 1"))
    assert judge(found).is_good, "no renewal for certain in the gap between the two"
    for server, process in [("Redis", ""), ("Postgres", "worker 1"), ("Redis", "worker 2")]:
        found.history.troubles[:] = [Trouble(100.0, 103.0, "", server, process)]
        assert not judge(found).is_good


def test_a_loss_of_redis_explains_a_second_run_of_what_was_in_flight():
    found = evidence(CUT_SHORT)
    found.history.losses.append(101.5)
    assert judge(found).is_good
    found.history.losses[:] = [97.0]
    assert not judge(found).is_good


def test_a_refused_job_that_ran_is_seen_unless_it_could_not_be_taken_back():
    found = evidence(ONCE, rows=[row()], answer="failed to enqueue task")
    assert kinds(found) == [Kind.LIE]
    found.history.troubles.append(Trouble(100.0, 100.05, "", "Postgres", "producer 1"))
    assert judge(found).is_good
    redis_only = evidence(ONCE, answer="failed to enqueue task")
    assert kinds(redis_only) == [Kind.LIE]
    redis_only.history.troubles.append(Trouble(100.0, 100.05, "", "Redis", ""))
    assert judge(redis_only).is_good


def test_a_cancelled_job_never_ran():
    assert judge(evidence("", rows=[row("cancelled")], answer="failed to enqueue task")).is_good
    assert kinds(evidence(ONCE, rows=[row("cancelled")], answer="failed to enqueue task")) == [Kind.LIE, Kind.LIE]


def test_a_job_without_an_answer_may_have_run_or_not():
    assert judge(evidence("", answer="unknown")).is_good
    assert judge(evidence(ONCE, answer="unknown")).is_good
    assert judge(evidence(ONCE, rows=[row()], answer="failed to persist job")).is_good
    assert kinds(evidence(ONCE, rows=[row("processing")], answer="unknown")) == [Kind.LIE, Kind.LOST]


def test_a_job_that_failed_for_good_has_used_its_retries_up():
    lines = ran((1, 101, "fail"), (2, 102, "fail"))
    assert judge(evidence(lines, rows=[row("failed", attempts=2, retries=1)])).is_good
    assert kinds(evidence(lines, rows=[row("failed", attempts=2, retries=3)])) == [Kind.LIE]
    died = row("failed", recoveries=3, error="its worker died 3 times while it ran")
    found = evidence(ran((1, 101, "")), rows=[died])
    assert kinds(found) == [Kind.LIE], "nothing killed it"
    life = found.history.lives[0]
    life.killed, life.asked_at, life.ended = True, 101.05, 101.05
    assert judge(found).poisoned == 1
    assert judge(found).is_good


def test_dead_letters_are_an_end_without_rows():
    assert judge(evidence(ran((1, 101, "fail")), dead={1: 1})).is_good
    assert kinds(evidence(ran((1, 101, "fail")), dead={1: 2})) == [Kind.LIE]
    assert kinds(evidence(ONCE, dead={1: 1})) == [Kind.LIE]


def test_an_external_task_may_be_lost_with_redis_before_a_worker_has_taken_it():
    n = FOREIGN_FIRST
    found = evidence("", rows=[], foreign={n: Told("accepted", "", 50.0, 50.1)}, told={})
    assert kinds(found) == [Kind.LOST]
    found.history.losses.append(51.0)
    assert judge(found).is_good
    assert judge(found).foreign_lost == 1
    found.history.losses[:] = [49.0]
    assert kinds(found) == [Kind.LOST]


def test_what_concerns_no_single_job_spoils_the_verdict_too():
    assert not judge(evidence(ONCE, violations=["a key is left"])).is_good
    assert not judge(evidence(f"{ONCE}\nnonsense")).is_good


def act(kind: str, sent: float, status: int | None = 200, was: str = "", answered: float | None = None) -> Act:
    return Act(kind, sent, sent + 0.1 if answered is None else answered, status, was)


def texts_of(lines: str, acts: list[Act], **more: Any) -> list[str]:
    return [fault.text for fault in judge(evidence(lines, acts={1: acts}, **more)).faults]


def test_a_job_that_a_person_cancelled_in_time_does_not_run():
    cancelled = act("cancel", 100.0, was="cancelled")
    assert texts_of("", [cancelled], rows=[row("cancelled")]) == []
    [text] = texts_of(ran((1, 101, "end")), [cancelled], rows=[row()])
    assert text == "run 1 began after it was answered 200 to cancel"
    [text] = texts_of("", [act("cancel", 100.0, 409)], rows=[row("cancelled")])
    assert text == "it was accepted and is cancelled"


def test_what_was_claimed_when_it_was_cancelled_is_heard_of_within_seconds():
    cancelled = act("cancel", 100.0, was="processing")
    assert texts_of(ran((1, 101, "cut")), [cancelled], rows=[row("cancelled", earlier_runs=1)]) == []
    assert texts_of(ran((1, 110, "end")), [cancelled], rows=[row()]) != []
    history = evidence().history
    history.troubles.append(Trouble(95.0, 109.0, "black hole", "Redis", "worker 1"))
    assert texts_of(ran((1, 110, "end")), [cancelled], rows=[row()], history=history) == []


@pytest.mark.parametrize("status", [200, None, 500])
def test_a_retry_by_hand_explains_runs_whose_numbers_begin_anew(status: int | None):
    acts = [act("cancel", 100.0, was="cancelled"), act("retry", 101.0, status)]
    assert texts_of(ran((1, 102, "end")), acts, rows=[row()]) == []
    lines = ran((1, 100.05, "cut"), (1, 102, "end"))
    assert texts_of(lines, acts, rows=[row(earlier_runs=1)]) == []
    assert texts_of(lines, acts[:1], rows=[row(earlier_runs=1)]) != []
    assert texts_of(ran((1, 102, "end"), (1, 103, "end")), acts, rows=[row(recoveries=1)]) != []


def test_a_deleted_job_has_no_row_and_does_not_run():
    acts = [act("cancel", 100.0, was="cancelled"), act("delete", 101.0, 204)]
    assert texts_of("", acts, rows=[]) == []
    assert texts_of(ran((1, 103, "end")), acts, rows=[]) != []
    assert texts_of("", [act("delete", 101.0, 409)], rows=[]) == ["it was accepted and has no row"]


def test_a_paused_type_does_not_start():
    paused = {"pauses": [Pause(100.0, 110.0)], "kinds": {1: frozenset({PAUSED_TYPE, "queue pdf"})}}
    assert texts_of(ran((1, 105, "end")), [], rows=[row()], **paused) == [
        "run 1 began while its type or queue was paused"
    ]
    for at in (99.0, 102.0, 111.0):
        assert texts_of(ran((1, at, "end")), [], rows=[row()], **paused) == []
    paused["kinds"] = {1: frozenset({"chaos.naps", "queue default"})}
    assert texts_of(ran((1, 105, "end")), [], rows=[row()], **paused) == []


def test_a_paused_queue_does_not_start():
    paused = {"pauses": [Pause(100.0, 110.0, "queue pdf")], "kinds": {1: frozenset({"chaos.naps", "queue pdf"})}}
    assert len(texts_of(ran((1, 105, "end")), [], rows=[row()], **paused)) == 1
    paused["kinds"] = {1: frozenset({PAUSED_TYPE, "queue mail"})}
    assert texts_of(ran((1, 105, "end")), [], rows=[row()], **paused) == []


def test_a_delayed_job_does_not_begin_before_it_is_due():
    lines = ran((1, 103.0, "end"))
    sent = evidence(lines).told[1].sent
    assert texts_of(lines, [], rows=[row()], delays={1: 103.0 - sent - 1}) == []
    assert texts_of(lines, [], rows=[row()], delays={1: 103.0 - sent + 1}) != []


def test_a_retry_of_many_explains_that_a_failed_job_begins_anew():
    lines = ran(*((number, 100.0 + number, "fail") for number in range(1, 5)), (1, 110, "fail"))
    failed = row("failed", attempts=4, earlier_runs=1)
    many = {"retried_many": [106.0], "kinds": {1: frozenset({BULK_TYPE})}}
    assert texts_of(lines, [], rows=[failed], **many) == []
    assert texts_of(lines, [], rows=[failed], retried_many=[111.0], kinds={1: frozenset({BULK_TYPE})}) != []


def test_the_first_run_after_a_retry_of_many_may_have_been_cut_short_before_it_began():
    lines = ran(*((number, 100.0 + number, "fail") for number in range(1, 5)), (2, 110, "end"))
    row_ = row(attempts=0, interruptions=1, earlier_runs=4)
    assert texts_of(lines, [], rows=[row_], retried_many=[106.0], kinds={1: frozenset({BULK_TYPE})}) == []
    assert texts_of(lines, [], rows=[row_]) != []
