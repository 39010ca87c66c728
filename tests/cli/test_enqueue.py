"""`workqueue enqueue` against a real producer."""

from tests.cli.support import enqueue


async def test_the_same_key_prints_the_same_id(url, queue):
    first = await enqueue("a", "--url", url, "--key", "k")
    again = await enqueue("a", "--url", url, "--key", "k")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == again.stdout
    other = await enqueue("b", "--url", url, "--key", "k")
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr == "workqueue: the producer refused the job: idempotency key reused with another body (422)\n"
    assert (await queue.depths()).ready == 1
