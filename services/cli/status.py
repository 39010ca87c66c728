"""`workqueue status`: what the producer tells over HTTP, rates from two looks, and what of it is wrong."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import httpx
import msgspec
import trio
from msgspec import Struct

from workqueue.core.errors import WorkQueueError
from workqueue.core.settings import without_password
from workqueue.services.cli.access import bearer, refusal

ANSWER_SECONDS = 10.0
RATE_SECONDS = 6.0  #: for so long the second look is waited for; workers publish every fifth of LEASE_SECONDS: 3 s
LOOK_SECONDS = 0.5  #: between two looks while it is waited for
WINDOW_SECONDS = 15.0  #: of a worker's own time; over less a rate would jump with each look
FAILURES_SHOWN = 3
RUNNING_TOLD_MAX = 100  #: a worker with more running jobs tells so many

GONE = {"stopped", "gone"}  #: states of workers that have ended
CLAIM_NOTHING = {"quiet", "stopping"}

T = TypeVar("T")


class NoStatus(WorkQueueError):
    """The producer tells nothing; the text has where it was asked, why, and what to do."""


# What is read of the answers. All of it may be missing: the producer may be of another release. None: not known.


class Health(Struct, frozen=True):
    """Of Redis or Postgres, as the producer sees it."""

    ok: bool = False
    ms: float | None = None
    error: str | None = None


class Overview(Struct, frozen=True, kw_only=True):
    """GET /api/overview."""

    queue_name: str
    version: str | None = None
    redis: Health
    postgres: Health | None = None
    waiting: int | None = None
    oldest_seconds: float | None = None
    scheduled: int | None = None
    dead: int | None = None


class Worker(Struct, frozen=True, kw_only=True):
    """One of GET /api/workers."""

    id: str
    name: str = ""
    version: str = ""
    concurrency: int = 0
    running: list[dict[str, Any]] = []
    jobs_done: int = 0
    jobs_failed: int = 0
    uptime_seconds: float = 0.0
    seen_seconds_ago: float = 0.0
    state: str | None = None


class Failure(Struct, frozen=True, kw_only=True):
    """A failed job, out of GET /api/jobs."""

    id: str
    type: str
    error_message: str | None = None
    finished_at: datetime | None = None


class Look(Struct, frozen=True, kw_only=True):
    """What one look has seen. None: it could not be known."""

    at: float  #: trio's clock
    overview: Overview
    workers: list[Worker] | None
    faults: dict[str, str]  #: of GET /ready
    failures: list[Failure] | None  #: the newest


class Rate(Struct, frozen=True):
    """Jobs a second."""

    done: float
    failed: float


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """One worker."""

    id: str
    name: str
    version: str
    alive: bool
    running: int | None
    concurrency: int
    jobs_done: int
    jobs_failed: int
    done_per_second: float | None
    failed_per_second: float | None
    uptime_seconds: float
    seen_seconds_ago: float
    state: str | None = None  #: null: the producer is of a release that does not say


class Status(Struct, frozen=True, kw_only=True):
    """The document of `--json`. null: it is not known. Where jobs have no rows, `rows` is false and `postgres` null."""

    ok: bool
    faults: list[str]
    url: str
    queue_name: str | None = None
    version: str | None = None
    redis: Health | None = None
    postgres: Health | None = None
    rows: bool | None = None
    waiting: int | None = None
    oldest_seconds: float | None = None
    scheduled: int | None = None
    dead: int | None = None
    running: int | None = None
    concurrency: int | None = None
    jobs_done: int | None = None
    jobs_failed: int | None = None
    done_per_second: float | None = None
    failed_per_second: float | None = None
    workers: list[WorkerStatus] | None = None
    failures: list[Failure] | None = None


class Rates:
    """What workers have done a second, by their own clocks: each publishes its sums together with its uptime.

    Mutable state: what each has published within WINDOW_SECONDS, and when the first look was; `see` changes it.
    """

    def __init__(self) -> None:
        self._published: dict[str, deque[tuple[float, int, int]]] = {}  #: id -> (uptime, done, failed), oldest first
        self._first_look: float | None = None

    def see(self, look: Look) -> None:
        """Take a look into account. One without workers tells nothing, and forgets nothing."""
        if look.workers is None:
            return
        if self._first_look is None:
            self._first_look = look.at
        self._published = {worker.id: self._seen(worker, look.at - self._first_look) for worker in look.workers}

    def _seen(self, worker: Worker, watched_seconds: float) -> deque[tuple[float, int, int]]:
        published = self._published.get(worker.id)
        if published is None:  # one that began while we watched has done all of it since
            began = worker.uptime_seconds < watched_seconds
            published = deque([(0.0, 0, 0)] if began else [])
        if not published or worker.uptime_seconds > published[-1][0]:
            published.append((worker.uptime_seconds, worker.jobs_done, worker.jobs_failed))
        while len(published) > 2 and published[-1][0] - published[1][0] >= WINDOW_SECONDS:
            published.popleft()
        return published

    def of(self, worker_id: str) -> Rate | None:
        """None: the worker has published once, so far."""
        published = self._published.get(worker_id)
        if published is None or len(published) < 2:
            return None
        (begin, done, failed), (end, done_now, failed_now) = published[0], published[-1]
        return Rate(max(0, done_now - done) / (end - begin), max(0, failed_now - failed) / (end - begin))


class Watch:
    """Looks at one producer, one after the other. Mutable state: the rates, changed by each look."""

    def __init__(self, url: str, lease_seconds: float) -> None:
        """`lease_seconds`: a worker that was silent for longer counts as lost."""
        self._url = url.rstrip("/")
        self._shown_url = without_password(self._url)
        self._lease_seconds = lease_seconds
        self._rates = Rates()

    async def status(self, *, rates: bool = False) -> Status:
        """Look once, and with `rates` again, for RATE_SECONDS at most, until every worker has published anew.

        Raises NoStatus.
        """
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, headers=bearer()) as client:
            status = self._judge(await self._look(client))
            with trio.move_on_after(RATE_SECONDS):
                while rates and any(each.alive and each.done_per_second is None for each in status.workers or ()):
                    await trio.sleep(LOOK_SECONDS)
                    status = self._judge(await self._look(client))
        return status

    def unknown(self, error: NoStatus) -> Status:
        """The status of a producer that tells nothing: this one fault, and everything else not known."""
        return Status(ok=False, faults=[str(error)], url=self._shown_url)

    async def _look(self, client: httpx.AsyncClient) -> Look:
        overview = await self._ask(client, "/api/overview", Overview)
        look = Look(
            at=trio.current_time(),
            overview=overview,
            workers=await self._try(client, "/api/workers", list[Worker]) if overview.redis.ok else None,
            faults=await self._try(client, "/ready", dict[str, str], fault_status=503) or {},
            failures=await self._try(client, f"/api/jobs?status=failed&limit={FAILURES_SHOWN}", list[Failure]),
        )
        self._rates.see(look)
        return look

    async def _try(self, client: httpx.AsyncClient, path: str, shape: type[T], *, fault_status: int = 200) -> T | None:
        """None: it was not told."""
        try:
            return await self._ask(client, path, shape, fault_status)
        except NoStatus:
            return None

    async def _ask(self, client: httpx.AsyncClient, path: str, shape: type[T], status: int = 200) -> T:
        """Raises NoStatus, also where the answer has another status."""
        remedy = "start one (`workqueue up` or `workqueue producer`), or name it with --url"
        try:
            answer = await client.get(f"{self._url}{path}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            is_late = isinstance(error, httpx.TimeoutException)
            reason = f"none within {ANSWER_SECONDS:g} s" if is_late else str(error) or type(error).__name__
            raise NoStatus(f"no answer from a producer at {self._shown_url}: {reason}; {remedy}") from error
        if (why := refusal(answer.status_code)) is not None:
            raise NoStatus(f"the producer at {self._shown_url} does not tell {path}: {why}")
        said = f"{answer.text.strip()[:200]!r} ({answer.status_code})"
        if answer.status_code == 421:
            raise NoStatus(f"the producer at {self._shown_url} refuses to tell {path}: {said}")
        if answer.status_code == status:
            try:
                return msgspec.json.decode(answer.content, type=shape)
            except msgspec.DecodeError:
                pass
        raise NoStatus(f"what answers at {self._shown_url} is no producer of WorkQueue: GET {path} is {said}; {remedy}")

    def _judge(self, look: Look) -> Status:
        overview, workers = look.overview, None if look.workers is None else self._workers(look.workers)
        alive = None if workers is None else [worker for worker in workers if worker.alive]
        faults = self._faults(look, workers)
        return Status(
            ok=not faults,
            faults=faults,
            url=self._shown_url,
            queue_name=overview.queue_name,
            version=overview.version,
            redis=overview.redis,
            postgres=overview.postgres,
            rows=overview.postgres is not None,
            waiting=overview.waiting,
            oldest_seconds=overview.oldest_seconds,
            scheduled=overview.scheduled,
            dead=overview.dead,
            running=_sum(alive, "running"),
            concurrency=_sum(alive, "concurrency"),
            jobs_done=_sum(alive, "jobs_done"),
            jobs_failed=_sum(alive, "jobs_failed"),
            done_per_second=_sum(alive, "done_per_second"),
            failed_per_second=_sum(alive, "failed_per_second"),
            workers=workers,
            failures=look.failures if overview.postgres is not None else None,
        )

    def _workers(self, workers: Sequence[Worker]) -> list[WorkerStatus]:
        found = []
        for worker in workers:
            if worker.state in GONE:
                continue
            is_silent = worker.seen_seconds_ago > self._lease_seconds
            alive = not is_silent if worker.state is None else worker.state != "silent"
            rate = self._rates.of(worker.id) if alive else None
            running = len(worker.running)
            found.append(
                WorkerStatus(
                    id=worker.id,
                    name=worker.name or worker.id,
                    version=worker.version,
                    alive=alive,
                    running=None if RUNNING_TOLD_MAX <= running < worker.concurrency else running,
                    concurrency=worker.concurrency,
                    jobs_done=worker.jobs_done,
                    jobs_failed=worker.jobs_failed,
                    done_per_second=None if rate is None else round(rate.done, 3),
                    failed_per_second=None if rate is None else round(rate.failed, 3),
                    uptime_seconds=worker.uptime_seconds,
                    seen_seconds_ago=worker.seen_seconds_ago,
                    state=worker.state,
                )
            )
        return found

    def _faults(self, look: Look, workers: Sequence[WorkerStatus] | None) -> list[str]:
        """What is wrong, each in a sentence with its remedy, the cause of others first."""
        overview = look.overview
        told = {"redis": overview.redis.error, "postgres": overview.postgres and overview.postgres.error}
        faults = [text for text in ({name: text for name, text in told.items() if text} | look.faults).values() if text]
        if workers is None:
            if overview.redis.ok:
                faults.append("the workers are not known: the producer does not tell /api/workers")
            return faults
        for worker in workers:
            if not worker.alive:
                faults.append(
                    f"worker {worker.name} has been silent for {worker.seen_seconds_ago:.0f} s: its process is dead or "
                    "stands still; a worker that is alive takes over its jobs"
                )
        alive = [worker.state for worker in workers if worker.alive]
        if not alive:
            faults.append("no worker is alive, so no job runs: start one with `workqueue worker`")
        elif "quiet" in alive and set(alive) <= CLAIM_NOTHING:
            faults.append(
                "every worker is quiet, so no job is claimed: `workqueue workers resume ID`, or start another"
            )
        return faults


def _sum(workers: Sequence[WorkerStatus] | None, name: str) -> Any:
    """None: of one of them it is not known, or of all."""
    values = [getattr(worker, name) for worker in workers or ()]
    return None if workers is None or None in values else sum(values)
