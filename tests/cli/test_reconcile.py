import trio

from tests.cli.support import workqueue
from tests.support.steps import make_installation, make_submit
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import migrate
from workqueue.core.wire import Submission


async def test_reconcile_pushes_what_is_missing_and_says_so(
    redis, queue, store, psql, redis_url, postgres_dsn, database_schema, queue_name
):
    variables = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
    }
    await make_submit(queue, store, Piggyback()).run_batch([Submission("x", b"{}")] * 500)
    await redis("LTRIM", queue.keys.ready, 100, -1)

    async def reconcile(*options: str) -> list[str]:
        done = await trio.to_thread.run_sync(lambda: workqueue("reconcile", *options, **variables))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    assert await reconcile("--dry-run") == [
        "pending rows             500",
        "missing in Redis         100",
        "nothing was pushed: --dry-run",
    ]
    assert (await queue.depths()).ready == 400
    assert (await reconcile())[-1] == "pushed again             100"
    assert (await queue.depths()).ready == 500
    assert (await reconcile())[1:] == ["missing in Redis           0", "pushed again               0"]


def test_without_rows_there_is_nothing_to_compare_with():
    done = workqueue("reconcile")
    assert done.returncode == 2
    assert done.stderr == "workqueue: DATABASE_URL is not set: without rows there is nothing to compare Redis with\n"


def test_a_redis_that_is_away_is_one_line(postgres_dsn):
    done = workqueue("reconcile", REDIS_URL="redis://127.0.0.1:1/0", DATABASE_URL=postgres_dsn)
    assert done.returncode == 1
    assert done.stderr.startswith("workqueue: Redis: ")
    assert done.stderr.count("\n") == 1


async def test_rows_of_another_database_are_not_pushed(
    bridge, queue, store, redis_url, postgres_dsn, database_schema, queue_name
):
    await make_installation(queue, store).run_once()
    other = f"other_{database_schema}"[:60]
    await migrate(bridge, postgres_dsn, other)
    variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "DATABASE_URL": postgres_dsn}
    done = await trio.to_thread.run_sync(lambda: workqueue("reconcile", **variables, DATABASE_SCHEMA=other))
    assert done.returncode == 2
    assert done.stderr.startswith(f"workqueue: nothing is pushed: the jobs of queue {queue_name} have rows in another")
    assert done.stderr.count("\n") == 1
