"""What a run tells, before it is stored."""

import threading

import pytest

from workqueue.core.job import Job
from workqueue.core.report import LINES_MAX, TEXT_LENGTH_MAX, Progress, Report


def test_lines_are_numbered_in_order_and_stay_until_they_are_stored():
    report = Report()
    for text in ("one", "two", "three"):
        report.log(text)
    progress, lines = report.pending(2)
    assert (progress, [line.text for line in lines]) == (None, ["one", "two"])
    assert lines[0].number < lines[1].number
    assert report.pending(2)[1] == lines
    report.log("four")
    report.stored(progress, lines)
    assert [line.text for line in report.pending(9)[1]] == ["three", "four"]
    assert not report.is_stored
    report.stored(*report.pending(9))
    assert report.is_stored


def test_of_more_lines_than_fit_the_newest_stay():
    report = Report()
    for number in range(LINES_MAX + 5):
        report.log(str(number))
    taken = report.pending(LINES_MAX)
    assert [taken[1][0].text, taken[1][-1].text] == ["5", str(LINES_MAX + 4)]
    for number in range(3):  # they push out what was taken, and is stored now
        report.log(f"more {number}")
    report.stored(*taken)
    assert [line.text for line in report.pending(9)[1]] == ["more 0", "more 1", "more 2"]


def test_the_last_progress_counts_and_one_that_came_meanwhile_is_not_taken_for_stored():
    report = Report()
    report.progress(0, "begin")
    report.progress(0.5, "half")
    taken = report.pending(9)
    assert taken[0] == Progress(0.5, "half")
    report.progress(0.5, "half")
    report.stored(*taken)
    assert report.pending(9)[0] == Progress(0.5, "half")


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf"), "0.5", None])
def test_what_is_no_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        Report().progress(fraction, "")


def test_texts_are_bounded():
    report = Report()
    report.log("x" * 5000)
    report.progress(1, "y" * 5000)
    progress, [line] = report.pending(9)
    assert progress is not None
    assert len(line.text) == len(progress.text) == TEXT_LENGTH_MAX
    assert line.text.endswith("…")


def test_threads_may_log_at_once():
    report = Report()

    def log() -> None:
        for _ in range(100):
            report.log("x")

    threads = [threading.Thread(target=log) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [line.number for line in report.pending(LINES_MAX)[1]]
    assert len(set(numbers)) == 800
    assert numbers == sorted(numbers)


def test_a_handler_can_be_tested_without_a_worker():
    job = Job("1", "x", {}, 1, 0)
    job.progress(0.5, "half")
    job.log("hello")
