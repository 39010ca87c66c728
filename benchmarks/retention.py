"""Does the table stay as it is while jobs come and go, and old ones are deleted?

`python -m benchmarks.retention [--rate N] [--seconds N] [--keep N]`: a sender and a worker in one process keep a steady
rate; each ten seconds a line with the rows, the size of the table and the rate. At the end the rows that are left are
deleted as fast as they may be.
"""

from uuid import uuid4

import click
import trio

from benchmarks.servers import SCHEMA, open_servers
from workqueue.core.engine import Engine, engine_of
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.queue import open_queue
from workqueue.core.settings import Keep, load_settings
from workqueue.core.steps.retention import Retention
from workqueue.core.store import JobStore, open_store
from workqueue.core.wire import Submission
from workqueue.services.worker.worker import Worker

PAYLOAD = b'{"to":"someone@example.com","subject":"Welcome!","body":"a payload of about 100 bytes as it comes"}'
TICK_SECONDS = 0.1
LINE_SECONDS = 10.0
SIZE = "SELECT pg_total_relation_size('{schema}.jobs') AS bytes, (SELECT count(*) FROM {schema}.jobs) AS rows"


@click.command()
@click.option("--rate", default=5000, show_default=True, help="Jobs a second.")
@click.option("--seconds", default=600, show_default=True)
@click.option("--keep", default=60, show_default=True, help="Seconds for which an ended job is kept.")
def main(rate: int, seconds: int, keep: int) -> None:
    trio.run(_main, rate, seconds, keep)


async def _main(rate: int, seconds: int, keep: int) -> None:
    registry, name = Registry(), f"bench:{uuid4().hex}"

    @registry.handler("noop")
    async def noop(job: Job) -> object:
        return None

    async with open_servers() as (bridge, servers):
        variables = {"REDIS_URL": servers.redis_url, "QUEUE_NAME": name, "KEEP_COMPLETED": f"{keep}s"}
        async with (
            open_queue(bridge, servers.redis_url, name) as queue,
            open_store(bridge, servers.database_url, SCHEMA) as store,
            trio.open_nursery() as nursery,
        ):
            engine = engine_of(queue, store)
            await engine.look_for_loss()
            worker, ready = Worker(load_settings(variables), engine, registry), trio.Event()
            stop = trio.Event()
            nursery.start_soon(worker.run, stop.wait, trio.sleep_forever, ready.set)
            await ready.wait()
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as load:
                    load.start_soon(send, engine, rate)
                    await _watch(worker, store)
            stop.set()
            await _delete_the_rest(store, name)
            nursery.cancel_scope.cancel()


async def send(engine: Engine, rate: int) -> None:
    """Enqueue at a steady rate, until cancelled."""
    batch = [Submission("noop", PAYLOAD)] * round(rate * TICK_SECONDS)
    due = trio.current_time()
    while True:
        await engine.submit.run_batch(batch)
        due += TICK_SECONDS
        await trio.sleep_until(due)


async def _watch(worker: Worker, store: JobStore) -> None:
    begun = before_at = trio.current_time()
    before = 0
    while True:
        await trio.sleep(LINE_SECONDS)
        [size] = await store._pool.fetch_slowly(SIZE, seconds=60)
        now, done = trio.current_time(), worker.counts.done
        click.echo(
            f"{now - begun:5.0f} s  {size['rows']:>10,} rows  {size['bytes'] / 1e6:>8,.1f} MB  "
            f"{(done - before) / (now - before_at):>8,.0f} jobs/s"
        )
        before, before_at = done, now


async def _delete_the_rest(store: JobStore, name: str) -> None:
    await trio.sleep(2)
    step = Retention(store, name, Keep(1.0, 1.0))
    begun = trio.current_time()
    while await step.run_once():
        pass
    seconds = trio.current_time() - begun
    click.echo(f"{step.deleted:,} rows were deleted in {seconds:.1f} s: {step.deleted / seconds:,.0f} a second")


if __name__ == "__main__":
    main()
