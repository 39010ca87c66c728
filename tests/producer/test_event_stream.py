"""GET /api/events on a real server: what comes, to whom, and when it ends."""

import gc
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
import trio

from tests.producer.rows import claim, enqueue, finish
from tests.producer.serving import connect, serving
from tests.producer.tokens import API_TOKENS, SECRETS, bearer
from tests.support.proxy import through
from tests.support.wait import is_ready, until, until_true
from workqueue.core.job import JobState
from workqueue.core.report import JobReport, Progress
from workqueue.services.http import connection
from workqueue.services.http.live import LiveResponse
from workqueue.services.producer import event_stream, events
from workqueue.services.producer.events import STREAMS_MAX, Events, Subscription

Event = tuple[str, str | None, Any]  #: name, id, data


class Stream:
    """What comes on one stream. Read by h11: httpx leaves a generator behind when a response is not read to its end.

    Mutable state: the bytes that are no whole event yet, and whether the response has ended as it should.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.status = 0
        self.headers: dict[str, str] = {}
        self.retry: str | None = None
        self.comments = 0
        self.is_complete = False
        self._h11 = h11.Connection(h11.CLIENT)
        self._buffer = b""

    async def begin(self, query: str, headers: Mapping[str, str]) -> None:
        """Send the request, and read the headers of the response."""
        fields = list({"Host": "localhost", **headers}.items())
        request = self._h11.send(h11.Request(method="GET", target=f"/api/events{query}", headers=fields))
        assert request is not None
        await self.stream.send_all(request)
        self._h11.send(h11.EndOfMessage())
        while not self.status:
            assert await self._read()

    async def _read(self) -> bool:
        """Some more bytes; False: there are no more."""
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            try:
                self._h11.receive_data(await self.stream.receive_some(65536))
            except trio.BrokenResourceError:
                return False
        match event:
            case h11.Response():
                self.status = event.status_code
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            case h11.Data():
                self._buffer += event.data
            case _:
                self.is_complete = isinstance(event, h11.EndOfMessage)
                return False
        return True

    async def next(self, *names: str, seconds: float = 10) -> Event:
        """The next event, of these names only. EOFError at the end of the stream."""
        with trio.fail_after(seconds):
            while True:
                while b"\n\n" not in self._buffer:
                    if not await self._read():
                        raise EOFError
                text, _, self._buffer = self._buffer.partition(b"\n\n")
                fields = dict(line.split(": ", 1) for line in text.decode().split("\n"))
                self.retry = fields.get("retry", self.retry)
                self.comments += "" in fields
                if "event" in fields and (not names or fields["event"] in names):
                    return fields["event"], fields.get("id"), json.loads(fields["data"])

    async def data(self, name: str, seconds: float = 10) -> Any:
        return (await self.next(name, seconds=seconds))[2]

    async def until_changed(self, job_id: object, status: str | None) -> None:
        """Until it is told that the job has this status."""
        with trio.fail_after(10):
            while True:
                told = await self.data("jobs")
                if (str(job_id), status) in [(job["id"], job["status"]) for job in told["changed"]]:
                    return

    async def read_to_end(self, seconds: float = 10) -> None:
        with trio.fail_after(seconds):
            while await self._read():
                self._buffer = b""


async def open_stream(
    client: httpx.AsyncClient,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    receive_bytes: int | None = None,
) -> Stream:
    """A stream that a test closes itself. `receive_bytes`: that the kernel takes for it."""
    ours = trio.socket.socket()
    if receive_bytes is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await ours.connect(("127.0.0.1", client.base_url.port))
    stream = Stream(trio.SocketStream(ours))
    with trio.fail_after(20):
        await stream.begin(query, headers or {})
    assert stream.status == 200
    return stream


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, query: str = "", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Stream]:
    stream = await open_stream(client, query, headers)
    async with stream.stream:
        yield stream


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Events]:
    """The Events of the producers of this test."""
    found: list[Events] = []
    begin = Events.__init__

    def noting(self: Events, *arguments: Any) -> None:
        found.append(self)
        begin(self, *arguments)

    monkeypatch.setattr(Events, "__init__", noting)
    return found


@pytest.fixture
async def client(made, patient, store, environ) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(environ) as client:
        yield client


async def test_a_stream_begins_with_the_counts_of_the_overview(client):
    await until(partial(is_ready, client))
    async with listening(client) as stream:
        counts = await stream.data("counts")
        assert stream.retry == "2000"
    headers = stream.headers
    assert headers["content-type"] == "text/event-stream"
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
    overview = (await client.get("/api/overview")).json()
    for each in (counts, overview):
        del each["redis"]["ms"], each["postgres"]["ms"]
    assert counts == overview


async def test_counts_come_each_second(client):
    async with listening(client) as stream:
        await stream.data("counts")
        begun = trio.current_time()
        waiting = [(await stream.data("counts"))["waiting"] for _ in range(3)]
        assert 2 < trio.current_time() - begun < 5
        assert waiting == [0, 0, 0]
        await enqueue(client)
        await until(partial(one_waits, stream))


async def one_waits(stream: Stream) -> bool:
    return bool((await stream.data("counts"))["waiting"] == 1)


async def test_each_change_of_a_job_is_told(client, queue, store):
    async with listening(client) as stream:
        await stream.data("counts")
        job_id = await enqueue(client)
        await stream.until_changed(job_id, "pending")
        token = await claim(store, queue, job_id)
        await stream.until_changed(job_id, "processing")
        await finish(store, job_id, token, JobState.COMPLETED, result="1")
        await stream.until_changed(job_id, "completed")
        assert (await client.delete(f"/api/jobs/{job_id}", headers={"Content-Type": "application/json"})).is_success
        await stream.until_changed(job_id, None)


async def test_a_job_is_followed_from_its_acceptance_to_its_end(client, queue, store):
    job_id = await enqueue(client)
    async with listening(client, f"?job={job_id}&job={job_id}") as stream:
        first = await stream.data("job")
        assert first == {
            "id": str(job_id), "status": "pending", "attempts": 0, "cancelling": False, "run_at": None,
            "progress": None, "missing": False,
        }  # fmt: skip
        token = await claim(store, queue, job_id)
        assert (await stream.data("job"))["status"] == "processing"
        for fraction in (0.25, 0.5):
            await store.reports.write([JobReport(job_id, token, 1, Progress(fraction, "on"), [], trims=False)])
            told = await stream.data("job")
            assert (told["status"], told["progress"]["fraction"]) == ("processing", fraction)
        await finish(store, job_id, token, JobState.COMPLETED, result="1")
        assert (await stream.data("job"))["status"] == "completed"


async def test_a_job_that_is_deleted_is_missing(client, psql):
    job_id = await enqueue(client)
    async with listening(client, f"?job={job_id}") as stream:
        await stream.data("job")
        await psql("DELETE FROM jobs")
        told = await stream.data("job")
        assert (told["id"], told["status"], told["missing"]) == (str(job_id), None, True)


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_client_that_comes_back_is_told_what_it_missed(client, how):
    async with listening(client) as stream:
        job_id = await enqueue(client)
        await stream.until_changed(job_id, "pending")
        _, position, _ = await stream.next("counts")
    assert position is not None
    missed = await enqueue(client)
    headers, query = ({"Last-Event-ID": position}, "") if how == "header" else ({}, f"?last_event_id={position}")
    async with listening(client, query, headers) as stream:
        told = await stream.data("jobs")
        assert str(missed) in {job["id"] for job in told["changed"]}
        assert not told["more"]


async def test_what_cannot_be_told_any_more_is_fetched_anew(client):
    async with listening(client, "?last_event_id=1") as stream:
        assert await stream.data("jobs") == {"changed": [], "more": True}


@pytest.mark.parametrize(
    ("query", "header", "sentence"),
    [
        ("?job=x", None, "job: must be the id of a job, given at most 20 times"),
        ("?since=1", None, "since: unknown parameter; allowed are job, last_event_id"),
        ("", "yesterday", "Last-Event-ID, last_event_id: must be the id of an event, given once"),
        ("?last_event_id=-1", None, "Last-Event-ID, last_event_id: must be the id of an event, given once"),
    ],
)
async def test_what_is_wrong_is_said(client, query, header, sentence):
    for method in ("GET", "HEAD"):
        answer = await client.request(
            method, f"/api/events{query}", headers={} if header is None else {"Last-Event-ID": header}
        )
        assert (answer.status_code, answer.text) == (400, sentence if method == "GET" else "")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_without_rows_there_are_no_events(redis_only):
    answer = await redis_only.get("/api/events")
    assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")


async def test_head_opens_no_stream_and_other_methods_are_not_allowed(client, made):
    answer = await client.head("/api/events")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    assert len(made[0]) == 0
    answer = await client.post("/api/events")
    assert (answer.status_code, answer.text) == (405, "method not allowed")


async def test_a_quiet_stream_is_kept_alive(client, monkeypatch):
    monkeypatch.setattr(event_stream, "QUIET_SECONDS", 0.1)
    async with listening(client) as stream:
        await stream.data("counts")
        await stream.data("counts")
        assert stream.comments >= 3


async def test_the_timer_of_idle_connections_does_not_end_a_stream(client):
    """Hypercorn's is 5 s."""
    async with listening(client) as stream:
        begun = trio.current_time()
        while trio.current_time() - begun < 7:
            await stream.data("counts")


async def test_there_are_so_many_streams_and_a_place_is_free_again(client, made, monkeypatch):
    monkeypatch.setattr(events, "STREAMS_MAX", 3)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            stream = await stack.enter_async_context(listening(client))
            await stream.data("counts")
        answer = await client.get("/api/events")
        assert (answer.status_code, answer.text) == (503, "too many event streams")
        assert "retry-after" in answer.headers
        assert (await client.get("/api/overview")).status_code == 200
    await until_true(lambda: len(made[0]) == 0)
    async with listening(client) as stream:
        await stream.data("counts")


async def test_streams_take_half_of_all_connections_at_most(client, made, monkeypatch):
    monkeypatch.setattr(event_stream, "CONNECTIONS_SHARE", 1000)  # 2 of 2000
    async with listening(client), listening(client):
        assert (await client.get("/api/events")).status_code == 503


async def test_a_client_that_never_reads_is_ended_and_frees_its_place(client, made, monkeypatch):
    monkeypatch.setattr(connection, "SEND_SECONDS", 0.5)
    monkeypatch.setattr(event_stream, "QUIET_SECONDS", 0.001)
    monkeypatch.setattr(event_stream, "COMMENT", b": " + b"x" * 1000 + b"\n\n")
    sent: dict[LiveResponse, int] = {}
    send = LiveResponse.send

    async def counting(self: LiveResponse, piece: bytes) -> None:
        sent[self] = sent.get(self, 0) + len(piece)
        await send(self, piece)

    monkeypatch.setattr(LiveResponse, "send", counting)
    silent = await open_stream(client, receive_bytes=4096)
    async with listening(client) as reading, trio.open_nursery() as nursery:
        nursery.start_soon(reading.read_to_end, 60)
        await until_true(lambda: len(made[0]) == 2)
        await until_true(lambda: len(made[0]) == 1)
        assert (await client.get("/health")).text == "ok"
        await trio.sleep(1)
        assert len(made[0]) == 1, "the one that reads goes on"
        nursery.cancel_scope.cancel()
    # Some KiB there and 16 KiB here. Without that limit, which Trio sets, it would be MiB, or hours.
    assert min(sent.values()) < 300_000
    await silent.stream.aclose()


async def test_a_stop_does_not_wait_for_a_client_that_does_not_read(patient, made, store, environ, monkeypatch):
    monkeypatch.setattr(event_stream, "QUIET_SECONDS", 0.001)
    monkeypatch.setattr(event_stream, "COMMENT", b": " + b"x" * 1000 + b"\n\n")
    async with serving(environ, grace_seconds=20) as client:
        silent = await open_stream(client, receive_bytes=4096)
        await until_true(lambda: len(made[0]) == 1)
        await trio.sleep(0.5)  # its buffers are full
        begun = trio.current_time()
    assert trio.current_time() - begun < 3
    await silent.stream.aclose()


async def test_a_stream_ends_as_it_should_at_a_stop(patient, made, store, environ, monkeypatch):
    monkeypatch.setattr(event_stream, "STOP_SECONDS", 30.0)  # it ends by itself
    async with trio.open_nursery() as nursery:
        async with serving(environ, grace_seconds=20) as client:
            stream = await open_stream(client)
            await stream.data("counts")
            nursery.start_soon(stream.read_to_end)
            begun = trio.current_time()
        assert trio.current_time() - begun < 1
    assert stream.is_complete, "the last chunk came: a client does not take it for a fault"
    await stream.stream.aclose()


async def test_two_hundred_streams_that_come_and_go_leave_nothing(client, made):
    async def come_and_go() -> None:
        async with listening(client) as stream:
            await stream.next()

    async def batch() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(come_and_go)
        await until_true(lambda: len(made[0]) == 0)

    def left() -> int:
        gc.collect()
        kept = (Subscription, connection.Connection)
        return sum(isinstance(each, kept) for each in gc.get_objects())

    await batch()
    await until_true(lambda: left() <= 2)
    before, descriptors = left(), len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        await batch()
    await until_true(lambda: left() <= before)
    # The pools of Redis and Postgres may have grown meanwhile; a stream that left one each would have left 200.
    await until_true(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 20)


async def test_a_hundred_streams_cost_what_one_does(client, made):
    looks: list[object] = []
    since = made[0]._since

    async def noting(position: int | None, **limits: Any) -> Any:
        looks.append(position)
        return await since(position, **limits)

    made[0]._since = noting
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for _ in range(STREAMS_MAX):
            stream = await stack.enter_async_context(listening(client))
            nursery.start_soon(stream.read_to_end, 60)
        await until_true(lambda: len(made[0]) == STREAMS_MAX, seconds=20)
        looks.clear()
        await trio.sleep(5)
        assert 2 <= len(looks) <= 7
        nursery.cancel_scope.cancel()
    await until_true(lambda: len(made[0]) == 0)


async def test_redis_goes_away_and_comes_back(made, store, environ, redis_url, redis_proxy):
    async with serving(environ | {"REDIS_URL": through(redis_url, redis_proxy)}) as client, listening(client) as stream:

        async def known(*, ok: bool) -> bool:
            counts = await stream.data("counts")
            return bool(counts["redis"]["ok"] == ok and (counts["waiting"] is not None) == ok)

        await until(partial(known, ok=True), seconds=20)
        redis_proxy.go_away()
        await until(partial(known, ok=False), seconds=20)
        redis_proxy.heal()
        await until(partial(known, ok=True), seconds=20)


async def test_postgres_goes_away_and_comes_back(made, store, environ, postgres_dsn, postgres_proxy):
    through_proxy = environ | {"DATABASE_URL": through(postgres_dsn, postgres_proxy)}
    async with serving(through_proxy) as client, listening(client) as stream:

        async def known(*, ok: bool) -> bool:
            return bool((await stream.data("counts"))["postgres"]["ok"] == ok)

        await until(partial(known, ok=True), seconds=20)
        postgres_proxy.go_away()
        await until(partial(known, ok=False), seconds=20)
        postgres_proxy.heal()
        assert (await stream.data("jobs", seconds=20))["more"], "what happened meanwhile is not known"


# --- who may


@pytest.fixture
def guarded_environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"API_TOKENS": API_TOKENS}


async def test_a_token_is_needed_and_one_that_may_read(patient, store, guarded_environ):
    async with serving(guarded_environ) as client:
        for method in ("GET", "HEAD"):
            assert (await client.request(method, "/api/events")).status_code == 401
            assert (await client.request(method, "/api/events", headers=bearer("enqueue"))).status_code == 403
        async with listening(client, headers=bearer("read")) as stream:
            await stream.data("counts")
        answer = await client.post("/api/session", json={"token": SECRETS["read"]})
        cookie = answer.headers["set-cookie"].partition(";")[0]
        async with listening(client, headers={"Cookie": cookie}) as stream:  # as the page has it
            await stream.data("counts")


async def test_a_token_that_is_revoked_ends_its_streams(patient, store, environ, tmp_path: Path, monkeypatch):
    file = tmp_path / "tokens"
    lines = [f"{role}-1:{role}:{SECRETS[role]}" for role in ("read", "operate")]
    file.write_text("\n".join(lines))
    file.chmod(0o600)
    async with serving(environ | {"API_TOKENS_FILE": str(file)}) as client:
        async with (
            listening(client, headers=bearer("read")) as revoked,
            listening(client, headers=bearer("operate")) as other,
        ):
            await revoked.data("counts")
            file.write_text(lines[1])
            await revoked.read_to_end(seconds=15)
            assert revoked.is_complete
            await other.data("counts")
        assert (await client.get("/api/events", headers=bearer("read"))).status_code == 401


async def test_an_allowed_origin_may_listen_and_an_unknown_host_is_refused(patient, store, environ):
    async with serving(environ | {"ALLOWED_ORIGINS": "https://app.example"}) as client:
        async with listening(client, headers={"Origin": "https://app.example"}) as stream:
            await stream.data("counts")
            assert stream.headers["access-control-allow-origin"] == "https://app.example"
        assert (await client.get("/api/events", headers={"Host": "evil.example"})).status_code == 421


async def test_a_client_of_http_1_0_gets_events_until_the_connection_closes(client, made):
    async with await connect(client) as bare:
        await bare.send(b"GET /api/events HTTP/1.0\r\n\r\n")
        got = b""
        with trio.fail_after(10):
            while b"event: counts" not in got:
                got += await bare.stream.receive_some(65536)
        assert b"chunked" not in got.lower()
    await until_true(lambda: len(made[0]) == 0)
