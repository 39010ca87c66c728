"""Which errors are an outage: something to wait for, never the end of a worker. Made by real servers where possible."""

import socket
from contextlib import suppress
from functools import partial
from uuid import uuid4

import pytest
import trio
from redis import ResponseError, exceptions
from redis._parsers.base import BaseParser

from tests.support.redis_cli import RedisCli, open_redis_cli
from tests.support.redis_sets import Node
from tests.support.wait import until
from workqueue.core.errors import (
    KeyOfAnotherType,
    LeaseLost,
    NeedsOperator,
    QueueUnavailable,
    Refused,
    UnknownReply,
)
from workqueue.core.queue import Keys, LeaseConnection, open_queue
from workqueue.core.queue.outages import Unforeseen, outage
from workqueue.services.local.valkey import run_valkey

REPLIES = [
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "CLUSTERDOWN The cluster is down",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist on disk.",
    "MOVED 3999 127.0.0.1:6381",
    "NOAUTH Authentication required.",
    "NOREPLICAS Not enough good replicas to write.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "WRONGPASS invalid username-password pair or user is disabled.",
    # As Redis 6.2 tells what a command inside of a script met:
    "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed",
    "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write",
    "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -MISCONF Redis is configured",
    "ERR max number of clients reached",
]


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.split()[0])
def test_what_passes_by_itself_or_an_operator_mends_is_an_outage(reply):
    failure = outage(BaseParser.parse_error(reply))
    assert type(failure) is QueueUnavailable
    assert str(failure).startswith("Redis: ")


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.split()[0])
def test_it_is_one_in_a_pipeline_too(reply):
    error = BaseParser.parse_error(reply)
    error.args = (f"Command # 1 (LLEN q) of pipeline caused error: {error.args}", *error.args[1:])  # as redis-py does
    assert isinstance(outage(error), QueueUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("Connection closed by server."),
        exceptions.TimeoutError("Timeout reading from h:1"),
        exceptions.MaxConnectionsError("Too many connections"),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError(),
    ],
)
def test_a_connection_that_breaks_is_an_outage(error):
    assert isinstance(outage(error), QueueUnavailable)


def test_a_key_of_another_type_says_what_to_do():
    for reply in (
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR Error running script (call to f_1): @user_script:1: WRONGTYPE Operation against a key",
    ):
        failure = outage(BaseParser.parse_error(reply))
        assert isinstance(failure, KeyOfAnotherType)
        assert "QUEUE_NAME" in str(failure)


REFUSALS = {
    # Valkey 9 and Redis 7, Redis 6.2; a command, one of a script; a pipeline puts words before it.
    "NOPERM User u has no permissions to run the 'rpush' command": "Redis refuses RPUSH to this user: allow it",
    "NOPERM this user has no permissions to run the 'config|get' command": "Redis refuses CONFIG|GET to this user",
    "ERR ACL failure in script: User u has no permissions to run the 'time' command script: on @user_script:1.":
        "Redis refuses TIME to this user: allow it",
    "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: The user executing the script can't run "
    "this command or subcommand": "Redis refuses a command of claim.lua to this user",
    "NOPERM No permissions to access a key": "Redis refuses this user keys of the queue: allow ~NAME and ~{NAME}:*",
    "NOPERM this user has no permissions to access one of the keys used as arguments": "keys of the queue",
    "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: The user executing the script can't "
    "access at least one of the keys mentioned in the command arguments": "keys of the queue",
    "NOPERM something else": "Redis refuses claim.lua to this user (something else)",
    "ERR unknown command 'RPUSH', with args beginning with: 'q' '{\"payload\":\"geheim\"}'":
        "Redis does not know RPUSH: it is renamed or switched off",
    "ERR unknown command `RPUSH`, with args beginning with: `q`, ": "Redis does not know RPUSH: it is renamed",
    "ERR Unknown command called from script script: on @user_script:1.": "Redis does not know a command of claim.lua",
    "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: Unknown Redis command called from Lua "
    "script": "Redis does not know a command of claim.lua",
}  # fmt: skip


@pytest.mark.parametrize("reply", REFUSALS)
def test_what_is_refused_says_which_command_and_what_to_do(reply):
    piped = BaseParser.parse_error(reply)
    piped.args = (f"Command # 1 (claim.lua q) of pipeline caused error: {piped.args[0]}",)
    for failure in (outage(BaseParser.parse_error(reply), "claim.lua"), outage(piped)):
        assert isinstance(failure, Refused)
        assert REFUSALS[reply] in str(failure)
        assert "geheim" not in str(failure)
        assert "docs/deployment.md" in str(failure)


@pytest.mark.parametrize(
    "reply",
    [
        "ERR value is not an integer or out of range",
        "BUSYGROUP Consumer Group name already exists",
        "ERR user_script:1: attempt to compare number with nil script: on @user_script:1.",
        "ODD unforeseen reply",
        "NOSCRIPT No matching script",
        "",
        "ERR " + "x" * 100_000,
        "ERR a\rb\x1b[31m",
    ],
    ids=lambda reply: reply[:20],
)
def test_a_reply_that_nothing_foresaw_is_an_outage_and_told_once(reply, caplog):
    failure = outage(BaseParser.parse_error(reply), "claim.lua (HGET)")
    assert isinstance(failure, UnknownReply)
    assert str(failure).startswith("Redis answers claim.lua (HGET) with an error that WorkQueue does not know: ")
    assert len(str(failure)) < 500
    assert str(failure).isprintable()
    unforeseen = Unforeseen()
    for _ in range(3):
        unforeseen.log(failure)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("error", [exceptions.DataError("Invalid input of type: 'NoneType'"), KeyError("a bug")])
def test_a_bug_of_ours_is_none(error):
    assert outage(error) is None


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail.example ESMTP\r\n", b"\x00\xff\r\n"])
async def test_a_server_that_speaks_something_else_is_an_outage(nursery, bridge, says):
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(says)
                while await stream.receive_some():
                    pass

    [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
    url = f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"
    connection = LeaseConnection(url, Keys("q"), seconds=3)
    async with open_queue(bridge, url, "q") as queue:
        for ask in (queue.depths, queue.check, queue.workers, partial(queue.push, [b"x"])):
            with pytest.raises(QueueUnavailable):
                await ask()
    with pytest.raises(QueueUnavailable):
        await trio.to_thread.run_sync(connection.register, uuid4(), b"{}")
    connection.close()
    nursery.cancel_scope.cancel()


DENIED = (
    "DENIED Running in protected mode because protected mode is enabled and no password is set for the default user. "
    "In this mode connections are only accepted from the loopback interface. If you want to connect from elsewhere"
)


def test_protected_mode_is_one_line_that_says_what_to_do():
    error = BaseParser.parse_error(DENIED)
    piped = BaseParser.parse_error(DENIED)
    piped.args = (f"Command # 1 (LLEN q) of pipeline caused error: {piped.args}",)
    for failure in (outage(error), outage(piped)):
        assert isinstance(failure, NeedsOperator)
        assert "protected mode" in str(failure)
        assert "requirepass" in str(failure)
        assert len(str(failure)) < 200


# --- on real servers


@pytest.mark.parametrize("url", ["redis://{at}", "redis://{at}/1", "redis://:pw@{at}"])
@pytest.mark.parametrize("kind", ["a server that talks as one", "a real one"])
async def test_a_server_in_protected_mode_is_heard_though_it_hangs_up_at_once(nursery, bridge, tmp_path, kind, url):
    if kind == "a real one":
        if (host := own_address()).startswith("127."):
            pytest.skip("this machine has no address but loopback's, for which there is no protected mode")
        node = Node("open", tmp_path, ["bind *", "protected-mode yes"], password=None)
        await nursery.start(node.keep)
        at = f"{host}:{node.port}"
    else:
        [listener] = await nursery.start(partial(trio.serve_tcp, refuse, 0, host="127.0.0.1"))
        at = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    connection = LeaseConnection(url.format(at=at), Keys("q"), seconds=3)
    async with open_queue(bridge, url.format(at=at), "q") as queue:
        for _ in range(5):
            for ask in (queue.depths, partial(queue.push, [b"x"]), partial(wait_for_task, queue)):
                with pytest.raises(NeedsOperator, match="protected mode"):
                    await ask()
            with pytest.raises(NeedsOperator, match="protected mode"):
                await trio.to_thread.run_sync(connection.register, uuid4(), b"{}")
    connection.close()
    nursery.cancel_scope.cancel()


def own_address() -> str:
    """By which others reach this machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(asking.getsockname()[0])


async def refuse(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(f"-{DENIED}\r\n".encode())


async def test_a_server_that_runs_a_script_for_too_long_is_an_outage_for_every_command(bridge, tmp_path, nursery):
    async with (
        run_valkey(tmp_path, durable=False) as server,
        open_queue(bridge, server.url, "q") as queue,
        open_redis_cli(server.url) as redis,
    ):
        await redis("CONFIG", "SET", "busy-reply-threshold", "20")
        async with open_redis_cli(server.url) as other:
            killed = trio.Event()

            async def run_forever() -> None:
                with pytest.raises(ResponseError):
                    await other("EVAL", "while true do end", 0)
                killed.set()

            nursery.start_soon(run_forever)

            async def busy() -> bool:
                try:
                    await queue.push([b"x"])
                except QueueUnavailable as error:
                    return "BUSY" in str(error)
                return False

            await until(busy)
            for ask in (queue.depths, queue.workers, queue.check, queue.promote, partial(wait_for_task, queue)):
                with pytest.raises(QueueUnavailable, match="BUSY"):
                    await ask()
            connection = LeaseConnection(server.url, queue.keys, seconds=3)
            with pytest.raises(QueueUnavailable, match="BUSY"):
                await trio.to_thread.run_sync(connection.renew, uuid4(), b"{}")
            connection.close()
            await redis("SCRIPT", "KILL")
            await until(partial(_answers, queue))
            await killed.wait()


async def test_a_server_without_its_replicas_refuses_and_is_used_again(bridge, tmp_path):
    async with (
        run_valkey(tmp_path, durable=False) as server,
        open_queue(bridge, server.url, "q") as queue,
        open_redis_cli(server.url) as redis,
    ):
        await queue.push([b"1"])
        await redis("CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(QueueUnavailable, match="NOREPLICAS"):
            await queue.push([b"2"])
        with pytest.raises(QueueUnavailable, match="NOREPLICAS"):
            await queue.promote()
        await redis("CONFIG", "SET", "min-replicas-to-write", "0")
        await queue.push([b"2"])
        assert (await queue.depths()).ready == 2


async def test_a_wrong_password_and_a_user_without_rights_are_an_outage(bridge, tmp_path, redis_url):
    async with run_valkey(tmp_path, durable=False) as server, open_redis_cli(server.url) as redis:
        await redis("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@connection")
        reader = f"redis://reader:pw@127.0.0.1:{server.port}"
        async with open_queue(bridge, reader, "q") as other:
            assert await other.queues() == {"default"}
            with pytest.raises(QueueUnavailable, match="refuses"):
                await other.push([b"x"])
            with pytest.raises(QueueUnavailable, match="refuses"):
                await other.workers()
        async with open_queue(bridge, reader.replace("pw", "wrong"), "q") as other:
            with pytest.raises(QueueUnavailable, match=r"WRONGPASS|invalid username-password"):
                await other.depths()


async def wait_for_task(queue) -> None:
    """As an idle worker does, who has no lease here."""
    with suppress(LeaseLost):
        await queue.claim(uuid4(), start=1, count=1, on_task_available=lambda: None)


async def test_a_waiting_worker_that_is_unblocked_or_cut_off_waits_again(redis, queue):
    clients = [line for line in await _clients(redis) if b"cmd=blmove" in line]
    assert not clients
    for how in ("UNBLOCK", "KILL"):
        failures: list[QueueUnavailable] = []

        async def wait(failures: list[QueueUnavailable] = failures) -> None:
            while not failures:
                try:
                    await wait_for_task(queue)
                except QueueUnavailable as error:
                    failures.append(error)

        async with trio.open_nursery() as waiting:
            waiting.start_soon(wait)

            async def blocked(how: str = how) -> bool:
                for line in await _clients(redis):
                    if b"cmd=blmove" in line and b"flags=b" in line:
                        client = line.split()[0].removeprefix(b"id=")
                        if how == "UNBLOCK":
                            return bool(await redis("CLIENT", "UNBLOCK", client, "ERROR"))
                        return bool(await redis("CLIENT", "KILL", "ID", client))
                return False

            await until(blocked)
    await queue.push([b"task"])
    await wait_for_task(queue)
    assert await redis("LLEN", queue.keys.front) == 1


async def _clients(redis: RedisCli) -> list[bytes]:
    answer = await redis("CLIENT", "LIST")
    return (answer if isinstance(answer, bytes) else str(answer).encode()).splitlines()


async def _answers(queue) -> bool:
    try:
        await queue.depths()
    except QueueUnavailable:
        return False
    return True
