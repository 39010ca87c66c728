"""How long a million rows take to come back after a total loss of Redis, while traffic goes on.

`python -m benchmarks.loss [--rows N]`: a worker notices a FLUSHALL by itself and pushes everything again; then, with
another flushed Redis and no worker, `workqueue reconcile` does the same on demand.
"""

from uuid import uuid4

import click
import trio

from benchmarks.servers import SCHEMA, open_servers
from workqueue.core.bridge import Bridge
from workqueue.core.engine import engine_of
from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.options import JobOptions
from workqueue.core.queue import Queue, open_queue
from workqueue.core.settings import load_settings
from workqueue.core.steps.reconcile import Reconcile
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.store import JobStore, open_store
from workqueue.core.wire import Submission
from workqueue.services.worker.worker import Worker

PAYLOAD = '{"to":"someone@example.com","subject":"Welcome!","body":"a payload of about 100 bytes as it comes"}'
FILL = """
INSERT INTO {schema}.jobs (id, queue, type, payload, retries, state, updated_at)
SELECT uuidv7(), $1, 'noop', $2, 3, 'pending', now() - interval '1 day' FROM generate_series(1, $3::int)
"""
NOT_RELAYED = (
    "SELECT FROM {schema}.outbox WHERE cardinality(ids) = 500 AND (at = 'epoch' OR at > now() - interval '2 s') LIMIT 1"
)
TRAFFIC_PER_SECOND = 500


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
def main(rows: int) -> None:
    trio.run(_main, rows)


async def _main(rows: int) -> None:
    async with open_servers() as (bridge, servers), open_store(bridge, servers.database_url, SCHEMA) as store:
        await _by_itself(bridge, servers.redis_url, store, rows)
        await store._pool.fetch("TRUNCATE {schema}.jobs, {schema}.outbox, {schema}.claimed CASCADE")
        await _on_demand(bridge, servers.redis_url, store, rows)


async def _by_itself(bridge: Bridge, redis_url: str, store: JobStore, rows: int) -> None:
    registry, name = Registry(), f"bench:{uuid4().hex}"

    @registry.handler("noop")
    async def noop(job: Job) -> object:
        return None

    settings = load_settings({"REDIS_URL": redis_url, "QUEUE_NAME": name, "WORKER_CONCURRENCY": "2"})
    async with open_queue(bridge, redis_url, name) as queue, trio.open_nursery() as nursery:
        await RedisLoss(queue, store).run_once()
        await store._pool.fetch_slowly(FILL, name, PAYLOAD, rows, seconds=600)
        await store._pool.fetch("UPDATE {schema}.redis_checkpoints SET at = 'epoch'")
        worker, stop, ready = Worker(settings, engine_of(queue, store), registry), trio.Event(), trio.Event()
        nursery.start_soon(worker.run, stop.wait, trio.sleep_forever, ready.set)
        await ready.wait()
        accepted = [0]
        nursery.start_soon(_traffic, queue, store, accepted)
        await trio.sleep(3)
        done_before, accepted_before = worker.counts.done, accepted[0]
        await queue._command("FLUSHALL")
        begun = trio.current_time()
        loss = worker.engine.loss
        while not loss.jobs:  # noqa: ASYNC110 - counted by another task
            await trio.sleep(0.05)
        noticed = trio.current_time() - begun
        while await store._pool.fetch(NOT_RELAYED):  # noqa: ASYNC110 - rows are what tells
            await trio.sleep(0.2)
        seconds = trio.current_time() - begun
        depths = await queue.depths()
        click.echo(
            f"by itself: {loss.jobs:,} rows in the outbox after {noticed:.1f} s, all in Redis after {seconds:.1f} s "
            f"(ready: {depths.ready:,}); meanwhile {worker.counts.done - done_before:,} jobs were done and "
            f"{accepted[0] - accepted_before:,} accepted"
        )
        nursery.cancel_scope.cancel()


async def _traffic(queue: Queue, store: JobStore, accepted: list[int]) -> None:
    submit = engine_of(queue, store).submit
    batch = [Submission("noop", PAYLOAD.encode(), JobOptions(3))] * (TRAFFIC_PER_SECOND // 10)
    while True:
        try:
            accepted[0] += len(await submit.run_batch(batch))
        except (QueueUnavailable, StoreUnavailable) as error:
            click.echo(f"refused: {error}", err=True)
        await trio.sleep(0.1)


async def _on_demand(bridge: Bridge, redis_url: str, store: JobStore, rows: int) -> None:
    name = f"bench:{uuid4().hex}"
    async with open_queue(bridge, redis_url, name) as queue, trio.open_nursery() as nursery:
        await store._pool.fetch_slowly(FILL, name, PAYLOAD, rows, seconds=600)
        nursery.start_soon(_traffic, queue, store, [0])
        begun = trio.current_time()
        done = await Reconcile(queue, store).run(dry_run=False)
        seconds = trio.current_time() - begun
        click.echo(f"on demand: {done.pending:,} pending, {done.pushed:,} pushed in {seconds:.1f} s")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    main()
