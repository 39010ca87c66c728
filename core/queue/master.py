"""Where the master of a queue is: at a fixed address, where Sentinel says, or where a Cluster keeps the queue's slot.

Pure: what to ask, whom first, and what an answer means. connections.py asks, from asyncio and from the lease thread.
"""

import re
from typing import Any, NamedTuple

from redis import exceptions

#: Answers after which the next connection had better look anew: this is not, or no longer, the master.
NOT_MASTER = (
    exceptions.ReadOnlyError,
    exceptions.MovedError,
    exceptions.ClusterDownError,  # MASTERDOWN too
)
#: The same where redis-py has no class: of a blocked client, and of a command inside a script on Redis 6.2.
NOT_MASTER_TEXT = re.compile(r"(?:^|-)(?:UNBLOCKED|READONLY|MASTERDOWN)\b")


class Address(NamedTuple):
    """Of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NotKnown(Exception):
    """Whoever was asked does not know where the master is."""


class Master:
    """What the connections of one client know of the master. This one is where the URL says, and is never asked for.

    Mutable state: `era`, which moves on when the master was found elsewhere or somebody said that it is not the master:
    a connection that was made in an earlier era is not used again; and `nodes`, in the order in which to ask. Both
    change in the methods here, always in one thread.
    """

    question: tuple[str, ...] = ()  #: the command that is put to a node; (): nobody has to be asked
    is_verified = False  #: must a server, once connected, say itself that it is a master?

    def __init__(self, nodes: tuple[Address, ...] = ()) -> None:
        self.nodes = list(nodes)
        self.era = 0
        self._at: Address | None = None

    def read(self, answer: Any, asked: Address) -> Address:
        """What a node answered to `question`. Raises NotKnown."""
        try:
            found = self._read(answer, asked)
        except (ValueError, TypeError, AttributeError) as error:  # of another shape: it is no Sentinel, no such node
            raise NotKnown(f"gives an answer that cannot be read ({type(error).__name__})") from None
        if found != self._at:
            self._at = found
            self.era += 1
        return found

    def _read(self, answer: Any, asked: Address) -> Address:
        raise AssertionError("nobody is asked for a master that is where the URL says")

    def refused(self, error: Exception, *, at: Address, era: int, told_by: Address | None) -> None:
        """A server answered a command with an error. Does it mean that the master is elsewhere?"""
        if not isinstance(error, NOT_MASTER) and not NOT_MASTER_TEXT.search(str(error)):
            return
        if isinstance(error, exceptions.MovedError):
            self.ask_first(at)  # it knows better
        elif told_by is not None:
            self.ask_last(told_by)
        if era == self.era:  # the first one to hear it
            self.era += 1

    def ask_first(self, node: Address) -> None:
        self.nodes = [node, *(other for other in self.nodes if other != node)]

    def ask_last(self, node: Address) -> None:
        """It did not answer, or led to where no master is."""
        if node in self.nodes:
            self.nodes.remove(node)
            self.nodes.append(node)


class SentinelMaster(Master):
    """The master of a service, of which Sentinels know where it is."""

    is_verified = True  # a Sentinel that was cut off may still name the old one, which is a replica by now

    def __init__(self, nodes: tuple[Address, ...], service: str) -> None:
        super().__init__(nodes)
        self._service = service
        self.question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)

    def _read(self, answer: Any, asked: Address) -> Address:
        if not answer:
            raise NotKnown(f"knows no service {self._service!r}")
        host, port = answer
        return Address(host.decode(), int(port))


class ClusterMaster(Master):
    """The master that holds a slot of a Redis Cluster. All keys of a queue are in one slot.

    Mutable state besides: `nodes` grows to all nodes of the Cluster, so that those of the URL may be gone later.
    """

    question = ("CLUSTER", "SLOTS")

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
            raise NotKnown(f"knows no node that holds slot {self._slot}")
        self.nodes = list(dict.fromkeys([*nodes, *self._seeds]))
        return found

    @staticmethod
    def _address(host: bytes | None, port: int, asked: Address) -> Address:
        """A node that does not know its own address means the one at which it was asked."""
        return Address(host.decode() if host else asked.host, port)
