"""Workers as they are seen in Redis."""

from uuid import UUID, uuid4

from workqueue.core.queue import Queue

PUBLISHED = {
    "name": "host.7",
    "host": "host",
    "pid": 7,
    "version": "1.2.3",
    "concurrency": 4,
    "types": ["a", "b"],
    "running": [{"job_id": str(uuid4()), "type": "a", "seconds": 1.25}],
    "running_in": {"default": 1},
    "jobs_done": 10,
    "jobs_failed": 3,
    "uptime_seconds": 60.5,
}


async def publish(queue: Queue, said: bytes, *, seconds_ago: int = 0, lease: UUID | None = None) -> UUID:
    """Register a lease with what its worker says of itself, as if it was renewed so long ago; returns the lease."""
    lease = lease or uuid4()
    seconds, _ = await queue._command("TIME")
    await queue._command("ZADD", queue.keys.leases, (int(seconds) - seconds_ago) * 1000, str(lease))
    await queue._command("HSET", queue.keys.workers, str(lease), said)
    return lease
