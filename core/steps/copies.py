"""Copies: tasks of jobs that run already or have ended. Where a limit holds up a lane, they would hold it up, too.

After a loss of Redis each job that waits may have another task, and a person may cancel 100,000 jobs of a group at
once. What no limit concerns leaves by the thousand with the claims; but of a group that runs one job at a time each
copy would cost a claim, and with a rate one of its starts.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from workqueue.core.errors import InvalidTask
from workqueue.core.job import TERMINAL, JobState
from workqueue.core.queue import AHEAD_MAX, Queue, lane_of
from workqueue.core.steps.dead_letters import Discards
from workqueue.core.steps.lease import ClaimedTask, Lease, Permit
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import JobStore, RowStatus
from workqueue.core.wire import decode_task

AHEAD_AT_FIRST = 16  #: tasks of a lane that are looked at; where all of them are copies, GROWTH times as many
GROWTH = 8


def is_copy(status: RowStatus) -> bool:
    """By its row: what waits in Redis for this job is not to run."""
    return status.state in TERMINAL or status.state == JobState.PROCESSING


class Copies:
    """Takes copies out of the lanes in which a claim has met some. Mutable state: none."""

    def __init__(self, queue: Queue, store: JobStore, discards: Discards, until_answered: UntilAnswered) -> None:
        self._queue = queue
        self._store = store
        self._discards = discards
        self._until_answered = until_answered

    async def pass_over(self, lease: Lease, copies: Sequence[ClaimedTask]) -> None:
        """Drop what follows `copies` in their lanes and is a copy as well.

        They still hold their permits, so that the order of a group is kept: no other claim takes what is looked at
        here before it is back. Raises LeaseLost. Cancelled: what was looked at is in the flight, and goes back with
        the audit.
        """
        lanes = dict.fromkeys(lane for claimed in copies for lane in _lanes_of(claimed))
        each = AHEAD_AT_FIRST
        while lanes:
            some = list(lanes)[:AHEAD_MAX]
            each = min(each, AHEAD_MAX // len(some))
            again = await self._look(lease, some, each)
            lanes = dict.fromkeys([*again, *list(lanes)[AHEAD_MAX:]])
            each *= GROWTH

    async def _look(self, lease: Lease, lanes: list[str], each: int) -> list[str]:
        """Take up to `each` of each lane, drop the copies and give back the others; the lanes that had no others."""
        start = lease.next_number
        lease.next_number = start + each * len(lanes)
        claim_ahead = partial(self._queue.claim_ahead, lease.id, lanes, start=start, each=each)
        ahead = await self._until_answered(claim_ahead)
        ids = {}
        for number, _, line in ahead:
            try:
                ids[number] = decode_task(line).job_id
            except InvalidTask:
                ids[number] = None  # its own claim moves it to the dead letters
        known = [job_id for job_id in dict.fromkeys(ids.values()) if job_id is not None]
        statuses = await self._until_answered(partial(self._store.get_status, known)) if known else {}
        copies = {
            number
            for number, job_id in ids.items()
            if job_id is not None
            and (status := statuses.get(job_id)) is not None
            and status.queue == self._queue.name
            and is_copy(status)
        }
        await self._discards.ack(lease.id, sorted(copies))
        others = [(number, lane) for number, lane, _ in ahead if number not in copies]
        if in_lanes := [(number, lane) for number, lane in others if lane is not None]:
            await self._until_answered(partial(self._queue.return_ahead, lease.id, in_lanes))
        if elsewhere := [(number, 0, b"") for number, lane in others if lane is None]:
            await self._until_answered(partial(self._queue.give_back, lease.id, elsewhere))
        taken = Counter(lane for _, lane, _ in ahead)
        had_others = {lane for _, lane in others}
        return [lane for lane in lanes if taken[lane] == each and lane not in had_others]


def _lanes_of(claimed: ClaimedTask) -> list[str]:
    """Where a task that holds a permit may have come from."""
    options = claimed.task.options
    found = []
    if claimed.permit and options.group is not None:
        found.append(lane_of(options.queue, options.group, ""))
    if claimed.permit is Permit.TYPE:
        found.append(lane_of(options.queue, options.group or "", claimed.task.type))
    return found
