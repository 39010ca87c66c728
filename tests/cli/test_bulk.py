"""`workqueue enqueue --from` against a real producer."""

import httpx

from tests.cli.support import enqueue
from tests.support.proxy import Proxy
from workqueue.services.cli.bulk import _requests


async def test_jobs_out_of_a_file_go_in_requests_and_each_refused_line_is_named(url, queue, psql, tmp_path):
    lines = [b'{"type":"a","payload":{"n":%d}}' % number for number in range(12_000)]
    lines[0] = b"[1]"
    lines[10_499] = b"nonsense"
    lines[11_000] = b""
    lines[11_999] = b'{"type":""}'
    file = tmp_path / "jobs.ndjson"
    file.write_bytes(b"\r\n".join(lines))
    done = await enqueue("--url", url, "--from", str(file))
    assert (done.returncode, done.stdout) == (1, "11,996 accepted, 3 refused\n")
    assert done.stderr.splitlines() == [
        "line 1: invalid JSON body",
        "line 10500: invalid JSON body",
        "line 12000: type is required",
    ]
    assert (await queue.depths()).ready == await psql.value("SELECT count(*) FROM jobs") == 11_996


async def test_jobs_come_from_standard_input_too(url, queue):
    done = await enqueue("--url", url, "--from", "-", stdin='{"type":"a"}\n' * 3)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 accepted, 0 refused\n", "")
    assert (await queue.depths()).ready == 3


def test_a_request_has_at_most_so_many_lines_and_bytes():
    small = list(_requests([b"x\n"] * 25_000))
    assert [len(numbers) for numbers, _ in small] == [10_000, 10_000, 5_000]
    assert small[2][0][-1] == 25_000
    large = list(_requests([b"x" * (3 << 20) + b"\n"] * 5 + [b"y" * (9 << 20)] + [b"z\n"]))
    assert [numbers for numbers, _ in large] == [[1, 2], [3, 4], [5], [6], [7]]


async def test_a_producer_that_goes_away_is_one_line_that_says_how_far_it_came(url, nursery, queue):
    proxy = Proxy(httpx.URL(url).port or 80)
    await nursery.start(proxy.run)
    proxy.swallow_replies()

    async def go_away() -> None:
        await proxy.replies_swallowed.wait()
        proxy.go_away()

    nursery.start_soon(go_away)
    at = f"http://127.0.0.1:{proxy.port}"
    done = await enqueue("--url", at, "--from", "-", stdin='\n{"type":"a"}\n' * 3)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"workqueue: lines 2 to 6: no answer from the producer at {at}: ")
    assert line.endswith(
        "some of them may have been accepted. 0 lines before them were accepted, 0 refused; none behind was sent"
    )
    assert (await queue.depths()).ready == 3
