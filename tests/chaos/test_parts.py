"""The parts of a chaos run: the plan, the log, and the client."""

from functools import partial
from itertools import islice

import pytest
import trio

from workqueue.services.chaos.client import Client, NoAnswer, NotSent
from workqueue.services.chaos.history import Stretch, joined
from workqueue.services.chaos.load import task
from workqueue.services.chaos.logs import bugs
from workqueue.services.chaos.plan import LINK_FAULTS, REDIS_FAULTS, WORKER_FAULTS, plan
from workqueue.services.local.process import free_port

KINDS = [WORKER_FAULTS, LINK_FAULTS, REDIS_FAULTS]


def test_a_seed_gives_the_same_faults_again_and_another_one_others():
    faults = list(islice(plan(3, KINDS), 200))
    assert faults == list(islice(plan(3, KINDS), 200))
    assert faults != list(islice(plan(4, KINDS), 200))
    assert {fault.kind for fault in faults} == {kind for kinds in KINDS for kind in kinds}
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert task(3, 7) == task(3, 7)


def test_stretches_that_touch_are_joined():
    found = joined([Stretch(5, 6), Stretch(1, 3), Stretch(2, 4), Stretch(4, 4.5)])
    assert [(stretch.begun, stretch.ended) for stretch in found] == [(1, 4.5), (5, 6)]


HANDLER = """\
2026-11-20T09:30:00.123Z error workqueue.services.worker.running.failure_log: job 1 (x) failed: RuntimeError: as asked
Traceback (most recent call last):
  File ...
RuntimeError: as asked
"""


@pytest.mark.parametrize(
    "record",
    [
        "2026-11-20T09:30:00.123Z error workqueue.services.producer: a batch of 3 jobs met a bug\nTraceback (most ...",
        "2026-11-20T09:30:00.123Z warning asyncio: x\nTraceback (most recent call last):\n  File ...",
        "2026-11-20T09:30:00.123Z error workqueue.services.app: the producer ends: its backend has crashed",
        "Traceback (most recent call last):\n  File ...\nKeyError: 1",
        "no progress in loop for 31 s",
    ],
)
def test_a_bug_in_a_log_is_found_and_a_handlers_failure_is_none(record):
    fine = "2026-11-20T09:30:00.123Z warning workqueue.services.health: Redis: away\n"
    assert bugs(fine + HANDLER + fine) == []
    assert len(bugs(fine + HANDLER + record + "\n" + fine)) == 1


async def serve(nursery, *pieces: bytes) -> int:
    """Answers each request with the pieces, and closes after an empty one."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            async for _ in stream:
                for piece in pieces:
                    if not piece:
                        return
                    await stream.send_all(piece)
                    await trio.sleep(0.01)

    [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
    return listener.socket.getsockname()[1]


async def test_a_client_reads_an_answer_in_pieces_and_keeps_its_connection(nursery):
    port = await serve(nursery, b"HTTP/1.1 200 \r\nContent-", b"Length: 5\r\n\r\nhe", b"llo")
    client = Client(port)
    for _ in range(2):
        assert await client.post("/", b"{}", seconds=5) == (200, b"hello")
        assert client._stream is not None
    client.close()


async def test_a_client_tells_what_was_not_sent_from_what_was_not_answered(nursery):
    with pytest.raises(NotSent):
        await Client(free_port()).post("/", b"{}", seconds=5)
    for pieces in ([b""], [b"HTTP/1.1 200 \r\n", b""], [b"HTTP/1.1 200 \r\ncontent-length: 9\r\n\r\nx", b""], []):
        with pytest.raises(NoAnswer):
            await Client(await serve(nursery, *pieces)).post("/", b"{}", seconds=0.2)
    with pytest.raises(NoAnswer, match="hung up"):
        await Client(await serve(nursery, b"x")).post("/", b"{}", seconds=5, hang_up=True)
