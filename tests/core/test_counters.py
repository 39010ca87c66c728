"""The three counters of a job."""

from workqueue.core.counters import NEVER_RUN, Counters


def test_the_number_of_the_next_run_counts_every_run_before_it():
    assert NEVER_RUN.run == 1
    assert Counters(attempts=1, recoveries=10, interruptions=100).run == 112
