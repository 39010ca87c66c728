"""The client of a chaos run."""

from functools import partial

import pytest
import trio

from workqueue.services.chaos.client import Client, NoAnswer, NotSent
from workqueue.services.local.process import free_port


async def received(stream: trio.SocketStream) -> bytes:
    """b"" where the client has hung up, with unread bytes or without."""
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


async def serve(nursery, *pieces: bytes) -> int:
    """Answers each request with the pieces, and closes after an empty one."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            while await received(stream):
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
