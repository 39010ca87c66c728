"""What each measurement gets."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from msgspec import Struct

from workqueue.core.bridge import Bridge, open_bridge
from workqueue.core.store import migrate
from workqueue.services.local.postgres import run_postgres
from workqueue.services.local.valkey import run_valkey

SCHEMA = "bench"


class Servers(Struct, frozen=True):
    """Embedded ones: append-only file and fsync on."""

    redis_url: str
    database_url: str
    scale: float = 1.0  #: of the number of jobs

    def jobs(self, count: int) -> int:
        return max(100, round(count * self.scale))

    def environ(self, *, rows: bool, **more: str) -> dict[str, str]:
        """Of a process with a queue of its own."""
        database = {"DATABASE_URL": self.database_url, "DATABASE_SCHEMA": SCHEMA} if rows else {}
        own = {"REDIS_URL": self.redis_url, "QUEUE_NAME": f"bench:{uuid4().hex}", "HOST": "127.0.0.1"}
        ports = {"WORKER_PORT": "0", "WORKER_HANDLERS": "benchmarks.handlers"}
        return own | ports | database | more


@asynccontextmanager
async def open_servers() -> AsyncIterator[tuple[Bridge, Servers]]:
    """Embedded servers of a measurement alone, with our tables, and a bridge to them. All of it is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="workqueue-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with (
            run_valkey(Path(folder) / "valkey") as valkey,
            run_postgres(Path(folder) / "postgres") as postgres,
            open_bridge() as bridge,
        ):
            await migrate(bridge, postgres.url, SCHEMA)
            yield bridge, Servers(valkey.url, postgres.url)
