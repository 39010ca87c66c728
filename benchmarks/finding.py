"""How long does a page of GET /api/jobs take with a million rows, for each kind of filter?

`python -m benchmarks.finding [--rows N] [--rounds N]`: one job in a hundred has failed, one in a thousand waits again,
a hundred run; the payloads of all are searched. Each filter is asked for its first pages, as the dashboard would.
"""

import statistics
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import click
import trio

from benchmarks.servers import SCHEMA, open_servers
from workqueue.core.job_filter import JobFilter, PayloadMatch, StatusFilter
from workqueue.core.store import JobStore, open_store

FILL_MAX = 100_000  #: rows a statement
PAGE = 50
FILL = """
INSERT INTO {schema}.jobs (
    id, queue, type, payload, retries, attempts, state, created_at, failed_at, finished_at, error_message, token,
    requeued, run_at
)
SELECT id, $1, CASE WHEN n % 10 = 0 THEN 'rare' ELSE 'common' END,
       '{"to":"user' || n || '@example.com","order":{"id":' || n || ',"lines":[1,2,3]},'
       || '"text":"' || repeat('x', 100) || '"}',
       3, CASE WHEN n % 1000 = 1 THEN 1 ELSE 0 END,
       CASE WHEN n % 100 = 0 THEN 'failed' WHEN n % 1000 = 1 THEN 'pending' WHEN n % 10000 = 2 THEN 'processing'
            ELSE 'completed' END,
       now() - n * interval '1 s', CASE WHEN n % 100 = 0 THEN now() END, now(),
       CASE WHEN n % 100 = 0 THEN 'Timeout: no answer from host ' || n % 7 END, id,
       n % 1000 = 1, CASE WHEN n % 1000 = 1 THEN now() + interval '1 h' END
FROM (SELECT gen_random_uuid() AS id, n FROM generate_series($2::int + 1, $3::int) AS n) AS made
"""
CLAIMED = """
INSERT INTO {schema}.claimed (token, queue, owner, ids)
SELECT gen_random_uuid(), $1, gen_random_uuid(), array_agg(id) FROM {schema}.jobs WHERE state = 'processing'
"""


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--rounds", default=21, show_default=True, help="Pages of each filter.")
def main(rows: int, rounds: int) -> None:
    trio.run(_main, rows, rounds)


async def _main(rows: int, rounds: int) -> None:
    name = f"bench:{uuid4().hex}"
    async with open_servers() as (bridge, servers), open_store(bridge, servers.database_url, SCHEMA) as store:
        for begin in range(0, rows, FILL_MAX):
            await store._pool.fetch_slowly(FILL, name, begin, min(rows, begin + FILL_MAX), seconds=300)
        await store._pool.fetch_slowly(CLAIMED, name, seconds=300)
        await store._pool.fetch_slowly("ANALYZE {schema}.jobs", seconds=300)
        click.echo(f"{rows:,} rows                                  page: median     p95   count: median     p95")
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        for said, wanted, payload in (
            ("all", JobFilter(), []),
            *((f"status={each}", JobFilter(status=each), []) for each in StatusFilter),
            ("type=rare&status=failed", JobFilter(type="rare", status=StatusFilter.FAILED), []),
            ("created_before=1h", JobFilter(created_before=hour_ago), []),
            ("pending, created_before=1h", JobFilter(status=StatusFilter.PENDING, created_before=hour_ago), []),
            ("error=host 3", JobFilter(error="host 3"), []),
            ("error=no such error", JobFilter(error="no such error"), []),
            ("status=failed&error=no such", JobFilter(status=StatusFilter.FAILED, error="no such error"), []),
            ("payload.to=user777@...", JobFilter(), [PayloadMatch(("to",), "user777@example.com")]),
            ("payload.order.id=-1 (none)", JobFilter(), [PayloadMatch(("order", "id"), "-1")]),
            ("type=rare&payload.order.id", JobFilter(type="rare"), [PayloadMatch(("order", "id"), "-1")]),
        ):
            await _measure(store, name, said, wanted, payload, rounds)


async def _measure(
    store: JobStore, name: str, said: str, wanted: JobFilter, payload: list[PayloadMatch], rounds: int
) -> None:
    pages: list[float] = []
    counts: list[float] = []
    place = None
    for _ in range(rounds):
        begun = trio.current_time()
        page = await store.lists.page(name, wanted, payload, before=place, limit=PAGE)
        pages.append(trio.current_time() - begun)
        place = page.next
        begun = trio.current_time()
        await store.lists.count(name, wanted, payload)
        counts.append(trio.current_time() - begun)
    columns = [f"{_ms(statistics.median(each))}{_ms(_p95(each))}" for each in (pages, counts)]
    click.echo(f"{said:46}{columns[0]}        {columns[1]}")


def _p95(values: list[float]) -> float:
    return sorted(values)[round(0.95 * (len(values) - 1))]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:5.1f} ms"


if __name__ == "__main__":
    main()
