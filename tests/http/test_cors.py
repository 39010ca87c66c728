"""CORS: every answer of every status carries the headers; a preflight passes on any path."""

import pytest

from tests.producer.serving import serving

ONE, OTHER = "https://app.example", "http://localhost:5173"
EVERYWHERE = [
    ("GET", "/health", 200),
    ("GET", "/api/jobs", 200),
    ("GET", "/api/jobs/nonsense", 400),
    ("GET", "/api/jobs?limit=0", 400),
    ("POST", "/enqueue", 400),
    ("GET", "/enqueue", 405),
    ("GET", "/nope.txt", 404),
    ("GET", "/", 200),
]


@pytest.fixture
async def two_origins(redis_url, queue_name):
    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "ALLOWED_ORIGINS": f"{ONE}, {OTHER},"}
    async with serving(environ) as client:
        yield client


@pytest.fixture
async def any_origin(redis_url, queue_name):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "ALLOWED_ORIGINS": "*"}) as client:
        yield client


@pytest.mark.parametrize(("method", "path", "status"), EVERYWHERE)
async def test_every_answer_carries_the_headers(two_origins, method, path, status):
    for origin in (ONE, OTHER):
        answer = await two_origins.request(method, path, headers={"Origin": origin})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
        assert answer.headers["access-control-allow-headers"] == "Content-Type, Idempotency-Key, Authorization"
        assert answer.headers["access-control-expose-headers"] == "Link, X-Total-Count, X-Looked-Until"
        assert answer.headers["vary"] == "Origin"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "origin",
    [None, "https://evil.example", "https://app.example.evil.example", "https://app.example:444", "http://app.example",
     "HTTPS://APP.EXAMPLE", "null", "*", f"{ONE}, {OTHER}", ONE + "/"],
)  # fmt: skip
async def test_another_origin_is_not_allowed(two_origins, origin):
    for method in ("GET", "OPTIONS"):
        answer = await two_origins.request(method, "/health", headers={"Origin": origin} if origin else {})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
        assert answer.headers["vary"] == "Origin"


async def test_two_origin_headers_allow_nothing(two_origins):
    answer = await two_origins.get("/health", headers=[("Origin", ONE), ("Origin", OTHER)])
    assert "access-control-allow-origin" not in answer.headers


async def test_a_star_allows_every_origin_and_echoes_none(any_origin):
    for headers in ({}, {"Origin": ONE}, {"Origin": "https://any.example"}):
        for path, status in (("/health", 200), ("/enqueue", 405), ("/nope.txt", 404)):
            answer = await any_origin.get(path, headers=headers)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "vary" not in answer.headers


async def test_too_large_a_body_carries_them_too(any_origin):
    answer = await any_origin.post("/enqueue", content=b"x" * (1 << 21))
    assert answer.status_code == 413
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_bug_carries_them_too(any_origin, monkeypatch, caplog):
    async def broken(self: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("workqueue.core.queue.Queue.workers", broken)
    answer = await any_origin.get("/metrics")
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/enqueue", "/api/jobs", "/health", "/no/such/path", "/", "/nope.txt"])
async def test_a_preflight_passes_on_any_path(two_origins, path):
    asked = {"Origin": ONE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = await two_origins.options(path, headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ONE
    assert answer.headers["access-control-allow-headers"] == "Content-Type, Idempotency-Key, Authorization"
    assert (await two_origins.get("/health")).text == "ok"


async def test_without_the_setting_there_are_no_such_headers(redis_only):
    for method, path, status in [*EVERYWHERE, ("OPTIONS", "/enqueue", 405)]:
        answer = await redis_only.request(method, path, headers={"Origin": ONE})
        assert answer.status_code == (status if method != "POST" else 403)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "vary" not in answer.headers
