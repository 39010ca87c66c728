"""The ledger: runs are put together from the lines of their handlers."""

from workqueue.services.chaos.ledger import Stillness, read_ledger


def test_lines_become_runs_in_the_order_of_their_starts():
    ledger = read_ledger(["start 2.0 7 1 2", "start 1.0 7 1 1", "end 1.5 7 1 1", "start 1.2 8 5 1", "cut 2.5 7 1 2"])
    assert ledger.faults == []
    runs = [(run.number, run.pid, run.begun, run.ended, run.how) for run in ledger.runs[1]]
    assert runs == [(1, 7, 1.0, 1.5, "end"), (2, 7, 2.0, 2.5, "cut")]
    [cut_short] = ledger.runs[5]
    assert cut_short.ended is None
    assert "no end" in str(cut_short)


def test_times_without_a_look_are_kept_by_process():
    assert read_ledger(["asleep 1.0 7 3.5"]).stillness == [Stillness(7, 1.0, 3.5)]


def test_a_line_that_makes_no_sense_is_a_fault_and_hides_no_other():
    ledger = read_ledger(["start 1.0 7 1", "", "end 1.0 7 1 1", "asleep 1.0", "start 1.0 7 2 1"])
    assert [fault.split()[1] for fault in ledger.faults] == ["1", "2", "3", "4"]
    assert list(ledger.runs) == [2]
