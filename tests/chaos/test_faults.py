"""Each fault does what its name says, and the record says so: a run in which nothing broke would prove nothing."""

from functools import partial

import pytest
import trio
from redis import Redis

from tests.support.wait import until_true
from workqueue.services.chaos.faults import DELAYS_SECONDS, Faults, Link, Servers
from workqueue.services.chaos.history import History
from workqueue.services.chaos.plan import LINK_FAULTS, Fault
from workqueue.services.chaos.processes import KeptServer
from workqueue.services.chaos.proxy import Proxy
from workqueue.services.local.valkey import flush, run_valkey

SILENT = ("swallow answers", "swallow requests", "black hole")


@pytest.mark.parametrize("kind", LINK_FAULTS)
async def test_a_link_is_struck_for_as_long_as_it_lasts_and_then_well_again(nursery, redis_port, kind):
    proxies = [Proxy(redis_port), Proxy(redis_port)]
    for proxy in proxies:
        await nursery.start(proxy.run)
    history = History()
    links = [Link(f"worker {number}", "Redis", proxy) for number, proxy in enumerate(proxies, 1)]
    faults = Faults([], [], links, Servers(), history)
    async with await trio.open_tcp_stream("127.0.0.1", proxies[1].port) as stream:
        assert is_well(await answer(stream))
        async with trio.open_nursery() as striking:
            striking.start_soon(faults._strike, Fault(0.0, kind, 0.4, 1))
            await until_true(lambda: history.troubles)
            asked = trio.current_time()
            struck = await answer(stream, 0.2 if kind in SILENT else 5)
            took = trio.current_time() - asked
            if kind == "refuse connections":
                assert await first_answer(proxies[1]) == b""
            assert is_well(await first_answer(proxies[0])), "the other one was let alone"
    if kind in SILENT:
        assert struck is None
    elif kind == "delay answers":
        assert is_well(struck)
        assert took >= DELAYS_SECONDS[0]
    else:
        assert struck == b""
    assert is_well(await first_answer(proxies[1]))
    [trouble] = history.troubles
    assert (trouble.kind, trouble.server, trouble.process) == (kind, "Redis", "worker 2")
    assert (trouble.ended - trouble.begun > 0.39) == (kind != "cut connections")


async def first_answer(proxy: Proxy) -> bytes | None:
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        return await answer(stream)


def is_well(said: bytes | None) -> bool:
    return said is not None and said.startswith(b"-NOAUTH")


async def answer(stream: trio.SocketStream, seconds: float = 5) -> bytes | None:
    """To a PING; None: there is none."""
    try:
        await stream.send_all(b"PING\r\n")
        with trio.move_on_after(seconds):
            return await stream.receive_some()
    except trio.BrokenResourceError:
        return b""
    return None


async def test_redis_is_killed_flushed_and_replaced_by_an_empty_one(nursery, tmp_path):
    kept = KeptServer(lambda port: run_valkey(tmp_path / "valkey", port=port, sync="always"))
    server = await nursery.start(kept.run)
    servers = Servers(redis=kept, redis_folder=tmp_path / "valkey")
    servers.flush_redis = partial(flush, tmp_path / "valkey", server.port)
    history = History()
    faults = Faults([], [], [], servers, history)
    left = {}
    for kind in ("kill Redis", "restart Redis", "flush Redis", "replace Redis by an empty one"):
        with Redis.from_url(server.url) as redis:
            redis.set("key", kind)
        assert kept.server is not None
        pid = kept.server.pid
        await faults._strike(Fault(0.0, kind, 0.1, 1))
        assert (kept.server.pid == pid) == (kind == "flush Redis"), kind
        with Redis.from_url(server.url) as redis:
            left[kind] = redis.get("key")
    assert left == {
        "kill Redis": b"kill Redis",
        "restart Redis": b"restart Redis",
        "flush Redis": None,
        "replace Redis by an empty one": None,
    }
    assert len(history.losses) == 1 + 2 + 1, "a kill may cost its last second; a flush is somewhere between two moments"
    assert [trouble.kind for trouble in history.troubles] == list(left)
    nursery.cancel_scope.cancel()


async def test_a_target_in_trouble_is_left_alone_and_servers_that_are_not_ours_are_too(nursery, redis_port):
    proxy = Proxy(redis_port)
    await nursery.start(proxy.run)
    history = History()
    faults = Faults([], [], [Link("worker 1", "Redis", proxy)], Servers(), history)
    async with trio.open_nursery() as striking:
        striking.start_soon(faults._strike, Fault(0.0, "black hole", 0.3, 0))
        await until_true(lambda: history.troubles)
        await faults._strike(Fault(0.0, "refuse connections", 0.0, 0))
        assert not proxy.refuse
        await faults._strike(Fault(0.0, "flush Redis", 0.0, 0))
        await faults._strike(Fault(0.0, "kill Postgres", 0.0, 0))
    assert [trouble.kind for trouble in history.troubles] == ["black hole"]
    assert history.losses == []
