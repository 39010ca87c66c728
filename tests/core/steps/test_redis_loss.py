"""Redis is flushed, replaced, set back or restarted: what was accepted comes back, and only that."""

import json
from typing import Any
from uuid import UUID

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import tasks_in_redis
from tests.support.mortal import Killed, mortal
from tests.support.redis_cli import RedisCli, open_redis_cli
from tests.support.replaced import held_up
from tests.support.steps import Steps
from workqueue.core.errors import QueueUnavailable
from workqueue.core.options import DEFAULTS
from workqueue.core.outcome import Complete
from workqueue.core.queue import Queue, open_queue
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.steps.settle import Ending
from workqueue.core.store import JobStore, NewJob
from workqueue.core.wire import Submission
from workqueue.services.local.valkey import run_valkey


@pytest.fixture
async def server(tmp_path):
    """A Redis that may be flushed: this test alone uses it."""
    async with run_valkey(tmp_path, durable=False) as server:
        yield server


@pytest.fixture
async def redis(server):
    async with open_redis_cli(server.url) as redis:
        yield redis


@pytest.fixture
async def own_queue(bridge, server, queue_name):
    async with open_queue(bridge, server.url, queue_name) as queue:
        yield queue


@pytest.fixture
def loss(own_queue, store) -> RedisLoss:
    return RedisLoss(own_queue, store)


async def accepted(queue: Queue, store: JobStore, count: int) -> list[UUID]:
    steps = Steps(queue, store)
    ids: list[UUID] = []
    for begin in range(0, count, 500):
        answers = await steps.submit.run_batch([Submission("x", b"{}")] * min(500, count - begin))
        ids += [job_id for job_id in answers if isinstance(job_id, UUID)]
        await steps.piggyback.clear(store)
    assert len(ids) == count
    return ids


async def relay(queue: Queue, store: JobStore) -> None:
    while await OutboxRelay(queue, store).run_once():
        pass


async def ready(redis: RedisCli, queue: Queue) -> list[UUID]:
    return [UUID(json.loads(text)["job_id"]) for text in await redis.list(queue.keys.ready)]


async def later(psql) -> None:
    """As if the last reconcile had been longer ago than its pause."""
    await psql("UPDATE redis_checkpoints SET at = at - interval '11 seconds'")


async def begun(loss: RedisLoss, queue: Queue, store: JobStore, psql) -> None:
    """The first look ever, which checkpoints whatever is pending, because nothing is known."""
    await loss.run_once()
    await psql("DELETE FROM outbox")
    await later(psql)


async def test_as_long_as_nothing_is_lost_nothing_is_done(loss, own_queue, store, psql):
    await begun(loss, own_queue, store, psql)
    await accepted(own_queue, store, 10)
    for _ in range(3):
        await loss.run_once()
    assert await psql("SELECT * FROM outbox") == []
    known = await store.read_checkpoint(own_queue.name)
    run, checkpoint = await own_queue.read_checkpoint()
    assert (known.server_run_id, known.position_ms) == (run, checkpoint)
    assert loss.counts.noticed == 0


async def test_a_loss_before_the_first_look_is_made_good_by_it(redis, loss, own_queue, store, psql):
    """Nothing is known of Redis yet, so that nothing can be missed: everything that is pending may be."""
    ids = await accepted(own_queue, store, 600)
    await redis("FLUSHALL")
    assert await psql("SELECT * FROM outbox") == []
    await loss.run_once()
    await relay(own_queue, store)
    assert await ready(redis, own_queue) == [], "a producer may just be at work on them"
    await psql("UPDATE outbox SET at = at - interval '5 seconds'")
    await relay(own_queue, store)
    assert sorted(await ready(redis, own_queue)) == ids
    assert loss.counts.noticed == 0, "it may as well have been none"


async def test_what_was_pending_comes_back_after_a_flush(redis, loss, own_queue, store, psql):
    await begun(loss, own_queue, store, psql)
    ids = await accepted(own_queue, store, 1200)
    await loss.run_once()
    await redis("FLUSHALL")
    await loss.run_once()
    assert loss.counts.jobs == 1200
    await relay(own_queue, store)  # at once: these checkpoints are old enough from the start
    assert sorted(await ready(redis, own_queue)) == ids
    assert await psql("SELECT * FROM outbox") == []
    await loss.run_once()
    assert await psql("SELECT * FROM outbox") == [], "once"


async def test_what_is_finished_is_not_started_again(redis, loss, own_queue, store, psql, server, queue_name):
    from tests.support.steps import registered

    await begun(loss, own_queue, store, psql)
    ids = await accepted(own_queue, store, 10)
    steps = Steps(own_queue, store)
    held = await steps.claim.run_once(registered(server.url, queue_name), 4)
    await steps.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held])
    await redis("FLUSHALL")
    await loss.run_once()
    await relay(own_queue, store)
    assert sorted(await ready(redis, own_queue)) == ids[4:]


async def test_rows_of_another_queue_are_left_to_its_own_workers(redis, loss, own_queue, store, psql):
    """They lie in the same tables. Pushed into this queue, each would be buried, and be pending for ever."""
    await begun(loss, own_queue, store, psql)
    ids = await accepted(own_queue, store, 3)
    await store.insert(uuid7(), "another", [NewJob(uuid7(), "x", "{}", DEFAULTS)], [])
    [(theirs,)] = await psql("SELECT batch FROM outbox WHERE queue = 'another'")
    await redis("FLUSHALL")
    await loss.run_once()
    assert loss.counts.jobs == 3
    await relay(own_queue, store)
    assert sorted(await ready(redis, own_queue)) == ids
    assert [row["batch"] for row in await psql("SELECT batch FROM outbox")] == [theirs]


async def test_an_empty_replacement_is_noticed(bridge, loss, own_queue, store, psql, tmp_path_factory, queue_name):
    await begun(loss, own_queue, store, psql)
    ids = await accepted(own_queue, store, 10)
    async with (
        run_valkey(tmp_path_factory.mktemp("other"), durable=False) as other,
        open_queue(bridge, other.url, queue_name) as replacement,
    ):
        await RedisLoss(replacement, store).run_once()
        await relay(replacement, store)
        async with open_redis_cli(other.url) as redis:
            assert sorted(await ready(redis, replacement)) == ids


async def test_only_what_changed_since_the_checkpoint_is_pushed_after_a_restart(loss, own_queue, store, psql):
    """Another run id, and the checkpoint is there: at most the last seconds are missing."""
    await begun(loss, own_queue, store, psql)
    old, recent = await accepted(own_queue, store, 5), await accepted(own_queue, store, 3)
    await psql("UPDATE jobs SET updated_at = now() - interval '1 hour' WHERE id = ANY ($1)", old)
    await loss.run_once()
    await psql("UPDATE redis_checkpoints SET server_run_id = 'another'")
    await loss.run_once()
    [checkpoint] = await psql("SELECT ids FROM outbox")
    assert checkpoint["ids"] == recent


async def test_a_redis_that_was_set_back_is_noticed(redis, loss, own_queue, store, psql):
    """Its append-only file was cut: the same server, an older checkpoint."""
    await begun(loss, own_queue, store, psql)
    _, before = await own_queue.read_checkpoint()
    await trio.sleep(0.01)
    ids = await accepted(own_queue, store, 5)
    await loss.run_once()
    await redis("SET", own_queue.keys.checkpoint, before)
    await redis("DEL", own_queue.keys.ready)
    await loss.run_once()
    await relay(own_queue, store)
    assert sorted(await ready(redis, own_queue)) == ids


async def test_at_most_every_ten_seconds_and_the_checkpoint_waits_meanwhile(redis, loss, own_queue, store, psql):
    await begun(loss, own_queue, store, psql)
    ids = await accepted(own_queue, store, 5)
    await redis("FLUSHALL")
    await loss.run_once()
    await redis("FLUSHALL")
    await psql("DELETE FROM outbox")
    await loss.run_once()
    assert await psql("SELECT * FROM outbox") == []
    _, checkpoint = await own_queue.read_checkpoint()
    assert checkpoint is not None
    assert checkpoint < 0, "else the second loss would be forgotten"
    await later(psql)
    await loss.run_once()
    [checkpoint] = await psql("SELECT ids FROM outbox")
    assert checkpoint["ids"] == ids


@pytest.mark.parametrize("after", [False, True])
async def test_a_watcher_that_dies_after_any_step_raises_no_false_alarm(bridge, loss, own_queue, store, psql, after):
    """Redis gets the checkpoint first: one that Postgres alone knew would look as if Redis had been set back."""
    await begun(loss, own_queue, store, psql)
    await accepted(own_queue, store, 5)
    for crossings in range(4):
        dying_queue, dying_store = mortal(bridge, own_queue, store, crossings, after=after)
        assert dying_store is not None
        with pytest.raises(Killed):
            await RedisLoss(dying_queue, dying_store).run_once()
        await loss.run_once()
        await later(psql)
    assert loss.counts.noticed == 0
    assert await psql("SELECT * FROM outbox") == []


@pytest.mark.parametrize("which", ["planted", "final"])
async def test_a_checkpoint_that_arrives_after_a_second_flush_does_not_hide_it(
    redis, loss, own_queue, store, psql, which
):
    """It was sent when Redis had lost everything, and found none again."""
    await begun(loss, own_queue, store, psql)
    ids = await accepted(own_queue, store, 5)
    await redis("FLUSHALL")
    set_checkpoint = own_queue.set_checkpoint
    late: list[tuple[Any, int]] = []

    async def hanging(seen, new) -> bool:
        if late or (which == "final" and new < 0):
            return await set_checkpoint(seen, new)
        late.append((seen, new))
        raise QueueUnavailable("no answer")

    own_queue.set_checkpoint = hanging
    with pytest.raises(QueueUnavailable):
        await loss.run_once()
    await relay(own_queue, store)
    await redis("FLUSHALL")
    await set_checkpoint(*late[0])
    await later(psql)
    await loss.run_once()
    await relay(own_queue, store)
    assert sorted(await ready(redis, own_queue)) == ids


async def test_of_several_workers_one_fills_the_outbox(redis, own_queue, store, psql, loss):
    await begun(loss, own_queue, store, psql)
    await accepted(own_queue, store, 5)
    await redis("FLUSHALL")
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(RedisLoss(own_queue, store).run_once)
    assert len(await psql("SELECT * FROM outbox")) == 1


async def test_what_an_external_program_took_is_pushed_again_once_by_a_loss(redis, loss, own_queue, store, psql):
    """It reports nothing: the loss cannot be seen. Its rows stay pending until a person acts; no scan pushes them."""
    await begun(loss, own_queue, store, psql)
    ids = await accepted(own_queue, store, 100)
    for _ in range(100):
        await redis("RPOP", own_queue.keys.ready)
    for _ in range(3):
        await loss.run_once()
    await relay(own_queue, store)
    assert await ready(redis, own_queue) == []
    await redis("FLUSHALL")
    await loss.run_once()
    await relay(own_queue, store)
    assert sorted(await ready(redis, own_queue)) == ids


async def test_a_loss_just_after_the_relay_pushed_finds_what_it_pushed(redis, loss, own_queue, store, psql):
    """The row is old; only the touch of the relay says that its task came into Redis a moment ago."""
    await begun(loss, own_queue, store, psql)
    [job_id] = await accepted(own_queue, store, 1)
    await redis("DEL", own_queue.keys.ready)
    await psql("UPDATE jobs SET updated_at = now() - interval '1 hour'")
    checkpoint = "INSERT INTO outbox (batch, queue, ids, at) VALUES ($1, $2, $3, 'epoch')"
    await psql(checkpoint, job_id, own_queue.name, [job_id])
    await loss.run_once()
    await relay(own_queue, store)
    await redis("DEL", own_queue.keys.ready)  # the file is cut just behind the checkpoint
    await psql("UPDATE redis_checkpoints SET server_run_id = 'another'")
    await loss.run_once()
    await relay(own_queue, store)
    assert await ready(redis, own_queue) == [job_id]


@pytest.mark.parametrize("moment", ["between two ticks", "just after a relay"])
async def test_everything_comes_back_after_a_restart_with_a_file_that_was_cut(
    bridge, store, psql, tmp_path, queue_name, moment
):
    """What a crash does under `appendfsync everysec`: the last second is missing, the last command half there."""
    folder = tmp_path / "cut"
    async with run_valkey(folder, sync="always") as server, open_queue(bridge, server.url, queue_name) as queue:
        loss = RedisLoss(queue, store)
        await begun(loss, queue, store, psql)
        kept = await accepted(queue, store, 5)
        await loss.run_once()
        [file] = (folder / "appendonlydir").glob("*.incr.aof")
        size = file.stat().st_size
        if moment == "between two ticks":
            lost = await accepted(queue, store, 5)
        else:
            lost = sorted(uuid7() for _ in range(5))
            await store.insert(uuid7(), queue_name, [NewJob(job_id, "x", "{}", DEFAULTS) for job_id in lost], [])
            await psql("UPDATE jobs SET updated_at = now() - interval '1 hour' WHERE id = ANY ($1)", lost)
            await psql("UPDATE outbox SET at = 'epoch'")
            await relay(queue, store)
        assert await tasks_in_redis(queue) == {*kept, *lost}
    with file.open("r+b") as aof:
        aof.truncate(size + 7)
    async with run_valkey(folder, sync="always") as server, open_queue(bridge, server.url, queue_name) as queue:
        assert await tasks_in_redis(queue) == {*kept}, "the cut took the others"
        await RedisLoss(queue, store).run_once()
        await relay(queue, store)
        assert await tasks_in_redis(queue) == {*kept, *lost}


async def test_a_look_beside_which_another_worker_moves_the_checkpoint_on_is_no_alarm(queue, store, psql):
    async def look() -> None:
        before = (await store.read_checkpoint(queue.name)).position_ms
        while (await store.read_checkpoint(queue.name)).position_ms == before:  # known to the millisecond
            await RedisLoss(queue, store).run_once()

    await RedisLoss(queue, store).run_once()
    for parts in (
        (held_up(queue, "read_checkpoint", look), store),
        (queue, held_up(store, "read_checkpoint", look)),
    ):
        await later(psql)
        mine = RedisLoss(*parts)
        await mine.run_once()
        assert mine.counts.noticed == 0


@pytest.fixture
async def quiet_queue(redis, bridge, server, own_queue, queue_name):
    """The same queue for a user who may not ask INFO, as with managed servers: it shows no run id."""
    await redis("ACL", "SETUSER", "quiet", "on", ">pw", "~*", "+@all", "-@dangerous")
    async with open_queue(bridge, f"redis://quiet:pw@127.0.0.1:{server.port}", queue_name) as queue:
        assert (await queue.read_checkpoint())[0] is None
        yield queue


async def test_without_a_run_id_a_flush_and_a_checkpoint_that_was_set_back_are_noticed(
    redis, quiet_queue, own_queue, store, psql
):
    loss = RedisLoss(quiet_queue, store)
    await begun(loss, quiet_queue, store, psql)
    ids = await accepted(own_queue, store, 10)
    await loss.run_once()
    old = (await own_queue.read_checkpoint())[1]
    await loss.run_once()
    assert await psql("SELECT * FROM outbox") == [], "nothing was lost"
    await redis("FLUSHALL")  # users stay
    await loss.run_once()
    assert loss.counts.jobs == 10
    await relay(own_queue, store)
    await later(psql)
    await redis("DEL", own_queue.keys.ready)
    await redis("SET", own_queue.keys.checkpoint, old)
    await loss.run_once()
    assert loss.counts.jobs == 20
    await relay(own_queue, store)
    assert sorted(await ready(redis, own_queue)) == ids


async def test_workers_of_which_only_some_may_ask_for_the_run_id_take_that_for_no_loss(
    quiet_queue, own_queue, store, psql
):
    looks = [RedisLoss(own_queue, store), RedisLoss(quiet_queue, store)]
    await begun(looks[0], own_queue, store, psql)
    await accepted(own_queue, store, 10)
    for _ in range(3):
        for loss in looks:
            await loss.run_once()
            await later(psql)
    assert [loss.counts.noticed for loss in looks] == [0, 0]
    assert await psql("SELECT * FROM outbox") == []


async def test_the_right_to_ask_for_the_run_id_may_come_later(quiet_queue, own_queue, store, psql):
    """It might be another server by now: what is pending is pushed once more, and then all is known."""
    await begun(RedisLoss(quiet_queue, store), own_queue, store, psql)
    await accepted(own_queue, store, 10)
    loss = RedisLoss(own_queue, store)
    for _ in range(2):
        await loss.run_once()
    run, checkpoint = await own_queue.read_checkpoint()
    known = await store.read_checkpoint(own_queue.name)
    assert (known.server_run_id, known.position_ms, loss.counts.noticed) == (run, checkpoint, 1)


@pytest.mark.parametrize("checkpoint", [b"hello", b"9" * 30, b"", b"1.5", b"\xff"])
async def test_a_checkpoint_that_another_program_has_overwritten_counts_as_lost(
    redis, loss, own_queue, store, psql, checkpoint
):
    await begun(loss, own_queue, store, psql)
    await accepted(own_queue, store, 10)
    await redis("SET", own_queue.keys.checkpoint, checkpoint)
    await loss.run_once()
    assert loss.counts.jobs == 10
    await loss.run_once()
    assert (await own_queue.read_checkpoint())[1] == (await store.read_checkpoint(own_queue.name)).position_ms
