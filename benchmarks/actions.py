"""How long does it take to retry a million failed jobs, while others come and are run?

`python -m benchmarks.actions [--rows N] [--rate N]`: a sender and a worker in one process keep a steady rate; the
worker carries the action out, and runs what it made wait.
"""

from uuid import UUID, uuid4

import click
import trio
from uuid_utils.compat import uuid7

from benchmarks.retention import LINE_SECONDS, send
from benchmarks.servers import SCHEMA, open_servers
from workqueue.core.engine import engine_of
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.job_filter import ActName, JobFilter, StatusFilter
from workqueue.core.queue import open_queue
from workqueue.core.settings import load_settings
from workqueue.core.store import JobStore, open_store
from workqueue.services.worker.worker import Worker

FILL_MAX = 100_000  #: rows a statement
FILL = """
INSERT INTO {schema}.jobs (id, queue, type, payload, retries, attempts, state, failed_at, finished_at, error_message)
SELECT gen_random_uuid(), $1, 'noop', '{"to":"someone@example.com"}', 3, 4, 'failed', now(), now(), 'Timeout: no answer'
FROM generate_series(1, $2::int)
"""


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Jobs that have failed.")
@click.option("--rate", default=1000, show_default=True, help="Jobs a second that come meanwhile.")
def main(rows: int, rate: int) -> None:
    trio.run(_main, rows, rate)


async def _main(rows: int, rate: int) -> None:
    registry, name = Registry(), f"bench:{uuid4().hex}"

    @registry.handler("noop")
    async def noop(job: Job) -> object:
        return None

    async with (
        open_servers() as (bridge, servers),
        open_queue(bridge, servers.redis_url, name) as queue,
        open_store(bridge, servers.database_url, SCHEMA) as store,
        trio.open_nursery() as nursery,
    ):
        for begin in range(0, rows, FILL_MAX):
            await store._pool.fetch_slowly(FILL, name, min(FILL_MAX, rows - begin), seconds=300)
        await store._pool.fetch_slowly("ANALYZE {schema}.jobs", seconds=300)
        engine = engine_of(queue, store)
        await engine.look_for_loss()
        settings = load_settings({"REDIS_URL": servers.redis_url, "QUEUE_NAME": name})
        worker, ready, stop = Worker(settings, engine, registry), trio.Event(), trio.Event()
        nursery.start_soon(worker.run, stop.wait, trio.sleep_forever, ready.set)
        await ready.wait()
        async with trio.open_nursery() as load:
            load.start_soon(send, engine, rate)
            await trio.sleep(2)
            await _retry_all(worker, store, name)
            load.cancel_scope.cancel()
        stop.set()
        nursery.cancel_scope.cancel()


async def _retry_all(worker: Worker, store: JobStore, name: str) -> None:
    wanted = JobFilter(status=StatusFilter.FAILED)
    begun = trio.current_time()
    matched = await store.actions.count(name, ActName.RETRY, wanted)
    click.echo(f"{matched:,} jobs match, counted in {trio.current_time() - begun:.2f} s")
    begun, done_before = trio.current_time(), worker.counts.done
    action_id: UUID = uuid7()
    await store.actions.insert(action_id, name, ActName.RETRY, wanted, matched)
    line_at = begun + LINE_SECONDS
    while True:
        await trio.sleep(0.2)
        action = await store.actions.get(name, action_id)
        assert action is not None
        now = trio.current_time()
        if action.state == "done" or now > line_at:
            line_at = now + LINE_SECONDS
            click.echo(
                f"{now - begun:5.0f} s  {action.done:>10,} retried  {action.done / (now - begun):>8,.0f} a second  "
                f"{(worker.counts.done - done_before) / (now - begun):>8,.0f} jobs run a second"
            )
        if action.state == "done":
            return


if __name__ == "__main__":
    main()
