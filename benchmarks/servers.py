"""What each measurement gets."""

from uuid import uuid4

from msgspec import Struct


class Servers(Struct, frozen=True):
    """Embedded ones: append-only file and fsync on."""

    redis_url: str
    database_url: str
    scale: float = 1.0  #: of the number of jobs

    def jobs(self, count: int) -> int:
        return max(100, round(count * self.scale))

    def environ(self, *, rows: bool, **more: str) -> dict[str, str]:
        """Of a process with a queue of its own."""
        database = {"DATABASE_URL": self.database_url, "DATABASE_SCHEMA": "bench"} if rows else {}
        own = {"REDIS_URL": self.redis_url, "QUEUE_NAME": f"bench:{uuid4().hex}", "HOST": "127.0.0.1"}
        ports = {"WORKER_PORT": "0", "WORKER_HANDLERS": "benchmarks.handlers"}
        return own | ports | database | more
