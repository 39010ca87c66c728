"""Idempotency keys against a model of two dicts: random statements, and after each the tables agree with it."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from uuid_utils.compat import uuid7

from tests.support.portal import Portal
from tests.support.rows import Psql, open_psql
from workqueue.core.options import DEFAULTS
from workqueue.core.store import JobStore, KeyHolder, NewJob, migrate, open_store

KEYS = st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d"]), st.sampled_from([b"one", b"two"]), min_size=1)
RUNNING = ("pending", "processing")


class KeysMachine(RuleBasedStateMachine):
    """Statements as producers, workers and a person send them, one after the other."""

    portal: Portal
    store: JobStore
    psql: Psql

    @initialize()
    def start(self) -> None:
        self.queue = uuid4().hex
        self.keys: dict[bytes, tuple[bytes, UUID]] = {}  # key -> body, job
        self.expired: set[bytes] = set()
        self.jobs: dict[UUID, tuple[str, bool]] = {}  # state, joined
        self.batches: list[tuple[UUID, list[UUID]]] = []

    def _sql(self, statement: str, *arguments: object) -> list[Any]:
        return self.portal.call(self.psql, statement, *arguments)

    @rule(given=KEYS)
    def insert(self, given: dict[bytes, bytes]) -> None:
        rows = {key: NewJob(uuid7(), "x", "{}", DEFAULTS) for key in given}
        batch = uuid7()

        async def call() -> set[UUID]:
            return await self.store.insert_once(
                batch, self.queue, list(rows.values()), list(given.items()), [], ttl_seconds=3600
            )

        mine = {key: row.id for key, row in rows.items() if key not in self.keys}
        assert self.portal.call(call) == set(mine.values())
        self.keys |= {key: (given[key], job_id) for key, job_id in mine.items()}
        self.jobs |= dict.fromkeys(mine.values(), ("pending", False))
        marked = self._sql("SELECT ids FROM outbox WHERE batch = $1", batch)
        assert [set(row["ids"]) for row in marked] == ([set(mine.values())] if mine else [])
        if mine:
            self.batches.append((batch, list(mine.values())))

    @rule(given=KEYS)
    def join(self, given: dict[bytes, bytes]) -> None:
        expected = {}
        for key in given.keys() & self.keys.keys():
            body, job_id = self.keys[key]
            state, joined = self.jobs[job_id]
            if body == given[key] and state in RUNNING and key not in self.expired:
                joined = True
                self.jobs[job_id] = (state, joined)
            expected[key] = KeyHolder(job_id, body, key in self.expired, joined or state not in RUNNING, False)
        assert self.portal.call(self.store.join, self.queue, list(given.items())) == expected

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        if self.batches:
            batch, ids = data.draw(st.sampled_from(self.batches))
            for job_id in ids:
                if self.jobs[job_id] == ("pending", False):
                    self.jobs[job_id] = ("cancelled", False)
                    self.keys = {key: held for key, held in self.keys.items() if held[1] != job_id}
            cancelled = {job_id for job_id in ids if self.jobs[job_id][0] == "cancelled"}
            assert self.portal.call(self.store.refuse, ids, batch, "no") == cancelled

    @rule(data=st.data(), state=st.sampled_from([*RUNNING, "completed", "cancelled"]))
    def meanwhile(self, data: st.DataObject, state: str) -> None:
        """A worker claims or ends a job, or a person cancels it."""
        if self.jobs:
            job_id = data.draw(st.sampled_from(list(self.jobs)))
            self._sql("UPDATE jobs SET state = $2, token = gen_random_uuid() WHERE id = $1", job_id, state)
            self.jobs[job_id] = (state, self.jobs[job_id][1])

    @rule(key=st.sampled_from([b"a", b"b"]))
    def grow_old(self, key: bytes) -> None:
        if key in self.keys:
            self._sql("UPDATE idempotency SET expires_at = now() WHERE queue = $1 AND key_hash = $2", self.queue, key)
            self.expired.add(key)

    @rule(given=KEYS, prune=st.booleans())
    def forget(self, given: dict[bytes, bytes], prune: bool) -> None:
        old = self.expired & self.keys.keys()
        gone = old if prune else old & given.keys()
        if prune:

            async def call() -> int:
                return await self.store.prune_keys(limit=1000)

            assert self.portal.call(call) >= len(old), "those of examples before are pruned as well"
        else:
            self.portal.call(self.store.free_keys, self.queue, list(given))
        for key in gone:
            del self.keys[key]

    @invariant()
    def the_tables_agree(self) -> None:
        if not hasattr(self, "queue"):
            return
        self.expired &= self.keys.keys()
        held = self._sql("SELECT key_hash, body_hash, job_id FROM idempotency WHERE queue = $1", self.queue)
        assert {row["key_hash"]: (row["body_hash"], row["job_id"]) for row in held} == self.keys
        rows = self._sql("SELECT id, state, joined FROM jobs WHERE queue = $1", self.queue)
        assert {row["id"]: (row["state"], row["joined"]) for row in rows} == self.jobs


@pytest.fixture(autouse=True)
def _server(portal, postgres):
    schema = f"test_{uuid4().hex}"
    portal.call(migrate, portal.bridge, postgres.url, schema)
    with (
        portal.running(open_store(portal.bridge, postgres.url, schema)) as store,
        portal.running(open_psql(portal.bridge, postgres.url, schema)) as psql,
    ):
        KeysMachine.portal, KeysMachine.store, KeysMachine.psql = portal, store, psql
        yield


KeysMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
TestKeys = KeysMachine.TestCase
