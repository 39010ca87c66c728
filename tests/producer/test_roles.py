"""Each route with each token: the table of routes against a table of roles that is written by hand."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.producer.serving import connect, serving
from tests.producer.tokens import API_TOKENS, ROLES, SECRETS, bearer
from workqueue.core.settings import load_settings
from workqueue.services.producer.api import ROUTES
from workqueue.services.producer.app import create_app
from workqueue.services.producer.routing import Route

#: A token's role -> the roles of routes that it may call.
MAY = {
    "enqueue": {"any", "enqueue"},
    "read": {"any", "read"},
    "operate": {"any", "enqueue", "read", "operate"},
    "admin": {"any", "enqueue", "read", "operate", "admin"},
}
#: All that needs no token. The token of a login is in its body.
PUBLIC = {("GET", "/health"), ("GET", "/"), ("POST", "/api/session")}
CALLERS: dict[str, dict[str, str]] = {
    "none": {},
    "wrong": {"Authorization": "Bearer of-no-token-at-all"},
    **{role: bearer(role) for role in ROLES},
}


@pytest.fixture
async def guarded(redis_url: str, queue_name: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "API_TOKENS": API_TOKENS}) as client:
        yield client


def path_of(route: Route) -> str:
    return (
        route.path.replace("{dead_id}", "0" * 16)
        .replace("{job_id}", "x")
        .replace("{action_id}", "x")
        .replace("{job_type}", "x/y")
        .replace("{scope}", "type:x/y")
    )


def expected(route: Route, caller: str) -> tuple[int, str] | None:
    """None: it may be called, whatever the answer."""
    if route.key in PUBLIC:
        return None
    if caller not in MAY:
        return 401, "token required"
    return None if route.role in MAY[caller] else (403, "not allowed")


def test_exactly_these_routes_need_no_token():
    assert {route.key for route in ROUTES if route.role == "public"} == PUBLIC


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_route_is_open_to_exactly_the_roles_that_it_names(guarded, caller: str):
    wrong = []
    for route in ROUTES:
        for method in (route.method, *(["HEAD"] if route.method == "GET" else [])):
            json: object = {} if method in {"POST", "PUT", "DELETE"} else None
            answer = await guarded.request(method, path_of(route), json=json, headers=CALLERS[caller])
            refused = None
            if answer.status_code in {401, 403}:
                refused = (
                    answer.status_code,
                    answer.text or {401: "token required", 403: "not allowed"}[answer.status_code],
                )
                assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
                assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            if refused != expected(route, caller):
                wrong.append((method, route.path, refused))
    assert wrong == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "MKCOL"])
async def test_another_method_tells_nothing_without_a_token(guarded, method: str):
    for path in ("/api/jobs", "/enqueue", "/metrics", "/api/nothing"):
        assert (await guarded.request(method, path)).status_code == 401, path
        status = 404 if path == "/api/nothing" else 405
        assert (await guarded.request(method, path, headers=bearer("enqueue"))).status_code == status


async def test_the_files_of_the_page_are_served_and_all_else_is_not(redis_url, queue_name, tmp_path):
    for name in ("index.html", "icon.svg", "assets/app.js", "docs/index.html", "docs/init.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "API_TOKENS": API_TOKENS}
    async with serving(environ, static=tmp_path) as client:
        for path in ("/", "/jobs", "/jobs/0199", "/new", "/icon.svg", "/assets/app.js"):
            assert (await client.get(path)).status_code == 200, path
            assert (await client.head(path)).status_code == 200, path
            assert (await client.post(path)).status_code == 401, path
        assert (await client.get("/nothing.js")).status_code == 404
        for path in ("/docs", "/docs/init.js", "/docs/index.html", "/docs/nothing", "/openapi.json", "/ready",
                     "/metrics", "/api", "/api/", "/api/nothing", "/enqueue/", "/health/x", "/metrics/"):  # fmt: skip
            assert (await client.get(path)).status_code == 401, path
        for path in ("/docs", "/docs/init.js", "/openapi.json"):
            assert (await client.get(path, headers=bearer("enqueue"))).status_code == 200, path


@pytest.mark.parametrize(
    "target",
    ["/api/jobs", "/%61pi/jobs", "//api/jobs", "/./api/jobs", "/x/../api/jobs", "http://127.0.0.1/api/jobs",
     "HTTP://localhost:80/api/jobs", "/api/jobs?token=x", "/api%2Fjobs", "/api//jobs", "api/jobs", "/api/jobs/"],
)  # fmt: skip
async def test_no_way_to_write_a_path_leads_round_the_check(guarded, target: str):
    async with await connect(guarded) as connection:
        await connection.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = await connection.answer()
    assert (answer.status, answer.body[:2] == b"[]") != (200, True)
    assert answer.status != 200 or b"WorkQueue" in answer.body, "the page"


async def test_behind_a_root_path_the_check_is_of_what_is_called(redis_url, queue_name):
    app = create_app(load_settings({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "API_TOKENS": API_TOKENS}))
    client = app.test_client()
    for path, root, status in (
        ("/root/api/jobs", "/root", 401),
        ("/root/metrics", "/root", 401),
        ("/rootapi/jobs", "/root", 401),
        ("/root/nothing.js", "/root", 404),
        ("/elsewhere", "/root", 404),  # nothing is called
        ("/api/jobs", "", 401),
    ):
        answer = await client.get(path, root_path=root)
        assert answer.status_code == status, path


async def test_a_body_is_not_read_before_the_token(guarded):
    """An hour's upload must not be taken from a client that may not send it."""
    for path in ("/enqueue", "/api/jobs/batch"):
        async with await connect(guarded) as connection:
            await connection.send(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n".encode() + b" " * 100_000
            )
            # What is near its end is read, so that the answer is seen; this is not.
            answer = await connection.answer(20)
            assert (answer.status, answer.body, answer.headers["connection"]) == (401, b"token required", "close")


async def test_jobs_are_accepted_with_a_token(guarded, tasks):
    answer = await guarded.post("/enqueue", json={"type": "a"}, headers=bearer("enqueue"))
    assert answer.status_code == 200
    answer = await guarded.post("/api/jobs/batch", content=b'{"type":"b"}\n' * 2, headers=bearer("enqueue"))
    assert answer.status_code == 200
    assert len(await tasks()) == 3


async def test_a_preflight_needs_no_token_and_its_request_does(redis_url, queue_name):
    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "API_TOKENS": API_TOKENS,
               "ALLOWED_ORIGINS": "https://app.example"}  # fmt: skip
    async with serving(environ) as client:
        origin = {"Origin": "https://app.example"}
        answer = await client.options("/api/jobs", headers=origin)
        assert answer.status_code == 204
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        answer = await client.get("/api/jobs", headers=origin)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "https://app.example")
        assert (await client.get("/api/jobs", headers=origin | bearer("read"))).status_code == 200


async def test_hosts_and_origins_are_checked_before_the_token(guarded):
    answer = await guarded.get("/api/jobs", headers={"Host": "evil.example"} | bearer("admin"))
    assert (answer.status_code, answer.text) == (421, "unknown host")
    answer = await guarded.post("/enqueue", headers={"Origin": "https://evil.example"} | bearer("admin"))
    assert (answer.status_code, answer.text) == (403, "origin not allowed")


async def test_no_answer_and_no_line_of_the_log_has_a_secret(guarded, caplog):
    said = ""
    for role in ROLES:
        for path in ("/api/session", "/api/overview", "/api/jobs", "/openapi.json", "/api/nothing", "/ready"):
            answer = await guarded.get(path, headers=bearer(role))
            said += answer.text + str(answer.headers)
        said += (await guarded.post("/api/session", json={"token": SECRETS[role]})).text
        said += (await guarded.post("/api/session", json={"token": f"{SECRETS[role]}x"})).text
        said += (await guarded.post("/api/session", json={"token": [SECRETS[role]]})).text
    assert not [secret for secret in SECRETS.values() if secret in said + caplog.text]
