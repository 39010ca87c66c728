"""The built page: what is served, what never is."""

import json

import pytest

from tests.producer.serving import connect, serving
from workqueue.services.producer.page import Page
from workqueue.services.producer.views import JobView

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
    """page/ as `make web` leaves it, and things around it that are nobody's business."""
    (tmp_path / "secret.txt").write_text("secret")
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "docs").mkdir()
    (page / "index.html").write_text("<!doctype html>index")
    (page / "assets" / "app-1a2b.js").write_text("js")
    (page / "assets" / "app.css").write_text("css")
    (page / "assets" / ".hidden.js").write_text("secret")
    (page / "scheme.js").write_text("scheme")
    (page / "docs" / "index.html").write_text("<!doctype html>docs")
    (page / "docs" / "swagger-ui.css").write_text("swagger")
    (page / ".env").write_text("secret")
    (page / "link.txt").symlink_to(tmp_path / "secret.txt")
    (page / "circle.txt").symlink_to(page / "circle.txt")
    return page


@pytest.fixture
async def built(redis_url, queue_name, folder):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}, page=folder) as client:
        yield client


@pytest.fixture
async def not_built(redis_url, queue_name, tmp_path):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}, page=tmp_path / "page") as client:
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


async def test_the_description_names_every_route_and_its_fields(not_built, client):
    document = (await not_built.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/enqueue", "/api/jobs", "/api/jobs/batch", "/api/jobs/{job_id}", "/api/jobs/{job_id}/artifact",
        "/api/jobs/{job_id}/runs", "/api/workers", "/api/overview", "/metrics", "/health", "/ready",
    }  # fmt: skip
    assert list(document["components"]["schemas"]["JobView"]["properties"]) == list(JobView.__struct_fields__)
    await client.post("/enqueue", json=document["paths"]["/enqueue"]["post"]["requestBody"]["content"][
        "application/json"]["example"])  # fmt: skip
    (row,) = (await client.get("/api/jobs")).json()
    assert set(row) == set(document["components"]["schemas"]["JobView"]["properties"])
    names = [reference.rpartition("/")[2] for reference in _references(document)]
    assert set(names) <= set(document["components"]["schemas"])


def _references(value: object) -> list[str]:
    return [part.partition('"')[0] for part in json.dumps(value).split('"$ref": "')[1:]]


def test_the_folder_is_the_one_that_the_wheel_brings():
    from workqueue.services.producer import page

    assert page.FOLDER.parts[-3:] == ("services", "producer", "page")
    assert isinstance(Page(page.FOLDER), Page)
