"""Schedules without Postgres: those that the code declares. Redis has their due times, and one script fires them.

The key of a due time is its place in a sorted set, as `next_at` is where there are rows (steps/schedules.py). Which
schedules there are, only the code knows: so one that is changed is another one, whose times begin anew, and one that no
worker declares makes no jobs. A loss of Redis begins all of them anew.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import trio
from msgspec import structs

from workqueue.core.errors import InvalidOption
from workqueue.core.ids import new_ids
from workqueue.core.queue import PUSH_BYTES_MAX, DueSchedule, Queue
from workqueue.core.schedules import Overlap, Plan, Schedule, first_time, job_options, plan
from workqueue.core.steps.heartbeat import beat
from workqueue.core.steps.schedules import DUE_MAX, JOBS_MAX
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.core.wire import Task, encode_task

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0  #: between two looks at Redis's clock while nothing is due


class FireTasks:
    """One for each worker. Mutable state: when each schedule is due next, as far as is known, and how far Redis's clock
    is from ours. Both only say when to ask Redis, which decides: a worker that knows nothing is due sends nothing."""

    def __init__(
        self,
        queue: Queue,
        schedules: Sequence[Schedule],
        random: Random,
        *,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._queue = queue
        self._random = random
        self._clock = clock
        self._schedules: dict[str, Schedule] = {}
        for each in schedules:
            if each.overlap is not Overlap.ALLOW:
                log.error(
                    "schedule %r is left out: overlap=%r needs DATABASE_URL: only a row tells whether a job has ended",
                    each.name,
                    str(each.overlap),
                )
            else:
                self._schedules[key_of(each)] = each
        self._due_ms: dict[str, int] = dict.fromkeys(self._schedules, 0)
        self._ahead_ms = math.inf  # Redis's clock before ours
        self._looked_at = -math.inf

    async def run_once(self) -> bool:
        """Push the tasks of what is due; True: there may be more.

        Raises QueueUnavailable. Cancelled, killed or without an answer: tasks were pushed and their schedules moved on,
        or neither was, for each of them.
        """
        if not self._schedules:
            return False
        ours = self._clock()
        if ours - self._looked_at >= LOOK_SECONDS:
            await self._ask([])
            self._looked_at = ours
        guess = ours * 1000 + self._ahead_ms
        keys = [key for key, due_ms in self._due_ms.items() if due_ms <= guess][:DUE_MAX]
        if not keys:
            return False
        now_ms = await self._ask([DueSchedule(key) for key in keys])
        behind = len(keys) == DUE_MAX
        batch: list[DueSchedule] = []
        size = 0
        for key in keys:
            if (fired := self._fired(key, now_ms, room=max(1, JOBS_MAX // len(keys)))) is None:
                continue
            behind |= fired.next_ms is not None and fired.next_ms <= now_ms
            bytes_more = sum(len(task) for _, task in fired.tasks)
            if batch and size + bytes_more > PUSH_BYTES_MAX:
                beat(TRIP_SECONDS)
                await self._ask(batch)
                batch, size = [], 0
            batch.append(fired)
            size += bytes_more
        if batch:
            beat(TRIP_SECONDS)
            await self._ask(batch)
        return behind

    def _fired(self, key: str, now_ms: int, *, room: int) -> DueSchedule | None:
        """None: it is not due."""
        schedule, due_ms = self._schedules[key], self._due_ms[key]
        if due_ms > now_ms:
            return None
        now = _moment(now_ms)
        try:
            if not due_ms:
                return DueSchedule(key, None, _ms(first_time(schedule, now)))
            room = max(1, min(room, PUSH_BYTES_MAX // (len(schedule.payload) + 1000)))
            planned = plan(schedule, _moment(due_ms), now, room=room)
            if planned.next_at is None:
                raise InvalidOption("it has no more times")
        except InvalidOption as error:
            log.error("schedule %r makes no jobs: %s", schedule.name, error)
            self._due_ms[key] = 1 << 62
            return None
        return DueSchedule(
            key,
            due_ms,
            _ms(planned.next_at),
            job_options(schedule).queue,
            list(self._tasks(schedule, planned)),
            waits=schedule.jitter > 0,
        )

    def _tasks(self, schedule: Schedule, planned: Plan) -> Iterator[tuple[int, bytes]]:
        for job_id, due_at in zip(new_ids(len(planned.dues)), planned.dues, strict=True):
            jitter = self._random.uniform(0.0, schedule.jitter) if schedule.jitter else 0.0
            options = job_options(schedule)
            if options.expires_at is not None:
                options = structs.replace(options, expires_at=options.expires_at + timedelta(seconds=jitter))
            yield (
                math.ceil(jitter * 1000),
                encode_task(
                    Task(
                        schedule.type,
                        schedule.payload.encode(),
                        options,
                        job_id=job_id,
                        extra=b'"schedule":%b,"due_at":%b'
                        % (msgspec.json.encode(schedule.name), msgspec.json.encode(due_at)),
                    )
                ),
            )

    async def _ask(self, schedules: Sequence[DueSchedule]) -> int:
        """Ask the script, and keep what it says; the ms of Redis's clock."""
        now_ms, dues = await self._queue.fire(schedules)
        self._ahead_ms = now_ms - self._clock() * 1000
        for each, due_ms in zip(schedules, dues, strict=True):
            self._due_ms[each.key] = due_ms or 0
        return now_ms


def key_of(schedule: Schedule) -> str:
    """Its name, and what says when it is due: with other times it is another schedule."""
    times = msgspec.json.encode([schedule.cron, schedule.every, schedule.tz])
    return f"{schedule.name}/{hashlib.sha256(times).hexdigest()[:16]}"


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
