"""POST /api/jobs/batch: every job is answered in order, none harms another, and nothing piles up."""

import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
import trio

from tests.producer.serving import Connection, connect, serving
from tests.support.proxy import through
from tests.support.wait import until, until_true
from workqueue.core.job import JobState
from workqueue.core.queue import Queue
from workqueue.core.steps.submit import BATCH_BYTES_MAX, BATCH_MAX, REFUSED
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission
from workqueue.services.http.body import Body
from workqueue.services.producer import bulk
from workqueue.services.producer.backend import Backend

BATCH_PATH = "/api/jobs/batch"
GOOD = b'{"type":"a","payload":{"n":%d}}'
MIXED = [
    GOOD % 0,
    b"nonsense",
    b'{"type":""}',
    GOOD % 3,
    b'{"type":"a","retries":-1}',
    b'{"type":"a","payload":{"x":"' + b"x" * (1 << 20) + b'"}}',
    b'{"type":"a","payload":{"x":"\xff"}}',
    GOOD % 7,
]
SENTENCES = {
    1: "invalid JSON body",
    2: "type is required",
    4: "retries cannot be negative",
    5: "body too large",
    6: "invalid JSON body",
}


def ndjson(count: int) -> bytes:
    return b"".join(GOOD % number + b"\n" for number in range(count))


async def post(client, content, **headers: str):
    return await client.post("/api/jobs/batch", content=content, headers=headers)


def answers(response) -> list[dict[str, object]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


async def numbers(tasks) -> list[int]:
    return [json.loads(task)["payload"]["n"] for task in await tasks()]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("form", ["ndjson", "array", "pieces"])
async def test_each_job_is_answered_and_a_bad_one_harms_no_other(client, redis_only, tasks, rows, form):
    async def in_pieces():
        body = b"[\n" + b",\n".join(MIXED) + b"\n]\n"
        for begin in range(0, len(body), 7919):
            yield body[begin : begin + 7919]

    content = {"ndjson": b"\r\n\n".join(MIXED), "array": b"[" + b", ".join(MIXED) + b"]", "pieces": in_pieces()}[form]
    response = await post(client if rows else redis_only, content)
    if form == "ndjson":
        assert response.headers["content-type"] == "application/x-ndjson"
        said = answers(response)
    else:
        assert response.headers["content-type"] == "application/json"
        said = response.json()
    assert response.headers["x-content-type-options"] == "nosniff"
    assert [answer["index"] for answer in said] == list(range(len(MIXED)))
    assert {answer["index"]: answer["error"] for answer in said if "error" in answer} == SENTENCES
    accepted = [answer for answer in said if "error" not in answer]
    assert await numbers(tasks) == [0, 3, 7]
    if rows:
        assert [answer["job_id"] for answer in accepted] == [json.loads(task)["job_id"] for task in await tasks()]
    else:
        assert [set(answer.items()) - {("index", answer["index"])} for answer in accepted] == [
            {("status", "queued")}
        ] * 3


@pytest.mark.usefixtures("patient")
async def test_thousands_of_jobs_keep_their_order_and_cost_two_trips_a_batch(client, tasks, psql, monkeypatch):
    trips: Counter[str] = Counter()
    for kind, name in ((Queue, "push"), (JobStore, "insert")):
        monkeypatch.setattr(kind, name, _counting(trips, name, getattr(kind, name)))
    body = bytearray(ndjson(5_000))
    body[body.index(b'{"n":2345}')] = ord("!")  # one bad line in the middle of a batch
    said = answers(await post(client, bytes(body)))
    assert trips == {"insert": 5000 / BATCH_MAX, "push": 5000 / BATCH_MAX}
    assert [answer["index"] for answer in said if "error" in answer] == [2345]
    assert await numbers(tasks) == [number for number in range(5_000) if number != 2345]
    ids = [answer["job_id"] for answer in said if "error" not in answer]
    assert [json.loads(task)["job_id"] for task in await tasks()] == ids
    assert await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 4_999


def _counting(trips, name, method):
    async def counting(*arguments):
        trips[name] += 1
        return await method(*arguments)

    return counting


@pytest.mark.parametrize("body", [b"", b" \n\r\n", b"[]", b" [ ]\n"])
async def test_no_jobs_are_no_error(redis_only, tasks, body):
    response = await post(redis_only, body)
    assert (response.status_code, response.text) == (200, "[]" if b"[" in body else "")
    assert await tasks() == []


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"[" + GOOD % 0, [None, "invalid JSON body"]),
        (b"[" + GOOD % 0 + b",", [None, "invalid JSON body"]),
        (b"[" + GOOD % 0 + b"] x", [None, "invalid JSON body"]),
        (b'[{"type":"a', ["invalid JSON body"]),
        (GOOD % 0 + b'\n{"type":"a', [None, "invalid JSON body"]),
        (b"[[]]", ["invalid JSON body"]),
        (b'\n{"type":"a"},{"type":"b"}', ["invalid JSON body"]),
    ],
)
async def test_a_body_that_is_cut_off_is_accepted_up_to_there(redis_only, tasks, body, errors):
    response = await post(redis_only, body)
    said = response.json() if body.startswith(b"[") else answers(response)
    assert [answer.get("error") for answer in said] == errors
    assert len(await tasks()) == errors.count(None)


async def test_a_first_line_with_a_bracket_is_a_bad_line_where_the_request_says_ndjson(redis_only, tasks):
    response = await post(redis_only, b"[1]\n" + ndjson(2), **{"Content-Type": "application/x-ndjson; charset=utf-8"})
    assert [answer.get("error") for answer in answers(response)] == ["invalid JSON body", None, None]
    assert len(await tasks()) == 2


async def test_other_methods_and_paths_are_as_before(redis_only):
    for method, status in (("GET", 405), ("DELETE", 405), ("PUT", 405)):
        answer = await redis_only.request(method, "/api/jobs/batch", content=ndjson(3))
        assert answer.status_code == status, method
    assert answer.headers["allow"] == "POST"
    assert (await redis_only.post("/api/jobs/batch/", content=ndjson(1))).status_code == 404


async def test_a_key_is_not_for_many_jobs(redis_only, tasks):
    response = await post(redis_only, ndjson(3), **{"Idempotency-Key": "k"})
    assert (response.status_code, response.text) == (400, "Idempotency-Key is for single jobs: POST /enqueue")
    assert await tasks() == []


async def test_the_answer_carries_the_headers_of_cors(redis_url, queue_name):
    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "ALLOWED_ORIGINS": "https://app.example"}
    async with serving(environ) as client:
        for content in (ndjson(2), b"[]"):
            response = await post(client, content, Origin="https://app.example")
            assert response.headers["access-control-allow-origin"] == "https://app.example"
            assert response.headers["x-content-type-options"] == "nosniff"
        assert (await client.options("/api/jobs/batch")).status_code == 204


# --- limits


@pytest.mark.usefixtures("patient")
async def test_nothing_piles_up_while_redis_is_slow(redis_only, tasks, monkeypatch):
    """100,000 jobs come as fast as they can, and none goes: what was read stays within a few batches."""
    may_go = trio.Event()
    push, read = Queue.push, Body.read
    bytes_read = 0

    async def slow_push(self, tasks) -> None:
        await may_go.wait()
        await push(self, tasks)

    async def counted_read(self) -> bytes:
        nonlocal bytes_read
        piece = await read(self)
        bytes_read += len(piece)
        return piece

    monkeypatch.setattr(Queue, "push", slow_push)
    monkeypatch.setattr(Body, "read", counted_read)
    body = ndjson(100_000)

    async def send(connection) -> None:
        head = b"POST /api/jobs/batch HTTP/1.1\r\nHost: [::1]\r\nContent-Length: %d\r\n\r\n" % len(body)
        await connection.send(head + body)

    async with await connect(redis_only) as connection, trio.open_nursery() as nursery:
        nursery.start_soon(send, connection)
        await until_true(lambda: bytes_read > 0)
        await trio.sleep(0.5)
        assert bytes_read < 400_000, "of 3.4 MB"
        may_go.set()
        answer = await connection.answer(30)
        said = answer.body.splitlines()
        assert (answer.status, len(said)) == (200, 100_000)
        assert json.loads(said[-1]) == {"index": 99_999, "status": "queued"}
        assert (await connection.get()).body == b"ok", "the connection lives on"
    assert await numbers(tasks) == list(range(100_000))


async def test_a_batch_has_a_limit_in_bytes(redis_url, queue_name, tasks):
    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "MAX_BATCH_BYTES": str(len(ndjson(100)))}

    async def pieces():
        for number in range(1000):
            yield GOOD % number + b"\n"

    async with serving(environ) as client:
        assert len(answers(await post(client, ndjson(100)))) == 100
        response = await post(client, ndjson(101))
        assert (response.status_code, response.text) == (413, "body too large")
        assert len(await tasks()) == 100
        said = answers(await post(client, pieces()))  # chunked: its length is not known before
        assert said[-1] == {"index": 100, "error": "body too large"}
        assert len(await tasks()) == 200


async def test_a_body_that_stops_coming_is_given_up(redis_only, tasks, monkeypatch):
    monkeypatch.setattr("workqueue.services.http.body.BODY_SECONDS", 0.2)
    async with await connect(redis_only) as connection:
        await connection.send(
            b"POST /api/jobs/batch HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 999\r\n\r\n" + ndjson(5)
        )
        answer = await connection.answer()
        assert (answer.status, answer.body) == (408, b"the body took too long")
        assert await connection.is_closed()


async def test_a_client_that_hangs_up_leaves_what_had_come(redis_only, tasks, caplog):
    async with await connect(redis_only) as connection:
        await connection.send(
            b"POST /api/jobs/batch HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 999999\r\n\r\n" + ndjson(BATCH_MAX + 700)
        )
        await until(partial(_some, tasks))
    assert (await redis_only.get("/health")).text == "ok"
    found = await numbers(tasks)
    assert found == list(range(len(found)))
    assert len(found) == BATCH_MAX
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def _some(read) -> bool:
    return bool(await read())


# --- outages


@pytest.mark.parametrize("which", ["redis", "postgres"])
async def test_an_outage_in_the_middle_refuses_what_it_meets(
    store, psql, tasks, environ, redis_url, postgres_dsn, redis_proxy, postgres_proxy, which
):
    """The first jobs were accepted, those behind them are refused in the words of the contract; none is in between."""
    environ = environ | {
        "REDIS_URL": through(redis_url, redis_proxy),
        "DATABASE_URL": through(postgres_dsn, postgres_proxy),
    }
    async with serving(environ) as client:

        async def ready() -> bool:
            return (await client.get("/ready")).status_code == 200

        async def pieces():
            yield ndjson(2 * BATCH_MAX)
            await until(partial(_some, tasks))
            (redis_proxy if which == "redis" else postgres_proxy).go_away()
            yield ndjson(3 * BATCH_MAX)

        await until(ready)
        said = answers(await post(client, pieces()))
    errors = [answer.get("error") for answer in said]
    accepted = errors.index("failed to enqueue task" if which == "redis" else "failed to persist job")
    assert len(said) == 5 * BATCH_MAX
    assert BATCH_MAX <= accepted < 5 * BATCH_MAX
    assert set(errors[accepted:]) == {errors[accepted]}
    ids = {json.loads(task)["job_id"] for task in await tasks()}
    assert {answer["job_id"] for answer in said if "job_id" in answer} == ids
    if which == "redis":
        states = await psql("SELECT state, error_message, count(*) AS n FROM jobs GROUP BY 1, 2 ORDER BY state")
        refused = [row for row in states if row["state"] == JobState.CANCELLED]
        assert [row["n"] for row in states if row["state"] == JobState.PENDING] == [accepted]
        assert {row["error_message"] for row in refused} <= {REFUSED}


@pytest.mark.usefixtures("patient")
async def test_a_bug_is_told_for_each_job_it_met(redis_only, tasks, monkeypatch, caplog):
    push = Queue.push

    async def broken(self, tasks) -> None:
        if b'"n":%d}' % (BATCH_MAX + 200) in b"".join(tasks):
            raise ZeroDivisionError("a bug")
        await push(self, tasks)

    monkeypatch.setattr(Queue, "push", broken)
    said = answers(await post(redis_only, ndjson(2 * BATCH_MAX + 300)))
    errors = [answer.get("error") for answer in said]
    assert errors == [None] * BATCH_MAX + ["internal error"] * BATCH_MAX + [None] * 300
    assert len(await tasks()) == BATCH_MAX + 300
    assert caplog.text.count("ZeroDivisionError: a bug") == 1


# --- bounds


async def test_more_requests_than_a_few_at_once_are_told_to_come_again(redis_only, monkeypatch):
    async def upload(begun: trio.Event) -> AsyncIterator[bytes]:
        yield ndjson(1)
        begun.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(bulk.REQUESTS_MAX):
            begun = trio.Event()
            nursery.start_soon(partial(redis_only.post, BATCH_PATH, content=upload(begun)))
            await begun.wait()

        async def is_refused() -> bool:
            answer = await redis_only.post(BATCH_PATH, content=ndjson(1))
            return (answer.status_code, answer.text, answer.headers.get("retry-after")) == (
                429,
                "too many batches at once",
                "1",
            )

        await until(is_refused)
        assert (await redis_only.post("/enqueue", json={"type": "a"})).status_code == 200
        nursery.cancel_scope.cancel()

    async def is_accepted() -> bool:
        return (await redis_only.post(BATCH_PATH, content=ndjson(1))).status_code == 200

    await until(is_accepted)


async def test_a_slow_sender_gives_way_where_no_place_is_left(redis_only, monkeypatch):
    async def send(connection: Connection) -> None:
        await connection.send(
            b"POST /api/jobs/batch HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 999\r\n\r\n" + ndjson(1)
        )

    slow = [await connect(redis_only) for _ in range(bulk.REQUESTS_MAX)]
    for connection in slow:
        await send(connection)

    async def is_refused() -> bool:
        return (await redis_only.post(BATCH_PATH, content=ndjson(1))).status_code == 429

    await until(is_refused)
    monkeypatch.setattr(bulk, "SLOW_SECONDS", 0.0)
    assert (await redis_only.post(BATCH_PATH, content=ndjson(1))).status_code == 200
    answers = 0
    for connection in slow:
        with trio.move_on_after(3 if not answers else 0.2):
            answer = await connection.answer(seconds=60)
            assert (answer.status, answer.body) == (408, b"the body took too long")
            answers += 1
    assert answers == 1
    for connection in slow:
        await connection.stream.aclose()


@pytest.mark.parametrize("as_array", [False, True])
async def test_a_request_ends_where_too_many_of_its_jobs_are_refused(redis_only, monkeypatch, tasks, as_array):
    monkeypatch.setattr(bulk, "REFUSED_MAX", 600)
    lines = [b'{"type":"a"}', *[b"x"] * 5000, b'{"type":"b"}']
    content = b"[" + b",".join(lines) + b"]" if as_array else b"\n".join(lines)
    answer = await redis_only.post(BATCH_PATH, content=content)
    assert answer.status_code == 200
    answers = json.loads(answer.content) if as_array else [json.loads(line) for line in answer.text.splitlines()]
    assert answers[0] == {"index": 0, "status": "queued"}
    assert answers[-1] == {"index": len(answers) - 1, "error": bulk.TOO_MANY_REFUSED}
    assert len(answers) == 1001  # what was in the batches that were refused, and the last word
    assert len(await tasks()) == 1


async def test_a_client_that_still_sends_gets_the_answer_of_a_request_that_ended_early(redis_only, monkeypatch):
    monkeypatch.setattr(bulk, "REFUSED_MAX", 600)
    async with await connect(redis_only) as connection, trio.open_nursery() as nursery:

        async def send() -> None:
            head = b"POST /api/jobs/batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            try:
                await connection.send(head)
                while True:
                    await connection.send(b"10000\r\n" + b"x\n" * 0x8000 + b"\r\n")
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(send)
        answer = await connection.answer(15)
        assert (answer.status, answer.headers["connection"]) == (200, "close"), answer.body
        assert bulk.TOO_MANY_REFUSED.encode() in answer.body
        nursery.cancel_scope.cancel()


async def test_an_answer_has_its_limit(redis_only, monkeypatch, tasks):
    monkeypatch.setattr(bulk, "ANSWER_BYTES_MAX", 600 * bulk.LINE_BYTES_MAX)
    answer = await redis_only.post(BATCH_PATH, content=ndjson(5000))
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert answers[-1]["error"] == bulk.ANSWER_TOO_LARGE
    assert len(await tasks()) == len(answers) - 1 < 5000


@pytest.mark.parametrize("how", ["no folder", "no room"])
async def test_without_room_for_answers_no_job_is_accepted_that_is_not_answered(
    redis_only, monkeypatch, tasks, tmp_path, how
):
    if how == "no folder":
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    else:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.posix_fallocate", full)
    answer = await redis_only.post(BATCH_PATH, content=ndjson(40_000))
    assert answer.status_code == 200
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert answers[-1]["error"] == bulk.NO_ROOM
    assert len(answers) > 1000  # what fits into memory needs no folder
    assert len(await tasks()) == len(answers) - 1


async def test_refused_lines_wait_for_their_turn(redis_only, monkeypatch):
    turns: list[int] = []
    real = Backend.enqueue_many

    async def counted(self: Backend, submissions: Sequence[Submission]) -> object:
        turns.append(len(submissions))
        return await real(self, submissions)

    monkeypatch.setattr(Backend, "enqueue_many", counted)
    await redis_only.post(BATCH_PATH, content=b"x\n" * 1500)
    assert turns == [0, 0]  # 1,000 lines each


@pytest.mark.usefixtures("patient")
async def test_large_jobs_of_a_batch_go_to_postgres_in_pieces(client, monkeypatch):
    sizes, insert = [], JobStore.insert

    async def counted(self, batch, queue, jobs, pushed):
        sizes.append(sum(len(job.payload) for job in jobs))
        await insert(self, batch, queue, jobs, pushed)

    monkeypatch.setattr(JobStore, "insert", counted)
    line = b'{"type":"a","payload":{"x":"' + b"x" * 900_000 + b'"}}\n'
    assert (await client.post(BATCH_PATH, content=line * 12)).status_code == 200
    assert max(sizes) <= BATCH_BYTES_MAX
