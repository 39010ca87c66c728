import pytest
import trio

from tests.support.proxy import Proxy, through
from tests.support.wait import until_true
from workqueue.services.chaos.proxy import address


@pytest.fixture
async def proxy(nursery: trio.Nursery) -> Proxy:
    """In front of a server that answers each piece with itself."""

    async def echo(stream: trio.SocketStream) -> None:
        async for piece in stream:
            heard.append(bytes(piece))
            await stream.send_all(piece)

    heard: list[bytes] = []
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    proxy = Proxy(listeners[0].socket.getsockname()[1])
    proxy.heard = heard  # type: ignore[attr-defined]
    await nursery.start(proxy.run)
    return proxy


async def test_everything_passes(proxy):
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
    assert proxy.connections == 1


async def test_a_swallowed_reply_means_that_the_request_took_effect(proxy):
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        proxy.swallow_replies()
        await stream.send_all(b"done")
        await proxy.replies_swallowed.wait()
        assert proxy.heard == [b"done"]
        proxy.heal()
        assert await stream.receive_some() == b""  # healed, but this connection is over


async def test_a_swallowed_request_never_took_effect(proxy):
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        proxy.swallow_requests()
        await stream.send_all(b"lost")
        await proxy.requests_swallowed.wait()
        assert proxy.heard == []


async def test_a_server_that_went_away_refuses_and_comes_back(proxy):
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"
        proxy.go_away()
        assert await stream.receive_some() == b""
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        assert await stream.receive_some() == b""
    proxy.heal()
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        await stream.send_all(b"back")
        assert await stream.receive_some() == b"back"


async def test_a_delay_holds_replies_up(proxy):
    proxy.delay_seconds = 0.2
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        begun = trio.current_time()
        await stream.send_all(b"slow")
        assert await stream.receive_some() == b"slow"
        assert trio.current_time() - begun >= 0.2
    await until_true(lambda: not proxy._open)


def test_a_url_leads_through_the_proxy():
    proxy = Proxy(6379)
    proxy.port = 7000
    assert through("redis://:pw@127.0.0.1:6379/0", proxy) == "redis://:pw@127.0.0.1:7000/0"
    assert through("postgresql://u:p%40@db.example/x?sslmode=prefer", proxy) == (
        "postgresql://u:p%40@127.0.0.1:7000/x?sslmode=prefer"
    )


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://:pw@cache.example/0", ("cache.example", 6379)),
        ("postgresql://u:pw@[::1]:5433/x", ("::1", 5433)),
        ("postgres://db.example/x?sslmode=verify-full", None),
        ("postgres://one.example,two.example/x", None),
        ("rediss://cache.example", None),
        ("unix:///run/redis.sock", None),
        ("redis+sentinel://one.example:26379/main", None),
    ],
)
def test_a_proxy_stands_only_where_one_server_answers_in_plain_text(url, found):
    assert address(url) == found
