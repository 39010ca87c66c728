"""Pages of pending jobs against all rows: they agree, whatever happens to jobs and whatever was listed before."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from uuid_utils.compat import uuid7

from tests.support.portal import Portal
from tests.support.rows import Psql, open_psql
from workqueue.core.counters import Counters
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.job_filter import JobFilter, StatusFilter
from workqueue.core.options import DEFAULTS
from workqueue.core.store import Counter, Finish, JobPage, JobStore, NewJob, Requeue, migrate
from workqueue.core.store.oldest_waiting import Floor, OldestWaiting
from workqueue.core.store.pool import open_pool

TYPES = st.sampled_from(["x", "y"])


class PagesMachine(RuleBasedStateMachine):
    """Statements as producers and workers send them, pages as a person turns them, and time that passes."""

    portal: Portal
    store: JobStore
    floors: OldestWaiting
    psql: Psql

    @initialize()
    def start(self) -> None:
        self.queue = uuid4().hex
        self.tasks: dict[UUID, list[UUID]] = {}  # owner, whose one claim has it for its token -> what it has

    def _sql(self, statement: str, *arguments: object) -> list[Any]:
        return self.portal.call(self.psql, statement, *arguments)

    @rule(types=st.lists(TYPES, min_size=1, max_size=4))
    def insert(self, types: list[str]) -> None:
        jobs = [NewJob(uuid7(), job_type, '{"a":1}', DEFAULTS) for job_type in types]
        self.portal.call(self.store.insert, uuid7(), self.queue, jobs, [])

    @rule(data=st.data(), most=st.integers(1, 5), seconds=st.sampled_from([0, 100]))
    def claim(self, data: st.DataObject, most: int, seconds: int) -> None:
        self._grow_older(timedelta(seconds=seconds))
        waiting = [row["id"] for row in self._waiting(None)]
        if not waiting:
            return
        ids = data.draw(st.lists(st.sampled_from(waiting), min_size=1, max_size=most, unique=True))
        owner = uuid4()

        async def call() -> dict[int, Counters]:
            return await self.store.claim(
                ids, owner, queue=self.queue, owner=owner, worker="w", earlier=[], done_claims=[]
            )

        taken = self.portal.call(call)
        self.tasks[owner] = [job_id for job_id in ids if job_id.int in taken]

    @rule(data=st.data(), how=st.sampled_from(["complete", "fail", "retry", "give back", "stop", "die"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        """One job ends or waits again, or all that its worker has. What waits is looked at before and after."""
        held = [(owner, job_id) for owner, ids in self.tasks.items() for job_id in ids]
        if not held:
            return
        owner, job_id = data.draw(st.sampled_from(held))
        for job_type in ("x", "y", None):
            self._turn(job_type, None, 100)
        if how in {"stop", "die"}:
            self._recover(owner, blameless=how == "stop")
        else:
            self.tasks[owner].remove(job_id)
            self._settle(owner, job_id, how)
        for job_type in ("x", "y", None):
            self._turn(job_type, None, 100)

    def _settle(self, owner: UUID, job_id: UUID, how: str) -> None:
        if how in {"complete", "fail"}:
            state = JobState.COMPLETED if how == "complete" else JobState.FAILED
            ending = Finish(job_id, owner, state, RunOutcome.FAILED, 1.0, "1", "E")
            assert self.portal.call(self.store.finish, [ending]) == {job_id.int}
        else:
            counter, delay_ms = (Counter.ATTEMPTS, 60_000) if how == "retry" else (Counter.INTERRUPTIONS, 0)
            release = Requeue(job_id, owner, counter, delay_ms, RunOutcome.FAILED, 1.0, "E")
            back = self.portal.call(self.store.requeue, uuid7(), self.queue, [release])
            assert back == {job_id: JobState.PENDING}

    def _recover(self, owner: UUID, *, blameless: bool) -> None:
        mine = self.tasks.pop(owner)

        async def call() -> dict[UUID, JobState]:
            return await self.store.recover(
                owner, self.queue, uuid7(), blameless=blameless, started=mine, max_recoveries=2
            )

        assert set(self.portal.call(call)) == set(mine)

    def _grow_older(self, age: timedelta) -> None:
        """Time passes: rows become older, and with them what is known of them."""
        self._sql(
            "UPDATE jobs SET created_at = created_at - $2::interval, run_at = run_at - $2::interval WHERE queue = $1",
            self.queue, age,
        )  # fmt: skip
        floors = self.floors._floors
        for key, floor in floors.items():
            if key[0] == self.queue:
                floors[key] = Floor(floor.created_at - age, floor.since, floor.left)

    @rule(
        data=st.data(),
        job_type=st.sampled_from(["x", "y", None]),
        limit=st.sampled_from([1, 2, 100, 100]),
        seconds=st.sampled_from([0, 10, 100]),
    )
    def look_at_pages(self, data: st.DataObject, job_type: str | None, limit: int, seconds: int) -> None:
        """The first page or one behind any row there is, after some time, and all that are behind it."""
        self._grow_older(timedelta(seconds=seconds))
        places = self._sql("SELECT created_at, id FROM jobs WHERE queue = $1 ORDER BY created_at, id", self.queue)
        behind = st.sampled_from([(row["created_at"], row["id"]) for row in places]) if places else st.none()
        self._turn(job_type, data.draw(st.none() | behind), limit)

    def _turn(self, job_type: str | None, before: tuple[datetime, UUID] | None, limit: int) -> None:
        expected = [(row["created_at"], row["id"]) for row in self._waiting(job_type)]
        expected = [place for place in expected if before is None or place < before]
        while True:
            page = self._page(job_type, before, limit)
            assert [(row.created_at, row.id) for row in page.rows] == expected[:limit]
            assert {(row.state, row.queue) for row in page.rows} <= {("pending", self.queue)}
            assert page.next == (expected[limit - 1] if len(expected) > limit else None)
            if page.next is None:
                break
            before, expected = page.next, expected[limit:]

    def _page(self, job_type, before: tuple[datetime, UUID] | None, limit: int) -> JobPage:
        wanted = JobFilter(status=StatusFilter.PENDING, type=job_type)

        async def call() -> JobPage:
            return await self.store.lists.page(self.queue, wanted, before=before, limit=limit)

        return self.portal.call(call)

    def _waiting(self, job_type: str | None) -> list[Any]:
        return self._sql(
            "SELECT created_at, id FROM jobs WHERE queue = $1 AND state = 'pending' AND ($2::text IS NULL OR type = $2)"
            " ORDER BY created_at DESC, id DESC",
            self.queue, job_type,
        )  # fmt: skip


@pytest.fixture(autouse=True)
def _server(portal, postgres):
    schema = f"test_{uuid4().hex}"
    portal.call(migrate, portal.bridge, postgres.url, schema)
    with (
        portal.running(open_pool(portal.bridge, postgres.url, schema)) as pool,
        portal.running(open_psql(portal.bridge, postgres.url, schema)) as psql,
    ):
        PagesMachine.floors = OldestWaiting(left_max=2)
        PagesMachine.portal, PagesMachine.psql = portal, psql
        PagesMachine.store = JobStore(pool, PagesMachine.floors)
        yield


PagesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPages = PagesMachine.TestCase
