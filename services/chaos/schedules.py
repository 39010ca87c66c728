"""A schedule in a chaos run with rows: each of its due times has made one job, whatever happened meanwhile. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

NAME = TYPE = "chaos.tick"
EVERY_SECONDS = 1.0
SWITCH = "WORKQUEUE_CHAOS_SCHEDULE"  #: the variable that makes a worker declare it


def judge_due_times(found: Sequence[tuple[datetime, int]]) -> list[str]:
    """What is wrong with the due times that have jobs, in order, and how many each has: none may be missing."""
    faults = [f"the due time {at} of {NAME} has {count} jobs" for at, count in found if count != 1]
    step = timedelta(seconds=EVERY_SECONDS)
    for (before, _), (after, _) in pairwise(found):
        if after - before != step:
            faults.append(f"between {before} and {after} due times of {NAME} have no job")
    return faults if found else [f"{NAME} has never made a job"]
