"""A person who acts on jobs during a chaos run: cancels, retries, runs now, deletes, pauses types and queues, and
changes a limit. Each act is recorded with its answer, for the verdict."""

import time
from collections import deque
from random import Random

import msgspec
import trio
from msgspec import Struct

from workqueue.services.chaos import schedules
from workqueue.services.chaos.client import Client, NoAnswer, NotSent
from workqueue.services.chaos.limits import GROUPS, LimitSet
from workqueue.services.chaos.load import Load

HANDS = 4  #: acts at once
ACT_SECONDS = 0.1  #: between two acts of one hand
ANSWER_SECONDS = 20.0
RECENT_MAX = 200  #: of the jobs that were accepted last: these are cancelled
PAUSED_TYPE = "chaos.quick"
PAUSED_QUEUE = "pdf"
PAUSED_SECONDS = (1.0, 6.0)
LIMITED_SECONDS = (6.0, 14.0)  #: until the limit of each group is another one
PAUSE_EVERY_SECONDS = 15.0
LATE_SECONDS = 3.0
BULK_EVERY_SECONDS = 20.0
BULK_TYPE = "chaos.fails"

NOT_SENT = 0  #: in the place of a status

ACTS = ("cancel", "retry", "run-now", "delete")
WEIGHTS = (55, 25, 10, 10)
_SCHEDULE = f"/api/schedules/{schedules.NAME}"
_TYPE, _QUEUE = f"/api/types/{PAUSED_TYPE}", f"/api/queues/{PAUSED_QUEUE}"


class Act(Struct):
    """One act on one job."""

    kind: str  #: cancel | retry | run-now | delete
    sent: float  #: monotonic clock
    answered: float = float("inf")  #: inf: there was no answer
    status: int | None = None
    was: str = ""  #: the job's status in the answer

    @property
    def may_have_happened(self) -> bool:
        return self.status is None or self.status in {200, 204, 500}  # 500: it is not known

    @property
    def happened(self) -> bool:
        return self.status in {200, 204}


class Pause(Struct):
    """A type or a queue was paused, certainly from `begun` (its answer) until `ended` (the resumption was sent)."""

    begun: float
    ended: float
    what: str = PAUSED_TYPE  #: a type, or `queue NAME`


class Person:
    """Acts until cancelled; then `resume_at_last` leaves nothing paused but the schedule.

    Mutable state: what was done, and which jobs are known to be cancelled.
    """

    def __init__(self, load: Load, ports: dict[str, int], *, seed: int) -> None:
        self._load = load
        self._ports = ports
        self._random = Random(f"{seed} person")  # noqa: S311 - repeatable
        self._cancelled: deque[tuple[int, str]] = deque(maxlen=500)
        self.acts: dict[int, list[Act]] = {}
        self.pauses: list[Pause] = []
        self.retried_many: list[float] = []  #: when it was asked for
        self.limits: list[LimitSet] = []
        self.counts: dict[str, int] = {}
        self.violations: list[str] = []

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(HANDS):
                nursery.start_soon(self._act_on_jobs)
            nursery.start_soon(self._pause_and_resume, PAUSED_TYPE, _TYPE)
            nursery.start_soon(self._pause_and_resume, f"queue {PAUSED_QUEUE}", _QUEUE)
            nursery.start_soon(self._retry_many)
            nursery.start_soon(self._change_limits)

    async def resume_at_last(self) -> None:
        """Once `run` has ended: resume what may be paused, also by a request that a stopped producer still had."""
        for late in (0.0, LATE_SECONDS):
            await trio.sleep(late)
            await self._insist(f"{_TYPE}/resume")
            await self._insist(f"{_QUEUE}/resume")
            await self._insist(f"{_SCHEDULE}/pause")  # or there would always be one more job

    async def _insist(self, path: str) -> None:
        """Lasts until a producer has answered."""
        while True:
            status, _ = await self._ask("POST", path)
            if status == 200:
                return
            await trio.sleep(0.2)

    async def _act_on_jobs(self) -> None:
        while True:
            await trio.sleep(self._random.uniform(0.2, 1.8) * ACT_SECONDS)
            [kind] = self._random.choices(ACTS, WEIGHTS)
            recent = self._load.recent if kind in {"cancel", "run-now"} else self._cancelled
            if recent:
                await self._act(kind, *self._random.choice(list(recent)[-RECENT_MAX:]))

    async def _act(self, kind: str, n: int, job_id: str) -> None:
        act = Act(kind, time.monotonic())
        self.acts.setdefault(n, []).append(act)
        if kind == "delete":
            status, body = await self._ask("DELETE", f"/api/jobs/{job_id}")
        else:
            status, body = await self._ask("POST", f"/api/jobs/{job_id}/{kind}")
        if status is None:
            return
        act.answered, act.status = time.monotonic(), status
        if status == 200:
            act.was = str(msgspec.json.decode(body)["status"])
        if status in {200, 204}:
            self.counts[kind] = self.counts.get(kind, 0) + 1
        elif status not in {404, 409, 500, NOT_SENT}:
            self.violations.append(f"{kind} of job {n} was answered {status} {body[:100]!r}")
        if kind == "cancel" and status == 200:
            self._cancelled.append((n, job_id))

    async def _pause_and_resume(self, what: str, path: str) -> None:
        while True:
            await trio.sleep(self._random.uniform(0.3, 1.0) * PAUSE_EVERY_SECONDS)
            status, _ = await self._ask("POST", f"{path}/pause")
            begun = time.monotonic() if status == 200 else float("inf")
            await trio.sleep(self._random.uniform(*PAUSED_SECONDS))
            pause = Pause(begun, time.monotonic(), what)
            await self._insist(f"{path}/resume")
            if status == 200:
                self.pauses.append(pause)
                self.counts["pause"] = self.counts.get("pause", 0) + 1

    async def _retry_many(self) -> None:
        """Retry all that have failed: a worker does it, in pieces."""
        wanted = {"action": "retry", "filter": {"status": "failed", "type": BULK_TYPE}}
        while True:
            await trio.sleep(self._random.uniform(0.5, 1.0) * BULK_EVERY_SECONDS)
            status, body = await self._ask("POST", "/api/jobs/actions", wanted | {"dry_run": True})
            if status == 200:
                expected = msgspec.json.decode(body)["matched"]
                self.retried_many.append(time.monotonic())
                status, body = await self._ask("POST", "/api/jobs/actions", wanted | {"expected": expected})
            if status == 202:
                self.counts["retry of many"] = self.counts.get("retry of many", 0) + 1

    async def _change_limits(self) -> None:
        """Of how many jobs of each group may run at once."""
        while True:
            running = self._random.choice((1, 1, 2))
            status, _ = await self._ask("PUT", f"/api/limits/{GROUPS}", {"running": running})
            begun = time.monotonic()
            await trio.sleep(self._random.uniform(*LIMITED_SECONDS))
            if status == 200:
                self.limits.append(LimitSet(GROUPS, running, begun, time.monotonic()))
                self.counts["limit"] = self.counts.get("limit", 0) + 1

    async def _ask(self, method: str, path: str, body: dict[str, object] | None = None) -> tuple[int | None, bytes]:
        """Ask one of the producers. None: it may have been done, or not."""
        client = Client(self._random.choice(list(self._ports.values())))
        try:
            return await client.request(
                method, path, msgspec.json.encode(body or {}), seconds=ANSWER_SECONDS, content_type="application/json"
            )
        except NotSent:
            return NOT_SENT, b""
        except NoAnswer:
            return None, b""
        finally:
            client.close()
