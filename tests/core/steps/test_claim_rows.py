"""Claimed tasks and their rows."""

from uuid import UUID, uuid4

import trio
from uuid_utils.compat import uuid7

from tests.core.steps.support import dead
from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.replaced import replaced
from tests.support.steps import Steps, make_claim, make_submit
from tests.support.wait import until
from workqueue.core.errors import StoreRefused, StoreUnavailable
from workqueue.core.options import DEFAULTS
from workqueue.core.outcome import Complete, GiveBack
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.settle import Ending
from workqueue.core.store import NewJob
from workqueue.core.wire import Submission, decode_task

FIVE = [Submission("x", b'{"n":%d}' % number) for number in range(5)]


async def test_an_external_task_gets_an_id_and_a_row(steps, queue, psql, lease):
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


async def test_an_external_task_that_postgres_cannot_store_is_buried_alone(
    redis, steps, queue, psql, lease, monkeypatch
):
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


async def test_duplicates_are_dropped_wherever_the_job_is(steps, queue, lease, psql):
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
    with trio.fail_after(30):  # a claim that waited for the row would be repeated for ever
        held = await steps.claim.run_once(lease, 500)
    assert {item.job_id for item in held} == set(ids) - {ids[250]}
    await psql("ROLLBACK")
    await steps.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held])

    async def comes_back() -> bool:
        await queue.promote()
        return [item.job_id for item in await steps.claim.run_once(lease, 10)] == [ids[250]]

    await until(comes_back, seconds=5)
    await check_rows(queue, psql)


async def test_a_row_that_stays_locked_comes_back_soon_and_then_less_often(redis, steps, queue, psql, lease):
    [job_id] = await steps.submit.run_batch(FIVE[:1])
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", job_id)
    delays = []
    for _ in range(8):
        before = await server_ms(redis)
        assert await steps.claim.run_once(lease, 1) == []
        [task] = await redis("ZRANGE", queue.keys.scheduled, 0, -1)
        after, due = await server_ms(redis), float(await redis("ZSCORE", queue.keys.scheduled, task))
        delays.append((due - after, due - before))
        await redis("ZADD", queue.keys.scheduled, 0, task)
        await queue.promote()
    for (least, most), delay in zip(delays, [50, 100, 200, 400, 800, 1600, 1600, 1600], strict=True):
        assert least <= delay <= most
    await psql("ROLLBACK")
    assert len(await steps.claim.run_once(lease, 1)) == 1


async def server_ms(redis) -> float:
    seconds, microseconds = await redis("TIME")
    return int(seconds) * 1000 + int(microseconds) / 1000


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


async def test_the_audit_gives_back_rows_of_a_claim_that_arrived_too_late(steps, queue, store, psql, lease):
    [job_id] = await steps.submit.run_batch(FIVE[:1])
    late = uuid4()  # a statement that hung in the network while its repeat was answered, settled and given back
    await store.claim([job_id], late, queue=queue.name, owner=lease.id, worker="w", earlier=[], done_claims=[])
    assert await steps.claim.audit(lease) == 1
    row = (await psql("SELECT * FROM jobs"))[0]
    assert (row["state"], row["attempts"], row["interruptions"]) == ("pending", 0, 0)
    await check_rows(queue, psql)


async def test_a_row_that_an_unanswered_claim_left_locked_is_not_taken_for_a_duplicate(
    steps, queue, store, psql, lease
):
    # The first send got the row, its answer was lost; now a psql session holds the row and the repeat skips it.
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

    steps.claim._claims._store = replaced(store, claim=first_is_lost)
    assert await steps.claim.run_once(lease, 1) == []
    await psql("ROLLBACK")
    assert await steps.claim.audit(lease) == 2, "the task and the row"
    await check_rows(queue, psql)
    assert await psql.value("SELECT state FROM jobs WHERE id = $1", job_id) == "pending"


async def test_a_task_of_a_job_that_runs_in_another_worker_is_a_duplicate(steps, queue, store, psql, lease, other):
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


async def test_the_row_wins_over_the_counters_of_its_task(redis, steps, queue, lease, psql):
    [job_id] = await steps.submit.run_batch(FIVE[:1])
    await redis("DEL", queue.name)
    await queue.push([b'{"type":"x","attempts":9,"recoveries":9,"job_id":"%b"}' % str(job_id).encode()])
    [held] = await steps.claim.run_once(lease, 1)
    assert (held.counters.attempts, held.counters.recoveries) == (0, 0)


async def test_duplicates_of_external_tasks_in_two_workers_become_one_job_each(steps, queue, store, psql, lease, other):
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


async def test_a_worker_whose_host_has_an_odd_name_claims_all_the_same(queue, store, lease):
    claim = make_claim(queue, store, Piggyback(), "h\udcfc\0st.7")
    await make_submit(queue, store, Piggyback()).run_batch([Submission("x", b"{}")])
    await queue.push([b'{"type":"external"}'])
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
