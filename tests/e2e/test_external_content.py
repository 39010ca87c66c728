"""Any program may write to this Redis: what it leaves in our keys ends nothing, is named once, and is passed over."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import trio
from redis import Redis

from tests.cli.support import workqueue
from tests.producer.serving import serving
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, worker_process
from workqueue.core.queue import Keys
from workqueue.core.queue.checks import kinds

HUGE = b"[" * 10_000_000
#: What a worker might be said to say: each stands under the id of a lease that lives.
SAID = [
    b"", b"\xff\xfe\x00", b"no json", b"[1]", b"null", b'"x"', b'{"types":1}', b'{"types":[null]}', b'{"pid":"x"}',
    b'{"jobs_done":1e999}', b'{"jobs_done":-5}', b'{"jobs_done":123456789012345678901234567890}', b'{"jobs_done":NaN}',
    b'{"uptime_seconds":"nan"}', b'{"running":[{"seconds":"inf"}]}', b'{"name":"\\ud800"}', b'{"name":"\xff"}',
    b'{"protocol":"x"}', b'{"concurrency":9007199254740993}', HUGE, b'{"x":' + HUGE,
    json.dumps({"types": ["t" * 100] * 200_000}).encode(),
]  # fmt: skip


@pytest.fixture(params=["redis only", "postgres"])
def environ(request, redis_url, queue_name) -> dict[str, str]:
    ours = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "LEASE_SECONDS": "2"}
    if request.param == "postgres":
        ours |= {name.upper(): request.getfixturevalue(name) for name in ("postgres_dsn", "database_schema")}
        ours["DATABASE_URL"] = ours.pop("POSTGRES_DSN")
    return ours


@pytest.fixture
def redis(redis_url):
    with Redis.from_url(redis_url) as redis:
        yield redis


def spoil(redis: Redis, keys: Keys, leases: list[str]) -> None:
    """Something odd in each key of a queue."""
    alive = redis.time()[0] * 1000
    odd_leases: dict[Any, float] = {
        "hello": 1, b"\xff\x00": alive, "": 0, "h" * 100_000: 5, leases[0].upper(): -1, leases[0].replace("-", ""): 0,
        str(uuid4()): float("inf"), str(uuid4()): float("-inf"), str(uuid4()): 1.5,
    }  # fmt: skip
    redis.zadd(keys.leases, odd_leases)
    for said in SAID:
        lease = str(uuid4())
        redis.zadd(keys.leases, {lease: alive})
        redis.hset(keys.workers, lease, said)
    redis.hset(keys.workers, mapping={"hello": "{}", b"\xff": b"\xff", "": "", leases[0].upper(): "{}"})
    redis.rpush(keys.ready, b"", b"\xff\x00", "hello", "[" * 5000, '{"type":1}', "null")
    redis.rpush(keys.front, b"\xff\x01", "{}")
    odd_tasks: dict[Any, float] = {b"\xff\x02": 1, "hello": float("-inf"), "never": float("inf"), "": 2}
    redis.zadd(keys.scheduled, odd_tasks)
    redis.rpush(keys.dead, b"\xff", "", "hello", b'{"task":5}')
    redis.set(keys.idempotency(b"k"), b"\xff", px=60_000)
    for lease in leases:  # one that ended, one that Redis does not know
        flight = keys.flight(UUID(lease))
        redis.hset(flight, mapping={
            "at": "hello", "hello": '{"type":"quick"}', b"\xff": b"\xff", "": "", "-1": "x", "01": "y", "1e5": "z",
            "9" * 400: "u", "3": b"\xff\x03", "4": "{}",
        })  # fmt: skip
        redis.sadd(keys.suspect_starts(UUID(lease)), "hello", b"\xff", "", "3", "-7", "9" * 400)
        redis.hset(keys.workers, lease, b"{}")
    redis.zadd(keys.leases, {leases[0]: -1})
    redis.zadd(keys.leases, {leases[1]: 0})


CHECKPOINTS = [b"hello", b"9" * 400, b" 12 "]


async def test_something_odd_in_each_key_ends_nothing_and_holds_up_nothing(
    nursery, environ, redis, queue_name, tmp_path
):
    keys = Keys(queue_name)
    leases = [str(uuid4()) for _ in range(3)]
    spoil(redis, keys, leases)
    redis.set(keys.checkpoint, CHECKPOINTS[0])
    async with (
        serving(environ) as client,
        worker_process(nursery, tmp_path / "ledger", WORKER_CONCURRENCY="3", **environ) as worker,
    ):
        await until(partial(is_ready, client))
        await until(partial(is_ready, worker))
        for entry in CHECKPOINTS:
            redis.set(keys.checkpoint, entry)
            await enqueue(client)
            if "DATABASE_URL" in environ:
                await until_true(lambda: redis.get(keys.checkpoint) not in CHECKPOINTS)
        own = Keys(queue_name).flight(await lease_of(redis, keys, worker))
        redis.hset(own, mapping={"hello": "x", b"\xff": b"\xff"})
        redis.sadd(own.replace("flight", "suspect_starts"), "hello")
        await until_true(lambda: sum(ledger_counts(tmp_path / "ledger")[1].values()) == len(CHECKPOINTS), seconds=30)
        for path in ("/ready", "/metrics", "/api/workers", "/api/overview", "/api/jobs"):
            answer = await client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            if path != "/ready":
                json.loads(answer.content, parse_constant=pytest.fail)
            assert len(answer.content) < 300_000
        assert (await ask(worker, "/ready")).status_code == 200
        assert (await ask(worker, "/metrics")).status_code == 200
        # What was taken from dead workers leaves nothing behind, and nothing of the others' is lost.
        await until_true(lambda: not any(redis.exists(keys.flight(UUID(lease))) for lease in leases), seconds=30)
        dead = b"".join(redis.lrange(keys.dead, 0, -1))
        assert dead.count(b"under a name that is no number") == 3 * 7
        if "DATABASE_URL" in environ:
            done = await trio.to_thread.run_sync(partial(workqueue, "reconcile", **environ))
            assert done.returncode == 0
            assert "Traceback" not in done.stderr
        assert worker.process.poll() is None, worker.said
        await worker.terminate()
    assert worker.process.returncode == 0, worker.said
    assert "Traceback" not in worker.said
    for key in (keys.leases, keys.workers, *(keys.flight(UUID(lease)) for lease in leases)):
        assert worker.said.count(f"the key {key} holds a member that ") == 1, "named once"
    assert not redis.exists(own)


async def test_each_key_of_another_type_is_named_by_both_services_and_survived(
    nursery, environ, redis, queue_name, tmp_path
):
    keys = Keys(queue_name)
    types = kinds(keys, None)
    async with serving(environ) as client, worker_process(nursery, tmp_path / "ledger", **environ) as worker:
        await enqueue(client)
        await until_true(lambda: sum(ledger_counts(tmp_path / "ledger")[1].values()) == 1)
        lease = await lease_of(redis, keys, worker)
        spoil_types(redis, types | {keys.flight(lease): "hash", keys.suspect_starts(lease): "set"})
        await until(partial(names, worker, [*types, keys.flight(lease), keys.suspect_starts(lease)]))
        await until(partial(names, client, list(types)))
        assert (await client.post("/enqueue", json={"type": "quick"})).status_code == 500
        for path in ("/api/workers", "/api/overview", "/metrics", "/api/jobs"):
            assert (await client.get(path)).status_code in {200, 500}
        done = await trio.to_thread.run_sync(partial(workqueue, "reconcile", **environ))
        assert done.returncode == (1 if "DATABASE_URL" in environ else 2)
        assert len(done.stderr.splitlines()) == 1, done.stderr
        await trio.sleep(2)  # each service of the worker meets them; none of them ends it
        assert worker.process.poll() is None, worker.said
        redis.delete(*types, keys.flight(lease), keys.suspect_starts(lease))
        await until(partial(is_ready, worker), seconds=30)
        await until(partial(is_ready, client), seconds=30)
        await enqueue(client)
        await until_true(lambda: sum(ledger_counts(tmp_path / "ledger")[1].values()) >= 2, seconds=30)
        await worker.terminate()
    assert worker.process.returncode == 0, worker.said
    assert "Traceback" not in worker.said
    assert worker.said.count("holds another type") < 2 * len(types), "each is named, and not each second"


async def test_a_start_among_keys_of_another_type_waits_until_they_are_gone(
    nursery, environ, redis, queue_name, tmp_path
):
    types = kinds(Keys(queue_name), None)
    spoil_types(redis, types)
    async with (
        serving(environ) as client,
        worker_process(nursery, tmp_path / "ledger", wait=False, **environ) as worker,
    ):
        await until_true(lambda: "holds another type" in worker.said or worker.process.poll() is not None)
        await until(partial(names, worker, list(types)))
        await until(partial(names, client, list(types)))
        assert worker.process.poll() is None, worker.said
        redis.delete(*types)
        await until_true(lambda: "takes jobs from" in worker.said, seconds=30)
        await until(partial(is_ready, client), seconds=30)
        await enqueue(client)
        await until_true(lambda: sum(ledger_counts(tmp_path / "ledger")[1].values()) == 1, seconds=30)
        await worker.terminate()


def spoil_types(redis: Redis, types: Mapping[str, str]) -> None:
    redis.delete(*types)
    for key, kind in types.items():
        if kind == "string":
            redis.rpush(key, "of another type")
        else:
            redis.set(key, "of another type")


async def ask(service: httpx.AsyncClient | WorkerProcess, path: str) -> httpx.Response:
    if isinstance(service, httpx.AsyncClient):
        return await service.get(path)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.get(f"http://127.0.0.1:{service.port}{path}")


async def is_ready(service: httpx.AsyncClient | WorkerProcess) -> bool:
    return (await ask(service, "/ready")).status_code == 200


async def names(service: httpx.AsyncClient | WorkerProcess, keys: list[str]) -> bool:
    answer = await ask(service, "/ready")
    return answer.status_code == 503 and all(f"the key {key} holds another type" in answer.text for key in keys)


async def enqueue(client: httpx.AsyncClient) -> None:
    answer = await client.post("/enqueue", json={"type": "quick"})
    assert answer.status_code == 200, answer.text


async def lease_of(redis: Redis, keys: Keys, worker: WorkerProcess) -> UUID:
    """The lease of this worker, by its process id."""
    for _ in range(1000):
        published: dict[Any, Any] = redis.hgetall(keys.workers)
        for lease, said in published.items():
            if f'"pid":{worker.process.pid},'.encode() in said:
                return UUID(lease.decode())
        await trio.sleep(0.01)
    raise AssertionError(worker.said)
