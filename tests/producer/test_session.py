"""The page's session: login, who it is, logout, and what becomes of it at a restart."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.producer.serving import serving
from tests.producer.tokens import API_TOKENS, SECRETS, bearer
from tests.support.wait import until
from workqueue.services.http.tokens import COOKIE


@pytest.fixture
def guarded_environ(redis_url: str, queue_name: str) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "API_TOKENS": API_TOKENS}


@pytest.fixture
async def guarded(guarded_environ):
    async with serving(guarded_environ) as client:
        yield client


async def log_in(client: httpx.AsyncClient, role: str = "operate", **headers: str) -> httpx.Response:
    return await client.post("/api/session", json={"token": SECRETS[role]}, headers=headers)


async def test_a_token_is_exchanged_for_a_session_that_is_looked_at_and_given_back(guarded):
    assert (await guarded.get("/api/session")).status_code == 401
    answer = await log_in(guarded)
    assert answer.status_code == 200
    ends_at = datetime.fromisoformat(answer.json()["ends_at"])
    assert timedelta(hours=11, minutes=59) < ends_at - datetime.now(UTC) <= timedelta(hours=12)
    assert answer.json() | {"ends_at": ""} == {"name": "operate-1", "role": "operate", "ends_at": ""}
    assert (await guarded.get("/api/session")).json() == answer.json()
    assert (await guarded.get("/api/overview")).status_code == 200
    assert (await guarded.get("/api/audit")).status_code == 403
    assert (await guarded.post("/enqueue", json={"type": "a"})).status_code == 200
    answer = await guarded.request("DELETE", "/api/session", json={})
    assert (answer.status_code, answer.content) == (204, b"")
    assert COOKIE not in guarded.cookies
    assert (await guarded.get("/api/overview")).status_code == 401


async def test_a_token_in_the_header_says_who_it_is_too(guarded):
    answer = await guarded.get("/api/session", headers=bearer("enqueue"))
    assert answer.json() == {"name": "enqueue-1", "role": "enqueue", "ends_at": None}


@pytest.mark.parametrize(
    ("headers", "is_secure"),
    [({}, False), ({"X-Forwarded-Proto": "https"}, True), ({"Origin": "https://127.0.0.1"}, True)],
)
async def test_the_cookie_is_the_servers_alone_and_never_has_the_secret(guarded, headers, is_secure: bool):
    if "Origin" in headers:
        headers = {"Origin": f"https://127.0.0.1:{guarded.base_url.port}"}
    answer = await log_in(guarded, **headers)
    [cookie] = answer.headers.get_list("set-cookie")
    value, *attributes = [part.strip() for part in cookie.split(";")]
    assert value.startswith(f"{COOKIE}=1.operate-1.")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(attributes)
    assert ("Secure" in attributes) == is_secure
    assert "Domain" not in cookie
    assert SECRETS["operate"] not in cookie
    assert answer.headers["cache-control"] == "no-store"


async def test_a_wrong_token_opens_none(guarded, caplog):
    for wrong in ("wrong", SECRETS["operate"] + "x", "", "é"):
        answer = await guarded.post("/api/session", json={"token": wrong})
        assert (answer.status_code, answer.text) == (401, "token required")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "set-cookie" not in answer.headers
    assert caplog.text.count("a wrong token came from 127.0.0.1 for POST '/api/session'") == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "invalid JSON body"), (b"{", "invalid JSON body"), (b"{}", 'the body must be {"token": "..."}'),
     (b'{"token": 1}', 'the body must be {"token": "..."}'),
     (b'{"token": "x", "y": 1}', 'the body must be {"token": "..."}')],
)  # fmt: skip
async def test_a_wrong_body_is_said_to_be_one(guarded, body: bytes, said: str):
    answer = await guarded.post("/api/session", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.text) == (400, said)


async def test_only_json_of_our_own_page_logs_in_or_out(guarded):
    content = f'{{"token": "{SECRETS["operate"]}"}}'.encode()
    answer = await guarded.post("/api/session", content=content, headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.text) == (415, "Content-Type must be application/json")
    answer = await log_in(guarded, Origin="https://evil.example")
    assert (answer.status_code, answer.text) == (403, "origin not allowed")
    await log_in(guarded)
    assert (await guarded.delete("/api/session")).status_code == 415


async def test_a_session_does_not_act_for_a_page_of_another_port(guarded):
    await log_in(guarded)
    for path in ("/enqueue", "/api/dead/retry", "/api/jobs/batch"):
        answer = await guarded.post(path, json={"type": "a"}, headers={"Origin": "http://127.0.0.1:3000"})
        assert (answer.status_code, answer.text) == (403, "origin not allowed")


async def test_a_session_outlasts_a_restart_and_ends_with_its_token(guarded_environ):
    async with serving(guarded_environ) as client:
        await log_in(client)
        cookie = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    async with serving(guarded_environ) as again:
        assert (await again.get("/api/session", headers=cookie)).json()["name"] == "operate-1"
    changed = API_TOKENS.replace(SECRETS["operate"], "another-secret-of-operate")
    async with serving(guarded_environ | {"API_TOKENS": changed}) as other:
        assert (await other.get("/api/session", headers=cookie)).status_code == 401


async def test_a_file_of_tokens_is_followed_while_the_producer_runs(redis_url, queue_name, tmp_path):
    path = tmp_path / "tokens"
    path.write_text(API_TOKENS.replace(",", "\n"))
    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "API_TOKENS_FILE": str(path)}
    async with serving(environ) as client:
        await log_in(client)
        assert (await client.get("/api/overview", headers=bearer("read"))).status_code == 200
        path.write_text("other:read:another-secret-of-read\n")

        async def is_followed() -> bool:
            return (await client.get("/api/overview", headers=bearer("read"))).status_code == 401

        await until(is_followed, seconds=5)
        assert (await client.get("/api/overview")).status_code == 401, "the session is gone with its token"
        new = {"Authorization": "Bearer another-secret-of-read"}
        assert (await client.get("/api/overview", headers=new)).status_code == 200


async def test_without_tokens_everything_is_open_and_there_is_nothing_to_log_in_to(redis_only):
    assert (await redis_only.get("/api/session")).json() == {"name": None, "role": "admin", "ends_at": None}
    answer = await log_in(redis_only)
    assert (answer.status_code, answer.text) == (404, "no tokens are set: everything is open")
    assert (await redis_only.request("DELETE", "/api/session", json={})).status_code == 204
