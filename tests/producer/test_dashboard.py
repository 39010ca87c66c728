"""The built dashboard: what is served, what never is."""

import pytest

from tests.producer.serving import connect, serving
from workqueue.services.producer.dashboard import FOLDER

CSP = (
    "default-src 'self'; img-src 'self' data: blob:; frame-src 'self'; object-src 'none'; script-src 'self'; "
    "style-src 'self'"
)
STRANGE = [
    "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/../../secret.txt",
    "/assets/%2e%2e/%2e%2e/secret.txt", "/..%5csecret.txt", "/%00.txt", "/.env", "/assets/.hidden.js", "/link.txt",
    "/circle.txt", "//etc/passwd.txt", "/" + "x" * 5000 + ".js", "/" + "%F0%9F%90%98" * 200 + ".js", "/assets",
    "/assets.x/", "/%252e%252e/secret.txt", "/%c0%ae%c0%ae/secret.txt", "/%2e%2e%2fsecret.txt", "/.%2e/secret.txt",
    "/%e2%80%a5/secret.txt", "/%ef%bc%8e%ef%bc%8e/secret.txt", "/assets/..;/../secret.txt",
    "/assets//..//../secret.txt",
    "/....//secret.txt", "/..%5c..%5csecret.txt", "/%5c..%5csecret.txt", "/..%00/secret.txt", "/secret.txt%00.js",
    "/assets/%2e%2e%2f%2e%2e%2fsecret.txt", "/file:///etc/passwd.txt", "/%2fetc%2fpasswd.txt", "/%ff%fe/secret.txt",
    "/%2e%2e", "/..", "/.", "/assets/..", "/~root/secret.txt", "/C:%5csecret.txt", "/proc/self/environ.txt",
    "http://localhost/../secret.txt", "http://localhost/%2e%2e/secret.txt", "/?/../secret.txt",
    "/assets/app.css/..%2f..",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """static/ as `make web` leaves it, and files around it that must never be sent."""
    (tmp_path / "secret.txt").write_text("secret")
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "docs").mkdir()
    (static / "index.html").write_text("<!doctype html>index")
    (static / "assets" / "app-1a2b.js").write_text("js")
    (static / "assets" / "app.css").write_text("css")
    (static / "assets" / ".hidden.js").write_text("secret")
    (static / "scheme.js").write_text("scheme")
    (static / "docs" / "index.html").write_text("<!doctype html>docs")
    (static / "docs" / "swagger-ui.css").write_text("swagger")
    (static / ".env").write_text("secret")
    (static / "link.txt").symlink_to(tmp_path / "secret.txt")
    (static / "circle.txt").symlink_to(static / "circle.txt")
    return static


@pytest.fixture
async def built(redis_url, queue_name, folder):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}, static=folder) as client:
        yield client


@pytest.fixture
async def not_built(redis_url, queue_name, tmp_path):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}, static=tmp_path / "static") as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/index.html", "/jobs", "/jobs/123", "/some/where"])
async def test_client_side_routes_get_the_page(built, path):
    answer = await built.get(path)
    assert (answer.status_code, answer.text) == (200, "<!doctype html>index")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith(CSP)
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "content_type", "text"),
    [
        ("/assets/app-1a2b.js", "text/javascript; charset=utf-8", "js"),
        ("/assets/app.css", "text/css; charset=utf-8", "css"),
        ("/scheme.js", "text/javascript; charset=utf-8", "scheme"),
        ("/docs", "text/html; charset=utf-8", "<!doctype html>docs"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8", "swagger"),
    ],
)
async def test_files_have_their_own_types(built, path, content_type, text):
    answer = await built.get(path)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, content_type, text)
    forever = "immutable" in answer.headers["cache-control"]
    assert forever == path.startswith("/assets/")
    assert answer.headers["content-security-policy"].startswith(CSP)


@pytest.mark.parametrize("path", STRANGE)
async def test_nothing_outside_of_the_folder_is_ever_sent(built, path):
    async with await connect(built) as connection:  # httpx would tidy the path up
        answer = await connection.get(path)
    assert b"secret" not in answer.body
    assert b"root:" not in answer.body
    assert answer.status in {200, 404}
    assert answer.status == 404 or answer.body == b"<!doctype html>index"


@pytest.mark.parametrize("path", ["/api", "/api/x", "/api/jobs/x/y", "/health/x", "/docs/no", "/x.js", "/assets/x.js"])
async def test_what_is_no_page_is_not_found(built, path):
    answer = await built.get(path)
    assert (answer.status_code, answer.text) == (404, "not found")


async def test_only_get_asks_for_a_page(built):
    answer = await built.post("/jobs")
    assert (answer.status_code, answer.text) == (404, "not found")
    answer = await built.post("/")
    assert (answer.status_code, answer.text) == (405, "method not allowed")


async def test_a_page_that_is_not_built_says_how(not_built):
    answer = await not_built.get("/")
    assert answer.status_code == 200
    assert "make web" in answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    answer = await not_built.get("/docs")
    assert (answer.status_code, "make web" in answer.text, answer.text.count("\n")) == (404, True, 0)
    answer = await not_built.get("/jobs")
    assert (answer.status_code, answer.text) == (404, "not found")


async def test_a_page_built_meanwhile_is_served(not_built, folder):
    assert (await not_built.get("/")).text == "<!doctype html>index"


def test_the_folder_is_the_one_that_the_wheel_brings():
    assert FOLDER.parts[-3:] == ("services", "producer", "static")


async def test_the_address_of_the_api_leads_a_browser_to_the_form(client):
    answer = await client.get("/enqueue", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/new")
    for accept in ("*/*", "application/json"):
        answer = await client.get("/enqueue", headers={"Accept": accept})
        assert (answer.status_code, answer.text, answer.headers["allow"]) == (405, "method not allowed", "POST")
    assert (await client.get("/api/jobs/actions", headers={"Accept": "text/html"})).status_code in {400, 405}
