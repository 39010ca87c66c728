"""Routes as data: what Quart, Guard, the dashboard and the dev proxy make of them. (The table itself: test_api.py.)"""

import msgspec
import pytest
from quart import Response, request
from quart_trio import QuartTrio

from workqueue.core.api_tokens import Role
from workqueue.core.settings import Settings
from workqueue.services.http.body import Body
from workqueue.services.http.guard import wrap
from workqueue.services.http.messages import Headers
from workqueue.services.http.responses import Streamed
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.dashboard import Dashboard
from workqueue.services.producer.routing import (
    Fast,
    PageView,
    Route,
    Streaming,
    View,
    add_rules,
    fast_routes,
    proxied,
    reserved,
    streams,
)

KNOWN = ["/api/jobs", "/api/workers", "/api/overview", "/health", "/ready", "/metrics", "/openapi.json"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_enqueue_takes_only_post(redis_only, method):
    answer = await redis_only.request(method, "/enqueue")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.text == ("" if method == "HEAD" else "method not allowed")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", KNOWN)
async def test_a_known_path_takes_only_get(redis_only, path):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = await redis_only.request(method, path)
        assert (answer.status_code, answer.text) == (405, "method not allowed")
        assert answer.headers["allow"] == "GET, HEAD"
    assert (await redis_only.head(path)).status_code in {200, 503}


@pytest.mark.parametrize("path", ["/nope.txt", "/enqueue/", "/api//jobs", "/api", "/api/nope", "/health/x"])
async def test_an_unknown_path_is_not_found(redis_only, path):
    for method in ("GET", "POST"):
        answer = await redis_only.request(method, str(redis_only.base_url) + path)
        assert (answer.status_code, answer.text) == (404, "not found")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/api/jobs/batch", "/api/jobs/batch/runs"])
async def test_the_name_of_another_route_is_no_job_id(redis_only, path):
    answer = await redis_only.get(path)
    known = path == "/api/jobs/batch"
    assert (answer.status_code, answer.headers.get("allow")) == ((405, "POST") if known else (404, None))


@pytest.mark.usefixtures("patient")
async def test_a_fast_route_is_found_by_its_decoded_path_and_quart_is_not_asked(redis_only, monkeypatch):
    asked: list[str] = []

    async def counted(self: QuartTrio, request: object) -> None:
        asked.append("Quart")
        raise ZeroDivisionError("Quart was asked")

    monkeypatch.setattr(QuartTrio, "handle_request", counted)
    for path in ("/enqueue", "/enqueue?x=1", "/%65nqueue"):
        answer = await redis_only.post(f"{redis_only.base_url}{path}", content=b'{"type":"a"}')
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), path
    assert asked == []
    assert (await redis_only.post(f"{redis_only.base_url}/enqueue/", content=b'{"type":"a"}')).status_code == 500
    assert asked == ["Quart"]


@pytest.mark.parametrize("path", ["//enqueue", "///api/jobs/batch", "/%2Fenqueue", "//health", "//", "//api/jobs"])
async def test_a_path_with_slashes_before_it_is_none_of_ours(redis_only, path, caplog):
    for method in ("POST", "GET"):
        answer = await redis_only.request(method, f"{redis_only.base_url}{path}")
        assert (answer.status_code, answer.text) == (404, "not found")
    assert "Traceback" not in caplog.text


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "broken", ["workqueue.core.queue.Queue.push", "workqueue.services.producer.enqueue.read_submission"]
)
async def test_a_bug_in_a_fast_route_is_one_answer_and_one_traceback(redis_only, monkeypatch, caplog, broken):
    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(broken, bug)
    answer = await redis_only.post("/enqueue", content=b'{"type":"a"}')
    assert (answer.status_code, answer.text) == (500, "internal error")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert caplog.text.count("Traceback") == 1


# --- a table that is not ours, in the shapes that routes will have


async def _say(backend: Backend, **parameters: str) -> Response:
    return Response(msgspec.json.encode([request.method, parameters, await request.get_data(as_text=True)]))


async def _page(dashboard: Dashboard) -> Response:
    return Response("page")


async def _fast(backend: Backend, body: bytes, headers: Headers) -> bytes:
    return b"fast " + body


class _Stream:
    async def __call__(self, backend: Backend, body: Body, headers: Headers) -> Streamed:
        raise NotImplementedError


SAY = View(_say)
TABLE = (
    Route("GET", "/api/things/{thing_id}", Role.READ, SAY, None),
    Route("DELETE", "/api/things/{thing_id}", Role.OPERATE, SAY, None),
    Route("POST", "/api/things/{thing_id}/stop", Role.OPERATE, SAY, None),
    Route("POST", "/api/things/actions", Role.OPERATE, SAY, None, body="whole"),
    Route("POST", "/api/things/many", Role.ENQUEUE, Streaming(_Stream), None, body="stream", answer="stream"),
    Route("PUT", "/limits/{scope}", Role.OPERATE, SAY, None, body="whole"),
    Route("POST", "/fast", Role.ENQUEUE, Fast(_fast), None, body="whole"),
    Route("GET", "/", Role.PUBLIC, PageView(_page), None, answer="text"),
    Route("GET", "/manual", Role.PUBLIC, PageView(_page), None, answer="text"),
)


def get_backend() -> Backend:
    """None of the handlers above asks it for anything, so it has no servers."""
    return object.__new__(Backend)


@pytest.fixture
def app(tmp_path) -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)

    add_rules(app, TABLE, get_backend, Dashboard(tmp_path, reserved(TABLE)))
    return wrap(
        app,
        Settings(),
        fast_routes=fast_routes(TABLE, get_backend),
        streams=streams(TABLE, get_backend),
    )


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/api/things/7", ["GET", {"thing_id": "7"}, ""]),
        ("DELETE", "/api/things/7", ["DELETE", {"thing_id": "7"}, ""]),
        ("POST", "/api/things/7/stop", ["POST", {"thing_id": "7"}, "{}"]),
        ("POST", "/api/things/actions", ["POST", {}, "{}"]),
        ("GET", "/api/things/actionsmore", ["GET", {"thing_id": "actionsmore"}, ""]),
        ("PUT", "/limits/type:a", ["PUT", {"scope": "type:a"}, "{}"]),
    ],
)
async def test_a_row_is_a_rule(app, method, path, said):
    body = "{}" if method in {"POST", "PUT"} else None
    answer = await app.test_client().open(path, method=method, data=body, headers=JSON)
    assert (answer.status_code, await answer.get_json(force=True)) == (200, said)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/things/7", 200), ("DELETE", "/api/things/7", 415)]
)
async def test_what_operates_takes_json_alone(app, method: str, path: str, status: int):
    assert (await app.test_client().open(path, method=method, data="a=1")).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/things/7", "DELETE, GET, HEAD"),
        ("GET", "/api/things/actions", "POST"),
        ("DELETE", "/api/things/many", "POST"),
        ("GET", "/fast", "POST"),
        ("GET", "/limits/x", "PUT"),
    ],
)
async def test_another_method_is_not_allowed(app, method, path, allowed):
    answer = await app.test_client().open(path, method=method)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


async def test_guard_calls_the_fast_ones_and_the_dashboards_need_no_backend(app):
    answer = await app.test_client().post("/fast", data="x")
    assert await answer.get_data() == b"fast x"
    assert await (await app.test_client().get("/manual")).get_data() == b"page"
    assert list(streams(TABLE, get_backend)) == [("POST", "/api/things/many")]


def test_first_segments_are_reserved_and_all_but_pages_are_proxied():
    assert reserved(TABLE) == {"api", "limits", "fast", "manual"}
    assert proxied(TABLE) == ["/api", "/fast", "/limits"]
