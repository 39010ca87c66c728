import json
from functools import partial
from uuid import UUID, uuid4

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.core.steps.conftest import Steps
from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.redis_cli import RedisCli
from tests.support.steps import make_claim, make_recover, make_submit
from tests.support.wait import until
from workqueue.core.errors import LeaseLost, QueueUnavailable, StoreRefused, StoreUnavailable
from workqueue.core.options import DEFAULTS
from workqueue.core.outcome import Complete, GiveBack
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.settle import Ending
from workqueue.core.store import NewJob
from workqueue.core.wire import Submission, decode_task

FIVE = [Submission("x", b'{"n":%d}' % number) for number in range(5)]


async def dead(redis: RedisCli, queue) -> list[dict[str, str]]:
    return [json.loads(entry) for entry in await redis.list(queue.keys.dead)]


async def test_what_was_submitted_is_claimed_in_order_and_processing(steps, queue, psql, lease):
    ids = await steps.submit.run_batch(FIVE)
    held = await steps.claim.run_once(lease, 3)
    assert [item.job_id for item in held] == ids[:3]
    assert set(lease.tasks) == {1, 2, 3}
    rows = await psql("SELECT id FROM jobs WHERE state = 'processing'")
    assert {row["id"] for row in rows} == set(ids[:3])
    await check_rows(queue, psql)


async def test_a_batch_is_in_the_order_of_the_list_whatever_its_ids_are(redis, steps, queue, lease):
    # Own jobs, foreign ones with ids that sort otherwise, and some without: first in, first out all the same.
    ids = await steps.submit.run_batch(FIVE)
    lines = await redis.list(queue.name)
    await redis("DEL", queue.name)
    for line in reversed(lines):
        await queue.push([line, b'{"type":"x","job_id":"%b"}' % str(uuid4()).encode(), b'{"type":"x"}'])
    held = await steps.claim.run_once(lease, 100)
    assert [item.number for item in held] == list(range(1, 16))
    assert [item.job_id for item in held][::3] == ids[::-1]


async def test_a_foreign_task_gets_an_id_and_a_row(steps, queue, psql, lease):
    own = uuid4()
    await queue.push(
        [b'{"type":"x","payload":{"a" : 1},"more":[1]}', b'{"type":"x","job_id":"%b"}' % str(own).encode()]
    )
    held = {item.job_id: item for item in await steps.claim.run_once(lease, 10)}
    assert len(held) == 2
    assert own in held
    [named] = set(held) - {own}
    row = (await psql("SELECT * FROM jobs WHERE id = $1", named))[0]
    assert (row["state"], row["payload"], row["extra"]) == ("processing", '{"a" : 1}', '"more":[1]')
    assert await tasks_in_redis(queue) == set(held), "named in the flight before anything else"
    assert held[named].token == row["token"]
    await check_rows(queue, psql)


async def test_two_thousand_equal_tasks_are_two_thousand_jobs(steps, queue, psql, lease):
    await queue.push([b'{"type":"x"}'] * 2000)
    claimed = 0
    while claimed < 2000:
        claimed += len(await steps.claim.run_once(lease, 1000))
    assert await psql.value("SELECT count(*) FROM jobs") == 2000
    await check_rows(queue, psql)


async def test_what_is_no_task_is_buried_whole_and_its_neighbours_go_on(redis, steps, queue, lease):
    bad = [b"garbage", b"\xff\xfe", b'{"type":"x","retries":-1}', b'{"type":"x","job_id":"no"}', b'{"type":5}']
    await queue.push([*bad[:3], *[b'{"type":"x"}'] * 495, *bad[3:]])
    assert len(await steps.claim.run_once(lease, 500)) == 495
    entries = await dead(redis, queue)
    assert [entry.get("task") for entry in entries] == [None if b"\xff" in line else line.decode() for line in bad]
    assert entries[1]["task_base64"] == "//4="
    assert all(entry["reason"] and entry["at"] for entry in entries)
    assert steps.claim.counts.invalid == 5


async def test_a_foreign_task_that_postgres_cannot_store_is_buried_alone(redis, steps, queue, psql, lease, monkeypatch):
    adopt = steps.claim._claims._store.adopt

    async def refusing(tasks, *arguments, **options):
        if any(task.type == "bad" for _, task in tasks):
            raise StoreRefused("Postgres: no")
        return await adopt(tasks, *arguments, **options)

    monkeypatch.setattr(steps.claim._claims._store, "adopt", refusing)
    await queue.push([b'{"type":"x"}', b'{"type":"bad"}', b'{"type":"x"}'])
    assert len(await steps.claim.run_once(lease, 10)) == 2
    assert [entry["reason"] for entry in await dead(redis, queue)] == ["Postgres: no"]
    assert steps.claim.counts.invalid == 1, "counted once"


async def test_copies_are_dropped_wherever_the_job_is(steps, queue, lease, psql):
    [running, ended] = await steps.submit.run_batch(FIVE[:2])
    held = await steps.claim.run_once(lease, 2)
    await steps.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held if item.job_id == ended])
    copy = b'{"type":"x","job_id":"%b"}'
    both = b'{"type":"x","job_id":"%b"}' % str(uuid7()).encode()
    await queue.push([copy % str(running).encode(), copy % str(ended).encode(), both, both])
    assert len(await steps.claim.run_once(lease, 10)) == 1
    assert steps.claim.counts.duplicates == 3
    assert await psql.value("SELECT state FROM jobs WHERE id = $1", ended) == "completed"


async def test_a_job_of_another_queue_is_buried(redis, steps, queue, store, lease):
    job_id = uuid7()
    await store.insert(uuid7(), "another", [NewJob(job_id, "x", "{}", DEFAULTS)], [])
    await queue.push([b'{"type":"x","job_id":"%b"}' % str(job_id).encode()])
    assert await steps.claim.run_once(lease, 1) == []
    assert [entry["reason"] for entry in await dead(redis, queue)] == [f"job {job_id} belongs to queue another"]


async def test_what_is_early_or_locked_waits_in_the_scheduled_set(redis, steps, queue, psql, lease):
    ids = await steps.submit.run_batch(FIVE)
    await psql("UPDATE jobs SET run_at = now() + interval '1 hour' WHERE id = $1", ids[0])
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", ids[1])
    assert {item.job_id for item in await steps.claim.run_once(lease, 10)} == set(ids[2:])
    await psql("ROLLBACK")
    [seconds, _] = await redis("TIME")
    due = {}
    for line in await redis("ZRANGE", queue.keys.scheduled, 0, -1):
        at = float(await redis("ZSCORE", queue.keys.scheduled, line))
        due[decode_task(line).job_id] = at / 1000 - int(seconds)
    assert 3580 < due[ids[0]] <= 3601, "its own time, or it would come by each second for an hour"
    assert -1 < due[ids[1]] <= 2
    assert len(due) == 2
    await check_rows(queue, psql)


async def test_a_row_that_is_locked_in_psql_holds_up_none_of_the_499_others(steps, queue, psql, lease):
    ids = await steps.submit.run_batch(FIVE * 100)
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", ids[250])
    with trio.fail_after(2):  # lock_timeout would be 2 s
        held = await steps.claim.run_once(lease, 500)
    assert {item.job_id for item in held} == set(ids) - {ids[250]}
    await psql("ROLLBACK")
    await steps.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held])

    async def comes_back() -> bool:
        await queue.promote()
        return [item.job_id for item in await steps.claim.run_once(lease, 10)] == [ids[250]]

    await until(comes_back, seconds=5)
    await check_rows(queue, psql)


async def test_a_claim_whose_answer_was_cut_is_repeated_and_loses_nothing(
    far_steps, redis_proxy, queue, lease, nursery
):
    await queue.push([b'{"type":"x"}'] * 3)
    await far_steps.claim._queue.depths()
    redis_proxy.swallow_replies()
    claimed: list[object] = []

    async def claim() -> None:
        claimed.extend(await far_steps.claim.run_once(lease, 3))

    async with trio.open_nursery() as worker:
        worker.start_soon(claim)
        await redis_proxy.replies_swallowed.wait()
        redis_proxy.heal()
    assert len(claimed) == 3
    assert (await queue.depths()).ready == 0
    assert set(lease.tasks) == {1, 2, 3}


async def test_a_claim_statement_whose_answer_was_cut_is_repeated_under_a_new_token(
    far_steps, postgres_proxy, queue, psql, lease
):
    # asyncpg prepares a statement in a trip of its own: this one has to be known already.
    await far_steps.submit.run_batch(FIVE[:1])
    await far_steps.claim.run_once(lease, 1)
    ids = await far_steps.submit.run_batch(FIVE)
    postgres_proxy.swallow_replies()
    claimed = []
    lost: list[UUID] = []

    async def claim() -> None:
        claimed.extend(await far_steps.claim.run_once(lease, 5))

    async with trio.open_nursery() as worker:
        worker.start_soon(claim)
        await postgres_proxy.replies_swallowed.wait()

        async def processing() -> bool:
            return await psql.value("SELECT count(*) FROM jobs WHERE state = 'processing'") == 6

        await until(processing)
        lost += [row["token"] for row in await psql("SELECT DISTINCT token FROM jobs WHERE id = ANY ($1)", ids)]
        postgres_proxy.heal()
    assert {item.job_id for item in claimed} == set(ids)
    [token] = {item.token for item in claimed}
    assert token not in lost, "under the same one, a late statement could take back what has gone back meanwhile"
    assert await psql.value("SELECT count(*) FROM jobs WHERE token = $1", token) == 5
    await check_rows(queue, psql)


async def test_the_audit_gives_back_what_a_lost_answer_left_in_the_flight(steps, queue, lease):
    await queue.push([b'{"type":"x"}'] * 3)
    await queue.claim(lease.id, start=1, count=2)  # nobody remembers
    lease.next_number = 3
    [held] = await steps.claim.run_once(lease, 1)
    assert await steps.claim.audit(lease) == 2
    assert await queue.numbers(lease.id) == {held.number}
    assert (await queue.depths()).ready == 2


async def test_the_audit_gives_back_rows_of_a_claim_that_arrived_too_late(steps, queue, store, psql, lease):
    [job_id] = await steps.submit.run_batch(FIVE[:1])
    late = uuid4()  # a statement that hung in the network while its repeat was answered, settled and given back
    await store.claim([job_id], late, queue=queue.name, owner=lease.id, worker="w", earlier=[], done_claims=[])
    assert await steps.claim.audit(lease) == 1
    row = (await psql("SELECT * FROM jobs"))[0]
    assert (row["state"], row["attempts"], row["interruptions"]) == ("pending", 0, 0)
    await check_rows(queue, psql)


async def test_the_audit_leaves_alone_what_is_held(steps, lease):
    await steps.submit.run_batch(FIVE)
    held = await steps.claim.run_once(lease, 5)
    assert await steps.claim.audit(lease) == 0
    assert set(lease.tasks) == {item.number for item in held}


async def test_what_was_left_locked_by_an_unanswered_send_is_not_taken_for_a_copy(steps, queue, store, psql, lease):
    # The first send got the row, its answer was lost; now somebody in psql holds the row and the repeat skips it.
    [job_id] = await steps.submit.run_batch(FIVE[:1])
    real = store.claim
    sends: list[UUID] = []

    async def first_is_lost(ids, token, **options):
        rows = await real(ids, token, **options)
        sends.append(token)
        if len(sends) == 1:
            await psql("BEGIN")
            await psql("SELECT * FROM jobs FOR UPDATE")

            raise StoreUnavailable("its answer was lost")
        return rows

    steps.claim._claims._store = _Wrapped(store, claim=first_is_lost)
    assert await steps.claim.run_once(lease, 1) == []
    await psql("ROLLBACK")
    assert await steps.claim.audit(lease) == 2, "the task and the row"
    await check_rows(queue, psql)
    assert await psql.value("SELECT state FROM jobs WHERE id = $1", job_id) == "pending"


class _Wrapped:
    def __init__(self, inner: object, **instead: object) -> None:
        self._inner = inner
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


async def test_a_task_that_was_taken_from_us_before_it_had_an_id_gets_no_row_from_us(
    steps, queue, store, psql, lease, monkeypatch
):
    # We stood still between claim and naming; the task is in the list again, and whoever takes it names it.
    monkeypatch.setattr("workqueue.core.steps.claim.SPARE_IDS_MAX", 0)
    real = queue.assign_ids

    async def too_late(*arguments):
        await queue.fence(lease.id, (await queue.lease_scores())[lease.id])
        await make_recover(queue, store, max_recoveries=3).run_once(lease.id)
        return await real(*arguments)

    steps.claim._queue = _Wrapped(queue, assign_ids=too_late)
    await queue.push([b'{"type":"x"}'])
    assert await steps.claim.run_once(lease, 1) == []
    assert await psql("SELECT * FROM jobs") == []
    assert (await queue.depths()).ready == 1


async def test_a_lost_lease_claims_nothing(steps, queue, lease):
    await queue.push([b'{"type":"x"}'])
    await queue.end(lease.id)
    with pytest.raises(LeaseLost):
        await steps.claim.run_once(lease, 1)


async def test_a_batch_of_own_jobs_costs_one_trip_to_redis_and_one_to_postgres(steps, lease, trips):
    await steps.submit.run_batch(FIVE * 20)
    before = trips.count
    assert len(await steps.claim.run_once(lease, 100)) == 100
    assert trips.count - before == 2


async def test_a_wait_without_an_answer_is_followed_by_the_same_claim_again(steps, queue, lease):
    """Its claim may have been done: what it took must not lie there until the audit."""
    found: list[int] = []
    starts: list[int] = []

    async def unanswered(lease_id, *, start, on_task_available=None, **options):
        starts.append(start)
        answer = await queue.claim(lease_id, start=start, on_task_available=on_task_available, **options)
        if on_task_available is not None:
            raise QueueUnavailable("its answer was lost")
        return answer

    steps.claim._queue = _Wrapped(queue, claim=unanswered)
    await steps.submit.run_batch(FIVE)
    assert len(await steps.claim.run_once(lease, 9, lambda: found.append(1))) == 5
    assert starts == [1, 1]
    assert found, "a stop leaves alone what may have been taken"
    with pytest.raises(QueueUnavailable, match="lost"):  # or its caller would ask again at once, and again
        await steps.claim.run_once(lease, 9, lambda: found.append(1))


async def test_few_foreign_tasks_cost_a_trip_for_the_claim_and_one_for_their_rows(steps, queue, lease, trips, psql):
    await queue.push([b'{"type":"x","payload":{"n":1}}'] * 10)
    before = trips.count
    held = await steps.claim.run_once(lease, 20)
    assert trips.count - before == 2
    assert len({item.job_id for item in held}) == 10
    assert {row["id"] for row in await psql("SELECT id FROM jobs")} == {item.job_id for item in held}
    await check_rows(queue, psql)


async def test_foreign_tasks_cost_a_few_trips_more_however_many_they_are(steps, queue, lease, trips):
    await queue.push([b'{"type":"x"}'] * 500)
    before = trips.count
    assert len(await steps.claim.run_once(lease, 500)) == 500
    assert trips.count - before == 3, "claim, name, adopt: nobody can have made their rows"
    await queue.push([b'{"type":"x","job_id":"%b"}' % str(uuid4()).encode() for _ in range(500)])
    before = trips.count
    assert len(await steps.claim.run_once(lease, 500)) == 500
    assert trips.count - before == 4, "claim, claim rows, look, adopt"


async def test_a_job_that_runs_in_another_worker_is_a_copy(steps, queue, store, psql, lease, other):
    [job_id] = await steps.submit.run_batch(FIVE[:1])
    [held] = await steps.claim.run_once(lease, 1)
    theirs = Steps(queue, store)
    await queue.push([b'{"type":"x","job_id":"%b"}' % str(job_id).encode()] * 2)
    assert await theirs.claim.run_once(other, 5) == []
    assert theirs.claim.counts.duplicates == 2
    await steps.settle.run_batch([Ending(held, GiveBack(interrupted=True), 0.1)])
    [again] = await theirs.claim.run_once(other, 5)
    assert (again.job_id, again.counters.interruptions) == (job_id, 1)
    await check_rows(queue, psql)


async def test_the_row_wins_over_what_a_task_says_of_itself(redis, steps, queue, lease, psql):
    [job_id] = await steps.submit.run_batch(FIVE[:1])
    await redis("DEL", queue.name)
    await queue.push([b'{"type":"x","attempts":9,"recoveries":9,"job_id":"%b"}' % str(job_id).encode()])
    [held] = await steps.claim.run_once(lease, 1)
    assert (held.counters.attempts, held.counters.recoveries) == (0, 0)


async def test_copies_of_foreign_tasks_in_two_workers_become_one_job_each(steps, queue, store, psql, lease, other):
    ids = [uuid4() for _ in range(100)]
    tasks = [b'{"type":"x","job_id":"%b"}' % str(job_id).encode() for job_id in ids]
    await queue.push(tasks + tasks[::-1])
    theirs = Steps(queue, store)
    got: list[UUID] = []

    async def claim(some: Steps, mine) -> None:
        got.extend(item.job_id for item in await some.claim.run_once(mine, 100))

    async with trio.open_nursery() as workers:
        workers.start_soon(claim, steps, lease)
        workers.start_soon(claim, theirs, other)
    assert sorted(got) == sorted(ids)
    assert steps.claim.counts.duplicates + theirs.claim.counts.duplicates == 100
    assert len(await tasks_in_redis(queue)) == 100
    await check_rows(queue, psql)


async def test_an_adoption_whose_answer_was_cut_is_taken_over_by_the_claim_after_it(
    far_steps, postgres_proxy, queue, psql, lease
):
    await queue.push([b'{"type":"x"}'])
    await far_steps.claim.run_once(lease, 1)  # every statement is prepared
    await queue.push([b'{"type":"x"}'] * 5)
    adopt = far_steps.claim._claims._store.adopt
    once: list[int] = []

    async def cut_off(*arguments, **options):
        if not once:
            once.append(1)
            postgres_proxy.swallow_replies()
            nursery.start_soon(_heal_when, postgres_proxy, psql, 6)
        return await adopt(*arguments, **options)

    far_steps.claim._claims._store.adopt = cut_off
    async with trio.open_nursery() as nursery:
        held = await far_steps.claim.run_once(lease, 10)
    assert len(held) == 5
    assert await psql.value("SELECT count(*) FROM jobs") == 6
    assert {item.token for item in held} <= {row["token"] for row in await psql("SELECT token FROM claimed")}
    await check_rows(queue, psql)


async def test_an_adoption_that_arrives_after_its_repeat_is_taken_over_too(steps, queue, psql, lease, monkeypatch):
    adopt, late = steps.claim._claims._store.adopt, []

    async def delayed(*arguments, **options):
        late.append((arguments, options))
        if len(late) == 1:
            raise StoreUnavailable("no answer")
        await adopt(*late[0][0], **late[0][1])
        return await adopt(*arguments, **options)

    monkeypatch.setattr(steps.claim._claims._store, "adopt", delayed)
    await queue.push([b'{"type":"x"}'])
    [held] = await steps.claim.run_once(lease, 1)
    assert len(late) == 2
    assert await psql("SELECT state, token FROM jobs") == [("processing", held.token)]
    await check_rows(queue, psql)


async def _heal_when(proxy, psql, rows: int) -> None:
    async def there() -> bool:
        return await psql.value("SELECT count(*) FROM jobs") == rows

    await until(there)
    proxy.heal()


async def test_redis_only_an_id_twice_in_one_worker_is_a_copy(queue, lease):
    steps = Steps(queue, None)
    job_id = str(uuid4()).encode()
    await queue.push([b'{"type":"x","job_id":"%b"}' % job_id] * 3 + [b'{"type":"x"}'])
    assert len(await steps.claim.run_once(lease, 2)) == 1
    assert [str(item.job_id).encode() == job_id for item in await steps.claim.run_once(lease, 2)] == [False]
    assert steps.claim.counts.duplicates == 2
    assert len(await queue.numbers(lease.id)) == 2


async def test_a_claim_after_a_cancelled_one_takes_nothing_away_from_it(far_steps, steps, redis_proxy, queue, lease):
    # Ten tasks went into the flight and nobody heard of it; then the worker has room for three. Under the same
    # numbers, the three would take the places of others in the flight.
    tasks = [b'{"type":"x","payload":{"n":%d}}' % number for number in range(20)]
    await far_steps.claim.run_once(
        lease, 1
    )  # connected, and Redis knows the script: its first answer is that it does not
    await queue.push(tasks)
    redis_proxy.swallow_replies()
    async with trio.open_nursery() as worker:
        worker.start_soon(far_steps.claim.run_once, lease, 10)
        await redis_proxy.replies_swallowed.wait()
        worker.cancel_scope.cancel()
    claimed = [item for count in (3, 3, 9) for item in await steps.claim.run_once(lease, count)]
    assert await steps.claim.audit(lease) == 10
    while more := await steps.claim.run_once(lease, 9):
        claimed += more
    assert sorted(json.loads(item.task.payload)["n"] for item in claimed) == list(range(20))


async def test_a_cancelled_claim_leaves_everything_to_the_audit(far_steps, steps, postgres_proxy, queue, psql, lease):
    await far_steps.submit.run_batch(FIVE)
    postgres_proxy.swallow_replies()
    with trio.move_on_after(0.3):
        await far_steps.claim.run_once(lease, 5)
    postgres_proxy.heal()
    await until(partial(_audited, steps, lease, queue, psql))
    assert (await queue.depths()).ready == 5


async def _audited(steps, lease, queue, psql) -> bool:
    await steps.claim.audit(lease)
    return (
        not await queue.numbers(lease.id) and await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 5
    )


async def test_a_worker_whose_host_has_an_odd_name_claims_all_the_same(queue, store, lease):
    claim = make_claim(queue, store, Piggyback(), "h\udcfc\0st.7")
    await make_submit(queue, store, Piggyback()).run_batch([Submission("x", b"{}")])
    await queue.push([b'{"type":"foreign"}'])
    held = await claim.run_once(lease, 10)
    assert len(held) == 2
    assert {(await store.get(item.job_id)).worker for item in held} == {"h?\N{REPLACEMENT CHARACTER}st.7"}


async def test_an_audit_that_could_not_give_a_row_back_keeps_its_claim(steps, queue, store, psql, lease):
    [job_id] = await steps.submit.run_batch(FIVE[:1])
    late = uuid4()
    await store.claim([job_id], late, queue=queue.name, owner=lease.id, worker="w", earlier=[], done_claims=[])
    await psql("BEGIN")
    await psql("SELECT * FROM jobs FOR UPDATE")
    await steps.claim.audit(lease)
    await psql("ROLLBACK")
    await steps.piggyback.clear(store)
    await check_rows(queue, psql)
    await steps.claim.audit(lease)
    assert (await store.get(job_id)).state == "pending"


async def test_a_fenced_lease_claims_nothing(steps, queue, lease):
    await queue.push([b'{"type":"x"}'])
    assert await queue.fence(lease.id, (await queue.lease_scores())[lease.id])
    with pytest.raises(LeaseLost):
        await steps.claim.run_once(lease, 1)
    assert (await queue.depths()).ready == 1
