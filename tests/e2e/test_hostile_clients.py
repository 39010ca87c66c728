"""What a client may do to a service, in each of the ways in which the services are run."""

import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from tests.e2e.processes import RunningProcess, running
from tests.http.test_connection import ATTACKS
from tests.support.wait import until
from workqueue.services.local.process import free_port

APP = "services.producer:app"
WAYS = {
    "bare hypercorn": (["hypercorn", "-k", "trio", "-b", "127.0.0.1:{port}", APP], 1),
    "bare hypercorn, two workers": (["hypercorn", "-k", "trio", "-w", "2", "-b", "127.0.0.1:{port}", APP], 1),
    "producer": (["workqueue.services.cli", "producer"], 1),
    "producer, two workers": (["workqueue.services.cli", "producer", "--workers", "2"], 1),
    "worker": (["workqueue.services.worker"], 1),
    "worker, two processes": (["workqueue.services.cli", "worker", "--processes", "2"], 1),
}


@pytest.fixture
def environ(redis_url, queue_name):
    return {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "SHUTDOWN_GRACE": "1"}


@asynccontextmanager
async def service(way: str, environ: dict[str, str]) -> AsyncIterator[tuple[RunningProcess, int]]:
    """A service that is run in this way, ready, and its port."""
    port = free_port()
    command = [word.format(port=port) for word in WAYS[way][0]]
    variables = {"PRODUCER_PORT": str(port), "WORKER_PORT": str(port)}
    async with running(command, environ | variables) as process:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

            async def is_ready() -> bool:
                try:
                    return (await client.get("/ready")).status_code == 200
                except httpx.TransportError:
                    assert process.process.poll() is None, process.said
                    return False

            await until(is_ready, seconds=60)
        yield process, port


@pytest.mark.parametrize("way", ["bare hypercorn, two workers", "producer, two workers"])
async def test_a_stop_of_several_processes_answers_what_is_under_way(way, environ):
    # Hypercorn's parent ends the others as soon as one of them has nothing to do any more.
    async with service(way, environ) as (process, port):
        clients = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(6)]
        body = b'{"type":"x"}'
        for client in clients:
            await client.send_all(b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n" + body[:5])
        await healthy(port)
        process.send(signal.SIGTERM)
        await trio.sleep(1)  # the process without a request has ended by now, if there is one
        for client in clients:
            await client.send_all(body[5:])
            with trio.fail_after(30):
                assert (await client.receive_some(1000)).startswith(b"HTTP/1.1 200")
            await client.aclose()
        assert await process.ended(seconds=30) == 0
        assert "Traceback" not in process.said


async def attacked(port: int, attack: bytes) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        try:
            await stream.send_all(attack)
            await stream.send_eof()
            with trio.move_on_after(5):
                while await stream.receive_some(65536):
                    pass
        except trio.BrokenResourceError:
            pass


async def healthy(port: int) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/health")).text == "ok"


@pytest.mark.parametrize("way", WAYS)
async def test_no_request_ends_a_service(way, environ):
    async with service(way, environ) as (process, port):
        for _ in range(2):
            for attack in ATTACKS.values():
                await attacked(port, attack)
            await healthy(port)
        # A client that does not read, in front of the stop.
        stalled = await trio.open_tcp_stream("127.0.0.1", port)
        with trio.move_on_after(1):
            await stalled.send_all(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000)
        dripping = await trio.open_tcp_stream("127.0.0.1", port)
        await dripping.send_all(b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
        process.send(signal.SIGTERM)
        assert await process.ended(seconds=40) == 0
        await stalled.aclose()
        await dripping.aclose()
        assert "Traceback" not in process.said, process.said
        assert "is started again" not in process.said


@pytest.mark.parametrize("way", ["producer", "producer, two workers", "worker"])
async def test_a_second_signal_ends_at_once(way, environ):
    async with service(way, environ | {"SHUTDOWN_GRACE": "60"}) as (process, port):
        dripping = await trio.open_tcp_stream("127.0.0.1", port)
        await dripping.send_all(b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
        await healthy(port)
        process.send(signal.SIGTERM)
        if way == "producer":
            await process.says("stopping")
        if way != "worker":
            with trio.move_on_after(1) as waited:
                await process.process.wait()
            assert waited.cancelled_caught  # for the request under way
        process.send(signal.SIGTERM)
        assert await process.ended(seconds=50) == 0
        assert "Traceback" not in process.said
        await dripping.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
async def test_few_descriptors_bound_the_connections_and_nothing_else(environ):
    async with service("worker", environ) as (process, port):
        resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (40, 40))
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(60)]
        await trio.sleep(1)
        for stream in streams:
            await stream.aclose()

        async def is_answered() -> bool:
            try:
                await healthy(port)
            except httpx.TransportError:
                return False
            return True

        await until(is_answered)
        assert "Traceback" not in process.said
        assert process.said.count("no more connections are accepted") <= 1
