"""The commands of the lease thread: it has a blocking connection of its own, for use outside of Trio."""

from uuid import UUID

from redis.exceptions import NoScriptError

from workqueue.core.queue import scripts
from workqueue.core.queue.blocking import BlockingMasterConnection
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.outages import Unforeseen, outage
from workqueue.core.queue.urls import target


class LeaseConnection:
    """Registers and renews leases. No step of a call (to find the master, to connect, to get the answer) takes longer
    than `seconds`; then it raises QueueUnavailable."""

    def __init__(self, url: str, keys: Keys, *, seconds: float) -> None:
        self._keys = [keys.leases, keys.workers]
        self._master = BlockingMasterConnection(target(url, keys.ready), seconds=seconds)
        self._unforeseen = Unforeseen()

    def register(self, lease: UUID, published: bytes) -> None:
        """Take a new lease. Not to be repeated with the same id (register.lua says why)."""
        self._script(scripts.REGISTER, lease, published)

    def renew(self, lease: UUID, published: bytes) -> bool:
        """False: Redis says that the lease is lost."""
        return bool(self._script(scripts.RENEW, lease, published))

    def close(self) -> None:
        self._master.close()

    def _script(self, script: scripts.Script, lease: UUID, published: bytes) -> int:
        try:
            try:
                answer = self._master.command("EVALSHA", script.digest, 2, *self._keys, str(lease), published)
            except NoScriptError:
                answer = self._master.command("EVAL", script.text, 2, *self._keys, str(lease), published)
        except Exception as error:
            if (failure := outage(error, script.shown)) is None:
                raise
            self._unforeseen.log(failure)
            raise failure from error
        return int(answer)
