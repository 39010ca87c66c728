"""The commands of the lease thread: it has a blocking connection of its own, for use outside of Trio."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from redis.exceptions import NoScriptError

from workqueue.core.queue import scripts
from workqueue.core.queue.blocking import BlockingMasterConnection
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.outages import Unforeseen, outage
from workqueue.core.queue.urls import target


class LeaseConnection:
    """Registers and renews leases. No step of a call (to find the master, to connect, to get the answer) takes longer
    than `seconds`; then it raises QueueUnavailable. Mutable state: `asked`, set by each renewal."""

    asked = ""  #: what a person has asked of this worker, as the last renewal found it (core.control.Wish)

    def __init__(self, url: str, keys: Keys, *, seconds: float) -> None:
        self._queue_keys = keys
        self._keys = [keys.leases, keys.workers]
        self._master = BlockingMasterConnection(target(url, keys.ready), seconds=seconds)
        self._unforeseen = Unforeseen()

    def register(self, lease: UUID, published: bytes) -> None:
        """Take a new lease. Not to be repeated with the same id (register.lua says why)."""
        self._script(scripts.REGISTER, self._keys, lease, published)

    def renew(self, lease: UUID, published: bytes) -> bool:
        """False: Redis says that the lease is lost."""
        answer = self._script(scripts.RENEW, [*self._keys, self._queue_keys.asked(lease)], lease, published)
        self.asked = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else ""
        return bool(answer != 0)

    def close(self) -> None:
        self._master.close()

    def _script(self, script: scripts.Script, keys: Sequence[str], lease: UUID, published: bytes) -> Any:
        try:
            rest = [len(keys), *keys, str(lease), published]
            try:
                return self._master.command("EVALSHA", script.digest, *rest)
            except NoScriptError:
                return self._master.command("EVAL", script.text, *rest)
        except Exception as error:
            if (failure := outage(error, script.shown)) is None:
                raise
            self._unforeseen.log(failure)
            raise failure from error
