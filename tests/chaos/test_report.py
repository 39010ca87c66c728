"""What a run has shown, in words."""

from pathlib import Path

from tests.chaos.support import evidence, ran, row
from workqueue.services.chaos.report import SHOWN_MAX, complaints, summary
from workqueue.services.chaos.run import Options, Outcome
from workqueue.services.chaos.verdict import Fault, Kind, Verdict, judge


def outcome(verdict: Verdict | None = None, **more) -> Outcome:
    found = evidence(ran((1, 101, "end")), rows=[row()], **more)
    return Outcome(Options(seed=3, seconds=10, jobs=1), verdict or judge(found), found, 1, 12.4, Path("folder"))


def test_a_good_run_has_its_figures_and_no_complaint():
    figures = dict(summary(outcome()))
    assert (figures["jobs over HTTP"], figures["  accepted"], figures["runs"], figures["lost"]) == ("1", "1", "1", "0")
    assert (figures["seed"], figures["seconds"]) == ("3", "12")
    assert list(complaints(outcome())) == []


def test_faults_are_counted_by_their_kind():
    ended = outcome()
    ended.evidence.history.counts.update({"kill a worker": 2, "kill Redis": 1, "cut the link": 4, "delay the link": 1})
    figures = dict(summary(ended))
    assert (figures["kills (-9)"], figures["cuts, delays, lost answers"], figures["restarts"]) == ("3", "5", "0")


def test_a_complaint_says_what_is_known_of_its_job():
    bad = Verdict(faults=[Fault(1, Kind.LOST, "no end")], violations=["a key is left"])
    said = list(complaints(outcome(bad)))
    assert said[:2] == ["a key is left", f"job 1: {Kind.LOST}: no end"]
    assert "told 'accepted' by producer 1, 100.000 to 100.100" in said[2]
    assert "line 1: job 1 run 1" in said[-1]


def test_complaints_are_bounded_and_the_rest_is_counted():
    bad = Verdict(faults=[Fault(n, Kind.LOST, "no end") for n in range(100, 200)])
    said = list(complaints(outcome(bad)))
    assert sum(line.startswith("job ") for line in said) == SHOWN_MAX
    assert said[-1] == f"... and more: {100 - 2 * SHOWN_MAX}"
