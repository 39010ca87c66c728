"""The system around a worker: its queue and rows, what its handlers have noted, and the network between them."""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.support.invariants import check_nothing_left, check_rows
from tests.support.proxy import Proxy, through
from tests.support.rows import Psql
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, open_worker
from workqueue.core.options import JobOptions
from workqueue.core.queue import Queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission


@dataclass(frozen=True)
class System:
    """A queue and its rows, near; and workers, which reach both directly or (`far`) through the two fault proxies.

    What ran is in the ledger, which the handlers of ledger_handlers write.
    """

    nursery: trio.Nursery
    queue: Queue
    store: JobStore
    psql: Psql
    ledger: Path
    variables: Mapping[str, str]  #: of its workers
    redis_proxy: Proxy
    postgres_proxy: Proxy

    @property
    def proxies(self) -> list[Proxy]:
        return [self.redis_proxy, self.postgres_proxy]

    def worker(
        self, settings: Mapping[str, object] | None = None, *, far: bool = False, wait: bool = True, **more: object
    ) -> AbstractAsyncContextManager[WorkerProcess]:
        """A worker process; `settings` and `more` are added to those of this system, by their names in lower case."""
        variables = dict(self.variables)
        if far:
            variables["REDIS_URL"] = through(variables["REDIS_URL"], self.redis_proxy)
            variables["DATABASE_URL"] = through(variables["DATABASE_URL"], self.postgres_proxy)
        variables |= {name.upper(): str(value) for name, value in {**(settings or {}), **more}.items()}
        return open_worker(self.nursery, self.ledger, variables, wait=wait)

    async def submit(
        self, job_type: str, count: int = 1, *, payload: bytes = b"{}", retries: int = 0, rows: bool = True
    ) -> list[str]:
        """Accept `count` jobs as a producer does; returns their ids. `rows`: False for Redis alone."""
        outbox = Piggyback()
        step = make_submit(self.queue, self.store if rows else None, outbox)
        ids = await step.run_batch([Submission(job_type, payload, JobOptions(retries))] * count)
        await outbox.clear(self.store)
        return [str(job_id) for job_id in ids]

    @property
    def starts(self) -> Counter[str]:
        """How often each job has started."""
        return ledger_counts(self.ledger)[0]

    @property
    def ends(self) -> Counter[str]:
        """How often each job has ended well."""
        return ledger_counts(self.ledger)[1]

    async def wait_for_starts(self, count: int, *, seconds: float = 60) -> None:
        """Until so many runs have started."""
        await until_true(lambda: self.starts.total() >= count, seconds=seconds)

    async def wait_for_ends(self, count: int, *, seconds: float = 60) -> None:
        """Until so many runs have ended well."""
        await until_true(lambda: self.ends.total() >= count, seconds=seconds)

    async def count(self, state: str) -> int:
        """How many jobs are in this state."""
        found: int = await self.psql.value("SELECT count(*) FROM jobs WHERE state = $1", state)
        return found

    async def wait_for_state(self, state: str, count: int, *, seconds: float = 60) -> None:
        """Until so many jobs are in this state."""

        async def has_so_many() -> bool:
            return await self.count(state) == count

        await until(has_so_many, seconds=seconds)

    async def column(self, name: str, *, state: str = "%") -> set[object]:
        """The values of one column of the jobs."""
        return {row[0] for row in await self.psql(f"SELECT {name} FROM jobs WHERE state LIKE $1", state)}

    async def check_rows(self) -> None:
        await check_rows(self.queue, self.psql)

    async def check_nothing_left(self) -> None:
        await check_nothing_left(self.queue, self.psql)
