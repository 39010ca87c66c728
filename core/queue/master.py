"""Where the master of a queue is: at a fixed address, where Sentinel says, or where a Cluster keeps the queue's slot.

Pure: which command to send, to which node first, and what an answer means. following.py sends it from asyncio,
blocking.py from the lease thread.
"""

import re
from typing import Any, NamedTuple

from redis import exceptions

#: Answers of a server that is not, or no longer, the master: the next connection asks anew where that is.
NOT_MASTER = (
    exceptions.ReadOnlyError,
    exceptions.MovedError,
    exceptions.ClusterDownError,  # MASTERDOWN too
)
#: The same, for answers without a class in redis-py: to a blocked client, and to a command of a script on Redis 6.2.
NOT_MASTER_TEXT = re.compile(r"(?:^|-)(?:UNBLOCKED|READONLY|MASTERDOWN)\b")


class Address(NamedTuple):
    """Of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MasterUnknown(Exception):
    """A node does not know where the master is, or gives an answer that cannot be read. Caught where it was asked."""


class Master:
    """What the connections of one client know of the master. This class: it is where the URL says, no node is asked.

    Mutable state: `generation`, which goes up when the master was found elsewhere or a server answered that it is not
    the master: a connection of an earlier generation is not used again; and `nodes`, in the order in which to ask. Both
    change in the methods here, always in one thread.
    """

    discovery_command: tuple[str, ...] = ()  #: asks a node where the master is; (): no node has to be asked
    is_verified = False  #: must a server, once connected, say itself that it is a master?

    def __init__(self, nodes: tuple[Address, ...] = ()) -> None:
        self.nodes = list(nodes)
        self.generation = 0
        self._at: Address | None = None

    def read(self, answer: Any, asked: Address) -> Address:
        """The address in what a node answered to `discovery_command`. Raises MasterUnknown."""
        try:
            found = self._read(answer, asked)
        except (ValueError, TypeError, AttributeError) as error:  # of another shape: it is no Sentinel, no such node
            raise MasterUnknown(f"gives an answer that cannot be read ({type(error).__name__})") from None
        if found != self._at:
            self._at = found
            self.generation += 1
        return found

    def _read(self, answer: Any, asked: Address) -> Address:
        raise AssertionError("no node is asked for a master that is where the URL says")

    def refused(self, error: Exception, *, at: Address, generation: int, discovered_by: Address | None) -> None:
        """A server answered with an error: begin a new generation where that means that it is not the master."""
        if not isinstance(error, NOT_MASTER) and not NOT_MASTER_TEXT.search(str(error)):
            return
        if isinstance(error, exceptions.MovedError):
            self.ask_first(at)  # a node of the Cluster, with newer knowledge than the one that was asked
        elif discovered_by is not None:
            self.ask_last(discovered_by)
        if generation == self.generation:  # the first connection to hear it
            self.generation += 1

    def ask_first(self, node: Address) -> None:
        self.nodes = [node, *(other for other in self.nodes if other != node)]

    def ask_last(self, node: Address) -> None:
        """For a node that did not answer, or named a server that is no master."""
        if node in self.nodes:
            self.nodes.remove(node)
            self.nodes.append(node)


class SentinelMaster(Master):
    """The master of a service that Sentinels watch."""

    is_verified = True  # a Sentinel that was cut off may still name the old one, which is a replica by now

    def __init__(self, nodes: tuple[Address, ...], service: str) -> None:
        super().__init__(nodes)
        self._service = service
        self.discovery_command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)

    def _read(self, answer: Any, asked: Address) -> Address:
        if not answer:
            raise MasterUnknown(f"knows no service {self._service!r}")
        host, port = answer
        return Address(host.decode(), int(port))


class ClusterMaster(Master):
    """The master that holds a slot of a Redis Cluster. All keys of a queue are in one slot.

    Mutable state besides: `nodes` grows to all nodes of the Cluster, so that those of the URL may disappear later.
    """

    discovery_command = ("CLUSTER", "SLOTS")

    def __init__(self, nodes: tuple[Address, ...], slot: int) -> None:
        super().__init__(nodes)
        self._seeds = nodes
        self._slot = slot

    def _read(self, answer: Any, asked: Address) -> Address:
        found, nodes = None, [asked]
        for begin, end, *servers in answer:
            addresses = [self._address(host, port, asked) for host, port, *_ in servers]
            nodes += [address for address in addresses if address.host != "?"]
            if begin <= self._slot <= end and addresses[0].host != "?":
                found = addresses[0]
        if found is None:
            raise MasterUnknown(f"knows no node that holds slot {self._slot}")
        self.nodes = list(dict.fromkeys([*nodes, *self._seeds]))
        return found

    @staticmethod
    def _address(host: bytes | None, port: int, asked: Address) -> Address:
        """A node that does not know its own address leaves it out: it is the one at which it was asked."""
        return Address(host.decode() if host else asked.host, port)
