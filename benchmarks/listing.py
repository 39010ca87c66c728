"""GET /api/jobs at 1,000,000 rows: every filter, pages from everywhere."""

import asyncio
import http.client
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

import asyncpg

from benchmarks.processes import producer
from benchmarks.results import Figure, Sample
from benchmarks.servers import Servers
from workqueue.services.producer.views import write_cursor

ROWS = 1_000_000
TIMES = 8
SLOWEST = "GET /api/jobs at 1,000,000 rows: the slowest filter, p95"
ALL = "GET /api/jobs at 1,000,000 rows: all filters and pages, p95"
ONCE = [Figure(ALL, "ms", at_most=10), Figure(SLOWEST, "ms", at_most=10)]

#: A million jobs of an hour: 20 types, most completed, some failed, few waiting, and those at any place.
FILL = """
INSERT INTO jobs (
    id, queue, type, payload, retries, attempts, state, error_message, finished_at, failed_at, created_at, updated_at
)
SELECT uuidv7(), $1, 'type_' || n % 20, repeat('x', 100), 3, 0, state,
       CASE WHEN state = 'failed' THEN 'ValueError: no width' END,
       CASE WHEN state <> 'pending' THEN at END, CASE WHEN state IN ('failed', 'cancelled') THEN at END, at, at
FROM (
    SELECT n, now() - interval '1 hour' + n * interval '3.6 ms' AS at,
           CASE WHEN n % 1000 < 950 THEN 'completed' WHEN n % 1000 < 990 THEN 'failed'
                WHEN n % 1000 < 995 THEN 'pending' ELSE 'cancelled' END AS state
    FROM generate_series(1, $2::int) AS n
) AS made
"""


def measure_once(servers: Servers) -> dict[str, Sample]:
    environ = servers.environ(rows=True)
    with producer(environ) as (port, _):
        asyncio.run(_fill(servers, environ["QUEUE_NAME"]))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        slowest, every = 0.0, list[float]()
        for status in (None, "pending", "processing", "completed", "failed", "cancelled"):
            for job_type in (None, "type_7", "no_such_type"):
                times = list(_times(connection, {"status": status, "type": job_type}))
                every += times
                slowest = max(slowest, _p95(times))
        connection.close()
    return {ALL: Sample(_p95(every)), SLOWEST: Sample(slowest)}


def _times(connection: http.client.HTTPConnection, given: dict[str, str | None]) -> Iterator[float]:
    """In ms, of the first three pages, and of three from the middle and from the end of the hour."""
    query = {name: value for name, value in given.items() if value}
    for _ in range(TIMES):
        for minutes in (0, 30, 59):
            place = datetime.now(UTC) - timedelta(minutes=minutes), UUID(int=0)
            link: str | None = "/api/jobs?" + urlencode(query | ({"cursor": write_cursor(place)} if minutes else {}))
            for _ in range(3):
                if link is not None:
                    begun = time.perf_counter()
                    link = _get(connection, link)
                    yield (time.perf_counter() - begun) * 1000


def _get(connection: http.client.HTTPConnection, path: str) -> str | None:
    """The path of the next page; None: there is none."""
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"GET {path}: {answer.status}")
    found = re.match("<([^>]+)>", answer.getheader("Link", ""))
    return None if found is None else found[1]


def _p95(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


async def _fill(servers: Servers, queue: str) -> None:
    connection = await asyncpg.connect(servers.database_url, server_settings={"search_path": "bench"})
    await connection.execute("TRUNCATE jobs CASCADE")  # what the other measurements have left, in queues of their own
    await connection.execute(FILL.replace("$1", f"'{queue}'").replace("$2", str(servers.jobs(ROWS))))
    await connection.execute("VACUUM ANALYZE jobs")  # as autovacuum has done to jobs of an hour
    await connection.close()
