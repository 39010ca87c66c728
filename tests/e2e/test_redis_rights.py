"""What a Redis user may do: exactly what the documents list is enough; what is missing is named and survived."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import trio
from redis import Redis

from tests.producer.serving import serving
from tests.support.redis_sets import Node
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, worker_process
from workqueue.core.errors import LeaseLost, NeedsOperator, QueueUnavailable
from workqueue.core.queue import Keys, LeaseConnection, commands, open_queue, scripts
from workqueue.core.queue.scripts import Script
from workqueue.services.local.valkey import Server, run_valkey

ROOT = Path(__file__).parents[2]
NAME = "workqueue:jobs"  #: as the document writes it


def documented() -> list[list[str]]:
    """The rules of each block of the section."""
    text = (ROOT / "docs/deployment.md").read_text("utf-8")
    section = text[text.index("## What a Redis user must be allowed") : text.index("## A Redis that fails over")]
    return [block.split() for block in re.findall(r"```\n(.*?)```", section, re.DOTALL)]


def names(rules: list[str]) -> set[str]:
    return {rule[1:].upper() for rule in rules if rule[0] == "+"}


def test_the_document_lists_what_the_code_sends():
    everything, producer = documented()
    assert names(everything) == commands.ALL | commands.OPTIONAL
    assert names(producer) == commands.PRODUCER | commands.PRODUCER_OPTIONAL
    assert {rule for rule in everything if rule[0] == "~"} == {f"~{NAME}", f"~{{{NAME}}}:*"}


def test_the_lists_are_what_the_code_says():
    client = "".join((ROOT / f"core/queue/{name}.py").read_text("utf-8") for name in ("client", "lanes"))
    sent = set(re.findall(r'(?:_command|execute_command|send_command|run)\(\s*"([A-Z]+)"', client))
    sent |= set(re.findall(r'\["([A-Z]+)"(?:, self\.keys|\])', client))
    sent |= {"SUBSCRIBE", "UNSUBSCRIBE"} if ".subscribe" in client else set()
    sent |= {"MULTI", "EXEC", "DISCARD", "TYPE", "PING", "SELECT"}  # transactions, checks.py, each connection
    assert sent == commands.PRODUCER_DIRECT | commands.WORKER_DIRECT | commands.TOOLS | {"DEL", "EXISTS"}
    for script in scripts.ALL:
        calls = re.findall(r"redis\.\w+\(((?:\w+ and '[^']+' or )?'[^']+')", script.text)
        assert set(script.commands) == set(re.findall(r"'([^']+)'", " ".join(calls)))
        assert len(re.findall(r"redis\.p?call", script.text)) == len(calls), "every name is a literal"
    assert {name for name, value in vars(scripts).items() if isinstance(value, Script)} == {
        script.name.upper() for script in scripts.ALL
    }


@pytest.fixture(scope="module")
def server(portal, tmp_path_factory) -> Iterator[Server]:
    """A Redis of this module, whose users come and go."""
    with portal.running(run_valkey(tmp_path_factory.mktemp("rights"), durable=False)) as server:
        yield server


@pytest.fixture
def redis(server) -> Iterator[Redis]:
    with Redis.from_url(server.url) as redis:
        redis.flushall()
        yield redis
        redis.acl_deluser("workqueue")


@pytest.fixture(params=["redis only", "postgres"])
def environ(request, server) -> dict[str, str]:
    ours = {"REDIS_URL": f"redis://workqueue:PASSWORD@127.0.0.1:{server.port}/1", "LEASE_SECONDS": "2"}
    if request.param == "postgres":
        ours |= {name.upper(): request.getfixturevalue(name) for name in ("postgres_dsn", "database_schema")}
        ours["DATABASE_URL"] = ours.pop("POSTGRES_DSN")
    return ours


def allow(redis: Redis, rules: list[str]) -> None:
    redis.execute_command("ACL", "SETUSER", *rules)


async def ask(service: httpx.AsyncClient | WorkerProcess, path: str = "/ready") -> httpx.Response:
    if isinstance(service, httpx.AsyncClient):
        return await service.get(path)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.get(f"http://127.0.0.1:{service.port}{path}")


async def is_ready(service: httpx.AsyncClient | WorkerProcess) -> bool:
    return (await ask(service)).status_code == 200


async def says(service: httpx.AsyncClient | WorkerProcess, text: str) -> bool:
    answer = await ask(service)
    return answer.status_code == 503 and text in answer.text


async def enqueue(client: httpx.AsyncClient, **more: object) -> None:
    answer = await client.post("/enqueue", json={"type": "quick"} | more)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("without", ["", "-info"])
async def test_exactly_what_the_document_lists_is_enough(nursery, redis, environ, tmp_path, without):
    everything, producer = documented()
    allow(redis, [*everything[2:], *without.split()])
    allow(redis, ["producer", *everything[3:10], *producer, *without.split()])
    environ["DATABASE_SCHEMA"] = f"test_{uuid4().hex}"
    producers = environ | {"REDIS_URL": environ["REDIS_URL"].replace("workqueue:", "producer:")}
    with redis.monitor() as monitor:
        async with serving(producers) as client, worker_process(nursery, tmp_path / "ledger", **environ) as worker:
            await until(partial(is_ready, client))
            await until(partial(is_ready, worker))
            for number in range(5):
                await enqueue(client)
                answer = await client.post("/enqueue", json={"type": "quick"}, headers={"Idempotency-Key": f"{number}"})
                assert answer.status_code == 200
            await enqueue(client, type="unknown", retries=1)
            redis.select(1)
            redis.rpush(NAME, "no task", '{"type":"quick"}')
            await until_true(lambda: sum(ledger_counts(tmp_path / "ledger")[1].values()) == 11, seconds=30)
            for path in ("/metrics", "/api/workers", "/api/overview", "/api/jobs"):
                assert (await client.get(path)).status_code == 200
            assert (await ask(worker, "/metrics")).status_code == 200
            await until_true(lambda: redis.llen(f"{{{NAME}}}:dead") == (1 if "DATABASE_URL" in environ else 2))
            await worker.terminate()
        assert worker.process.returncode == 0, worker.said
        redis.execute_command("ECHO", "the end")
        sent = set()
        while (command := monitor.next_command()["command"]) != "ECHO the end":
            sent.add(command.split()[0].upper())
    assert sent - {"AUTH", "ACL", "CLIENT", "ECHO", "HELLO"} <= commands.ALL | commands.OPTIONAL
    assert worker.said.count("Redis refuses INFO to this user") == (1 if without else 0), worker.said
    assert not [entry for entry in redis.acl_log() if entry["object"] != "info"], redis.acl_log()
    redis.acl_log_reset()
    redis.acl_deluser("producer")
    redis.select(0)


async def test_a_managed_servers_user_is_enough(nursery, redis, environ, tmp_path):
    allow(redis, ["workqueue", "on", ">PASSWORD", "~*", "&*", "+@all", "-@dangerous"])
    async with serving(environ) as client, worker_process(nursery, tmp_path / "ledger", **environ) as worker:
        await until(partial(is_ready, client))
        await until(partial(is_ready, worker))
        await enqueue(client)
        await until_true(lambda: sum(ledger_counts(tmp_path / "ledger")[1].values()) == 1)
        await trio.sleep(1)  # the watch looks again
        await worker.terminate()
    assert worker.said.count("Redis refuses INFO to this user: allow it") == 1, worker.said
    assert "Traceback" not in worker.said


@pytest.mark.parametrize(
    ("environ", "taken"),
    [("redis only", "-@scripting"), ("redis only", "resetkeys"), ("postgres", "-@all"), ("postgres", "-rpush -multi")],
    indirect=["environ"],
)
async def test_rights_that_are_missing_are_named_and_the_services_go_on_once_they_are_there(
    nursery, redis, environ, tmp_path, taken
):
    """At the start, and in the middle of work."""
    everything, _ = documented()
    allow(redis, [*everything[2:], *taken.split()])
    text = "keys of the queue" if taken == "resetkeys" else "to this user: allow"
    async with (
        serving(environ) as client,
        worker_process(nursery, tmp_path / "ledger", wait=False, **environ) as worker,
    ):
        for number in (1, 2):
            await until_true(partial(_said, worker, text, number))
            assert worker.process.poll() is None, worker.said
            await until(partial(says, worker, text))
            await until(partial(says, client, text))
            allow(redis, everything[2:])
            await until(partial(is_ready, worker), seconds=30)
            await until(partial(is_ready, client), seconds=30)
            await enqueue(client)
            await until_true(partial(_ran, tmp_path / "ledger", number), seconds=30)
            await until_true(partial(_said, worker, "Redis is back", number))
            if number == 1:
                allow(redis, ["workqueue", *taken.split()])
        await worker.terminate()
    assert worker.process.returncode == 0, worker.said
    assert "Traceback" not in worker.said
    assert "PASSWORD" not in worker.said
    assert worker.said.count(text) <= 6, worker.said


def _said(worker: WorkerProcess, text: str, count: int) -> bool:
    return worker.said.count(text) >= count or worker.process.poll() is not None


def _ran(ledger: Path, count: int) -> bool:
    return sum(ledger_counts(ledger)[1].values()) == count


async def test_each_command_that_is_taken_away_is_named(redis, server, bridge):
    url = f"redis://workqueue:PASSWORD@127.0.0.1:{server.port}"
    everything, _ = documented()
    allow(redis, everything[2:])
    async with open_queue(bridge, url, NAME) as queue:
        await queue.check()
        for room, needed in ((True, commands.PRODUCER), (False, commands.ALL)):
            for command in sorted(needed - {"PING", "SELECT"}):  # they are of a connection's beginning
                allow(redis, ["workqueue", f"-{command}"])
                with pytest.raises(NeedsOperator, match=f"{command} to this user"):
                    await queue.check(room=room)
                allow(redis, ["workqueue", f"+{command}"])
                await queue.check(room=room)
        for command in sorted(commands.ALL - commands.PRODUCER):
            allow(redis, ["workqueue", f"-{command}"])
            await queue.check(room=True)
        assert await queue._command("TYPE", queue.keys.unused) == b"none", "nothing of the question was carried out"


@pytest.mark.parametrize("command", ["INFO", "TIME", "EVAL", "EXEC"])
async def test_a_command_that_was_renamed_ends_no_service_and_is_named(
    nursery, tmp_path, postgres_dsn, database_schema, command
):
    node = Node("renamed", tmp_path, [f'rename-command {command} ""'], password=None)
    await nursery.start(node.keep)
    environ = {
        "REDIS_URL": f"redis://127.0.0.1:{node.port}", "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema, "LEASE_SECONDS": "2",
    }  # fmt: skip
    ledger = tmp_path / "ledger"
    async with serving(environ) as client, worker_process(nursery, ledger, wait=False, **environ) as worker:
        await until_true(partial(_said, worker, f"Redis does not know {command}: it is renamed or switched off", 1))
        assert worker.process.poll() is None, worker.said
        if command == "INFO":
            await enqueue(client)
            await until_true(partial(_ran, ledger, 1))
            await until(partial(is_ready, client))
            await until(partial(is_ready, worker))
        else:
            await until(partial(says, client, f"Redis does not know {command}"))
            await until(partial(says, worker, f"Redis does not know {command}"))
        await worker.terminate()
    assert "Traceback" not in worker.said


async def test_a_transaction_whose_end_is_refused_leaves_none_open(bridge, redis, server, queue_name):
    """Else the next push would be queued in it, and count as accepted."""
    everything, _ = documented()
    allow(redis, [*everything[2:], f"~{queue_name}", f"~{{{queue_name}}}:*", "-exec"])
    async with open_queue(bridge, f"redis://workqueue:PASSWORD@127.0.0.1:{server.port}", queue_name) as queue:
        for number in range(20):
            with pytest.raises(NeedsOperator, match="refuses EXEC"):
                await queue.workers()
            await queue.push([b"x"])
            assert (await queue.depths()).ready == number + 1
            with pytest.raises(NeedsOperator, match="refuses EXEC"):
                await queue.check()


@pytest.mark.parametrize("command", ["EVALSHA", "MULTI", "DISCARD", "RPUSH", "TYPE", "ZADD"])
async def test_a_command_that_was_renamed_is_named(nursery, bridge, tmp_path, command):
    node = Node("renamed", tmp_path, [f'rename-command {command} ""'], password=None)
    await nursery.start(node.keep)
    url = f"redis://127.0.0.1:{node.port}"
    connection = LeaseConnection(url, Keys(NAME), seconds=3)
    async with open_queue(bridge, url, NAME) as queue:
        for _ in range(2):
            with pytest.raises(NeedsOperator, match=f"Redis does not know {command}: "):
                await queue.check()
            await queue.key_names()  # no answer of the question is taken for this one's
        for ask in (
            queue.depths, queue.workers, queue.promote, queue.read_checkpoint, partial(queue.push, [b"x"]),
            partial(queue.claim, uuid4(), start=1, count=1, on_task_available=lambda: None),
            partial(trio.to_thread.run_sync, connection.register, uuid4(), b"{}"),
        ):  # fmt: skip
            with suppress(QueueUnavailable, LeaseLost):
                await ask()
        assert await queue.key_names() <= {NAME, queue.keys.front, queue.keys.leases, queue.keys.workers}
    connection.close()
    nursery.cancel_scope.cancel()


def broken(script: Script, text: str) -> Script:
    return Script(script.name, text, "0" * 40, script.commands)


@pytest.mark.parametrize("name", ["CLAIM", "RENEW", "READ_CHECKPOINT", "PROMOTE"])
@pytest.mark.parametrize(
    "text", ["return redis.error_reply('ODD and not foreseen')", "return nil > 1", "no lua at all"]
)
async def test_a_reply_that_nothing_foresaw_is_told_once_and_survived(
    monkeypatch, caplog, bridge, redis_url, queue_name, name, text
):
    """A bug in a script of ours looks the same: it must be seen, and must not end every worker."""
    monkeypatch.setattr(scripts, name, broken(getattr(scripts, name), text))
    lease = uuid4()
    async with open_queue(bridge, redis_url, queue_name) as queue:
        connection = LeaseConnection(redis_url, Keys(queue_name), seconds=3)
        connection.register(lease, b"{}")
        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "CLAIM": partial(queue.claim, lease, start=1, count=1),
            "RENEW": partial(trio.to_thread.run_sync, connection.renew, lease, b"{}"),
            "READ_CHECKPOINT": queue.read_checkpoint,
            "PROMOTE": queue.promote,
        }
        for _ in range(3):
            with pytest.raises(QueueUnavailable, match=rf"Redis answers {name.lower()}\.lua \("):
                await asks[name]()
        connection.close()
        [record] = [record for record in caplog.records if record.levelname == "ERROR"]
        assert "report it" in record.getMessage()
        if name != "RENEW":
            with pytest.raises(NeedsOperator, match=rf"Redis answers {name.lower()}\.lua"):
                await queue.check()
            monkeypatch.undo()
            await asks[name]()
            await queue.check()
