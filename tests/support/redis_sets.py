"""Real sets of Redis servers on loopback: a master and a replica with three Sentinels, a Cluster of three and three.

Nodes are killed with SIGKILL and come back with what they kept; Sentinel and the Cluster alone decide which one leads.
"""

import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
import trio
from redis.crc import key_slot

from tests.support.wait import until
from workqueue.services.local.process import free_port, run_server
from workqueue.services.local.valkey import _binary

PASSWORD = "p@ss:/ %?#word"  # everything that means something in a URL
QUOTED = "p%40ss%3A%2F%20%25%3F%23word"
SERVICE = "jobs"
COMMON = [
    f'requirepass "{PASSWORD}"', f'masterauth "{PASSWORD}"', "appendonly yes", 'save ""',
    "repl-diskless-sync-delay 0", "repl-ping-replica-period 1",
]  # fmt: skip
SLOTS = 16384


class Node:
    """One server. Mutable state: its process, and whether it may come back."""

    def __init__(self, name: str, folder: Path, config: Sequence[str], *options: str, password: str | None = PASSWORD):
        self.name = name
        self.port = free_port()
        self._password = password
        self._folder = folder / name
        self._folder.mkdir()
        self._config = self._folder / "redis.conf"
        own = [f"port {self.port}", "bind 127.0.0.1", f'dir "{self._folder}"', 'logfile ""']
        self._config.write_text("\n".join([*own, *config, ""]))
        self._options = options
        self._process: trio.Process
        self._revived = trio.Event()

    async def __call__(self, *command: object) -> Any:
        """The bare answer to a command, as a command line shows it."""

        def send() -> Any:
            connection = redis.Connection(port=self.port, password=self._password, protocol=2, socket_timeout=2)
            try:
                connection.connect()
                connection.send_command(*command)
                return connection.read_response()
            finally:
                connection.disconnect()

        return await trio.to_thread.run_sync(send)

    async def says(self, word: bytes, *command: object) -> bool:
        """Does it answer, and with such a word in it? It may be on its way up or down."""
        try:
            return word in await self(*command)
        except redis.RedisError:
            return False

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run it; after it was killed, again once `revive` was called."""
        begun = False
        while True:
            async with run_server(
                self.name,
                [_binary(), self._config, *self._options],
                log_file=self._folder / "log",
                is_ready=partial(self.says, b"PONG", "PING"),
            ) as process:
                self._process = process
                if not begun:
                    task_status.started()
                    begun = True
                await process.wait()
            await self._revived.wait()
            self._revived = trio.Event()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        """As when its machine loses power."""
        self._process.kill()
        await self._process.wait()

    async def revive(self) -> None:
        self._revived.set()
        await until(partial(self.says, b"PONG", "PING"))


class RedisSet:
    """Servers of which one leads for a queue."""

    def __init__(self, url: str, nodes: list[Node], watchers: list[Node]) -> None:
        self.url = url
        self.nodes = nodes  #: those that keep tasks
        self.watchers = watchers  #: those that know who leads
        self.alive = list(nodes)
        self.on_sentinels = watchers is not nodes

    async def master(self, queue_name: str) -> Node:
        """Who leads now, as a watcher says that lives."""
        if self.on_sentinels:
            _, port = await self.watchers[0]("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
            return next(node for node in self.nodes if node.port == int(port))
        slot = key_slot(queue_name.encode())
        ranges = await self.alive[0]("CLUSTER", "SLOTS")
        [port] = [master[1] for begin, end, master, *_ in ranges if begin <= slot <= end]
        return next(node for node in self.nodes if node.port == port)

    async def kill_master(self, queue_name: str) -> Node:
        """kill -9; returns who it was."""
        node = await self.master(queue_name)
        await node.kill()
        self.alive.remove(node)
        return node

    async def revive(self, node: Node) -> None:
        await node.revive()
        self.alive.append(node)

    async def cut_replication(self, queue_name: str) -> None:
        """From here on the master's replica gets nothing more."""
        master = await self.master(queue_name)
        for node in self.alive:
            if await node.says(f"master_port:{master.port}".encode(), "INFO", "replication"):
                await node("CONFIG", "SET", "masterauth", "wrong")
        await master("CLIENT", "KILL", "TYPE", "replica")
        await until(partial(master.says, b"connected_slaves:0", "INFO", "replication"))

    async def until_in_sync(self) -> None:
        """Until every replica follows its master: what is written from here on is lost at most by a moment."""
        for node in self.alive:
            await until(partial(_is_in_sync, node), seconds=20)


async def _is_in_sync(node: Node) -> bool:
    answer = await node("INFO", "replication")
    if b"role:master" in answer:
        return b"connected_slaves:1" in answer and b"state=online" in answer
    return b"master_link_status:up" in answer


@asynccontextmanager
async def sentinel_set(folder: Path) -> AsyncIterator[RedisSet]:
    """A master, a replica, and three Sentinels that take a master for dead after a second of silence."""
    first = Node("a", folder, COMMON)
    second = Node("b", folder, [*COMMON, f"replicaof 127.0.0.1 {first.port}"])
    config = [
        f"sentinel monitor {SERVICE} 127.0.0.1 {first.port} 2",
        f'sentinel auth-pass {SERVICE} "{PASSWORD}"',
        f"sentinel down-after-milliseconds {SERVICE} 1000",
        f"sentinel failover-timeout {SERVICE} 2000",
    ]
    watchers = [Node(f"sentinel-{number}", folder, config, "--sentinel", password=None) for number in range(3)]
    async with trio.open_nursery() as nursery:
        for node in [first, second, *watchers]:
            await nursery.start(node.keep)
        for watcher in watchers:  # or they take seconds to hear of each other
            # In a failover they ask a replica once a second what it is. Four times the period of publishing is how long
            # they bear with two masters, five times that of pings how old what they know of a replica may be.
            await watcher("SENTINEL", "DEBUG", "INFO-PERIOD", 200, "PUBLISH-PERIOD", 500, "PING-PERIOD", 500)
        for watcher in watchers:
            await until(partial(_knows_the_others, watcher))
        hosts = ",".join(f"127.0.0.1:{watcher.port}" for watcher in watchers)
        ours = RedisSet(f"redis+sentinel://:{QUOTED}@{hosts}/{SERVICE}/1", [first, second], watchers)
        await ours.until_in_sync()
        yield ours
        nursery.cancel_scope.cancel()


async def _knows_the_others(watcher: Node) -> bool:
    """The two other Sentinels, and a replica that could take over."""
    [state] = map(_fields, await watcher("SENTINEL", "MASTERS"))
    replicas = list(map(_fields, await watcher("SENTINEL", "REPLICAS", SERVICE)))
    fit = [each[b"flags"] == b"slave" and each[b"master-link-status"] == b"ok" for each in replicas]
    return bool(state[b"num-other-sentinels"] == b"2" and fit == [True])


def _fields(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[RedisSet]:
    """Three masters with a replica each, which take a node for dead after a second and a half of silence."""
    buses = [free_port() for _ in range(6)]
    config = [*COMMON, "cluster-enabled yes", "cluster-node-timeout 1500"]
    nodes = [Node(f"node-{number}", folder, [*config, f"cluster-port {bus}"]) for number, bus in enumerate(buses)]
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for node in nodes:
                starting.start_soon(nursery.start, node.keep)
        bounds = [SLOTS * number // 3 for number in range(4)]
        for number, node in enumerate(nodes):
            await node("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < 3:
                await node("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            await nodes[0]("CLUSTER", "MEET", "127.0.0.1", node.port, buses[number])
        for node in nodes:
            await until(partial(node.says, b"cluster_known_nodes:6", "CLUSTER", "INFO"))
        for node, master in zip(nodes[3:], nodes[:3], strict=True):
            await node("CLUSTER", "REPLICATE", await master("CLUSTER", "MYID"))
        for node in nodes:
            await until(partial(node.says, b"cluster_state:ok", "CLUSTER", "INFO"))
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes[:3])
        ours = RedisSet(f"redis+cluster://:{QUOTED}@{hosts}", nodes, nodes)
        await ours.until_in_sync()
        yield ours
        nursery.cancel_scope.cancel()


SETS: dict[str, Callable[[Path], AbstractAsyncContextManager[RedisSet]]] = {
    "sentinel": sentinel_set,
    "cluster": cluster,
}
