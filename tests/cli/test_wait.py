"""`workqueue enqueue --wait`: the result on standard output, the outcome as exit status."""

import signal
import subprocess
import sys

import pytest
import trio

from tests.cli.support import enqueue, environ
from tests.producer.serving import serving
from tests.support.wait import until
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.store import Finish


async def end_the_next(
    store, queue, psql, state: JobState, *, result: str | None = None, error: str | None = None
) -> None:
    """As a worker would: claim the one job that there is, and end it."""

    async def is_there() -> bool:
        return await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 1

    await until(is_there, seconds=60)
    await trio.sleep(0.3)
    job_id = await psql.value("SELECT id FROM jobs")
    await psql("UPDATE jobs SET state = 'processing', token = $2 WHERE id = $1", job_id, job_id)
    assert await store.finish([Finish(job_id, job_id, state, RunOutcome(state), 0.1, result=result, error=error)])


@pytest.mark.parametrize(
    ("state", "more", "status", "stdout", "stderr"),
    [
        (JobState.COMPLETED, {"result": '{"pages": 12345678901234567890}'}, 0, '{"pages": 12345678901234567890}\n', ""),
        (JobState.FAILED, {"error": "E: no"}, 3, "", " failed: E: no\n"),
        (JobState.CANCELLED, {"error": "cancelled"}, 4, "", " cancelled: cancelled\n"),
    ],
)
async def test_the_outcome_is_the_exit_status(url, store, queue, psql, nursery, state, more, status, stdout, stderr):
    nursery.start_soon(lambda: end_the_next(store, queue, psql, state, **more))
    done = await enqueue("a", "--wait", "--url", url)
    assert (done.returncode, done.stdout) == (status, stdout)
    assert done.stderr.endswith(stderr)
    assert bool(done.stderr) == (status != 0)


async def test_without_rows_there_is_nothing_to_wait_for(redis_url, queue_name):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}) as client:
        done = await enqueue("a", "--wait", "--url", str(client.base_url))
    assert done.returncode == 1
    assert done.stderr == (
        "workqueue: the job is enqueued, and cannot be waited for: jobs are stored only with DATABASE_URL\n"
    )


async def test_a_job_that_is_deleted_meanwhile_is_one_line(url, psql, nursery):
    async def delete() -> None:
        async def is_there() -> bool:
            return await psql.value("SELECT count(*) FROM jobs") == 1

        await until(is_there, seconds=60)
        await trio.sleep(0.3)
        await psql("DELETE FROM jobs")

    nursery.start_soon(delete)
    done = await enqueue("a", "--wait", "--url", url)
    assert done.returncode == 1
    assert done.stderr.endswith(": job not found (404)\n")


async def test_the_wait_ends_with_ctrl_c_and_the_job_goes_on(url, psql):
    command = [sys.executable, "-m", "workqueue.services.cli", "enqueue", "a", "--wait", "--url", url]
    process = await trio.lowlevel.open_process(command, env=environ(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)

    async def is_there() -> bool:
        return await psql.value("SELECT count(*) FROM jobs") == 1

    await until(is_there, seconds=60)
    await trio.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    assert process.stderr is not None
    assert bytes(await process.stderr.receive_some()).endswith(b" goes on\n")
    assert await psql.value("SELECT state FROM jobs") == "pending"
