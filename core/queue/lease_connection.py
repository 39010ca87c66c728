"""What the lease thread says to Redis: a blocking client with a connection of its own, for use outside of Trio."""

from typing import Any
from uuid import UUID

from redis.exceptions import NoScriptError

from workqueue.core.queue import scripts
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.outages import Unforeseen, outage
from workqueue.core.queue.urls import blocking_client, target


class LeaseConnection:
    """Registers and renews leases. No step of a call (to ask where the master is, to connect, to be answered) takes
    longer than `seconds`; then it raises QueueUnavailable."""

    def __init__(self, url: str, keys: Keys, *, seconds: float) -> None:
        self._keys = [keys.leases, keys.workers]
        self._redis: Any = blocking_client(target(url, keys.ready), seconds=seconds)
        self._unforeseen = Unforeseen()

    def register(self, lease: UUID, published: bytes) -> None:
        """Take a lease that nobody had before. Not to be repeated with the same id (register.lua says why)."""
        self._script(scripts.REGISTER, lease, published)

    def renew(self, lease: UUID, published: bytes) -> bool:
        """False: Redis says that the lease is lost."""
        return bool(self._script(scripts.RENEW, lease, published))

    def close(self) -> None:
        self._redis.close()

    def _script(self, script: scripts.Script, lease: UUID, published: bytes) -> int:
        try:
            try:
                answer = self._redis.execute_command("EVALSHA", script.digest, 2, *self._keys, str(lease), published)
            except NoScriptError:
                answer = self._redis.execute_command("EVAL", script.text, 2, *self._keys, str(lease), published)
        except Exception as error:
            if (failure := outage(error, script.shown)) is None:
                raise
            self._unforeseen.tell(failure)
            raise failure from error
        return int(answer)
