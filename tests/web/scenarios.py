"""What a person does in a browser: `python -m tests.web.scenarios NAME BASE [more]`.

Processes of their own, because Playwright's synchronous API and trio-asyncio do not share one.
"""

import json
import shutil
import sys
import time
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from playwright.sync_api import Browser, Page, expect, sync_playwright
from redis import Redis

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def watched(opened: Browser, base: str, **options: Any) -> Iterator[Page]:
    """A page that may say nothing on the console and send requests to us alone (and Chromium's own PDF viewer)."""
    page = opened.new_page(**options)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((base, "data:", "blob:", "chrome-extension:", "chrome:"))
            else faults.append(request.url)
        ),
    )
    page.set_default_timeout(15_000)
    yield page
    page.close()
    assert not faults, faults


def enqueue_and_see_it_completed(base: str) -> None:
    with browser() as opened, watched(opened, base) as page:
        page.goto(f"{base}/")
        page.get_by_role("link", name="Enqueue").first.click()
        page.get_by_role("button", name="resize_image").click()
        page.locator("form button[type=submit]").click()
        outcome = page.locator("output.outcome")
        expect(outcome).to_contain_text("completed")
        outcome.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("resize_image")
        picture = page.get_by_role("img", name="Artifact image.png")
        expect(picture).to_be_visible()
        expect(picture).to_have_js_property("naturalWidth", 64)
        expect(page.locator("pre.json").nth(1)).to_contain_text('"width": 64')


def a_pdf_is_shown_and_a_failure_says_why(base: str) -> None:
    with browser() as opened, watched(opened, base) as page:
        page.goto(f"{base}/new")
        page.get_by_role("button", name="generate_pdf").click()
        page.locator("form button[type=submit]").click()
        expect(page.locator("output.outcome")).to_contain_text("completed")
        page.locator("output.outcome").get_by_role("link").click()
        frame = page.locator("iframe.artifact")
        expect(frame).to_be_visible()
        source = frame.get_attribute("src")
        answer = page.request.get(f"{base}{source}")
        assert answer.body().startswith(b"%PDF"), answer.body()[:20]

        page.goto(f"{base}/new")
        page.get_by_label("Type").fill("send_email")
        page.get_by_label("Payload (JSON)").fill('{"subject": "Hi"}')
        page.locator("form button[type=submit]").click()
        expect(page.locator("output.outcome")).to_contain_text("failed")
        page.locator("output.outcome").get_by_role("link").click()
        expect(page.locator(".trace-error")).to_contain_text("payload.to: missing")

        page.goto(f"{base}/new")
        page.get_by_label("Payload (JSON)").fill('{"to": ')
        expect(page.locator("form button[type=submit]")).to_be_disabled()
        expect(page.locator(".fault")).to_be_visible()


def a_job_chooses_a_queue_and_a_delay_in_the_form(base: str) -> None:
    with browser() as opened, watched(opened, base) as page:
        page.goto(f"{base}/new")
        page.get_by_label("Type").fill("import_pages")
        page.get_by_label("Payload (JSON)").fill("{}")
        page.get_by_text("More options").click()
        page.get_by_label("Queue").fill("not a queue")
        expect(page.locator("form button[type=submit]")).to_be_disabled()
        page.get_by_label("Queue").fill("later")
        page.get_by_label("Delay (seconds)").fill("3600")
        page.get_by_label("Timeout of a run (seconds)").fill("30")
        expect(page.locator("code").first).to_contain_text('"delay":3600,"timeout":30')
        page.locator("form button[type=submit]").click()
        expect(page.locator("output.outcome")).to_contain_text("scheduled")
        page.locator("output.outcome").get_by_role("link").click()
        expect(page.locator(".facts")).to_contain_text("later")
        expect(page.locator(".facts")).to_contain_text("runs again")
        page.get_by_role("button", name="Run now").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("completed")


def a_failed_job_is_retried_and_deleted_with_clicks(base: str) -> None:
    with browser() as opened, watched(opened, base) as page:
        body = {"type": "send_email", "retries": 5, "payload": {"subject": "Hi"}}
        job_id = page.request.post(f"{base}/enqueue", data=body).json()["job_id"]
        page.goto(f"{base}/jobs/{job_id}")
        heading = page.get_by_role("heading", level=1)
        expect(heading).to_contain_text("failed")  # the payload lacks `to`: no retry would help
        page.get_by_role("button", name="Retry").click()
        expect(page.locator("ol.runs li")).to_have_count(2)
        expect(heading).to_contain_text("failed")
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete for good?").click()
        expect(page).to_have_url(f"{base}/jobs")
        assert page.request.get(f"{base}/api/jobs/{job_id}").status == 404


def a_running_job_tells_how_far_it_is_and_what_it_does(base: str) -> None:
    with browser() as opened, watched(opened, base) as page:
        body = {"type": "import_pages", "payload": {"seconds": 60}}
        job_id = page.request.post(f"{base}/enqueue", data=body).json()["job_id"]
        page.goto(f"{base}/jobs/{job_id}")
        log = page.get_by_role("region", name="Log")
        expect(log).to_contain_text("page 4 of 4 <b>read</b>")
        expect(page.get_by_label("Progress")).to_have_attribute("value", "1")
        expect(page.locator(".facts")).to_contain_text("100 % page 4 of 4")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel it?").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
        expect(log).to_contain_text("page 1 of 4")


def all_that_the_list_shows_is_retried_and_deleted(base: str) -> None:
    with browser() as opened, watched(opened, base) as page:
        body = {"type": "import_pages", "payload": {"fails": True}}
        for _ in range(60):  # more than one page shows
            job_id = page.request.post(f"{base}/enqueue", data=body).json()["job_id"]
        page.goto(f"{base}/jobs?status=failed&type=import_pages")
        retry = page.get_by_role("button", name="Retry all")
        deadline = time.monotonic() + 60
        while page.get_by_role("button", name="Retry 60 jobs?").count() == 0:
            assert time.monotonic() < deadline
            page.wait_for_timeout(1000)
            if retry.count():
                retry.click()
                page.wait_for_timeout(500)
        page.get_by_role("button", name="Retry 60 jobs?").click()
        expect(page.get_by_role("status")).to_contain_text("60 jobs retried.")
        deadline = time.monotonic() + 60
        while len((shown := page.request.get(f"{base}/api/jobs/{job_id}").json())["runs"]) < 2:
            assert time.monotonic() < deadline, shown
            page.wait_for_timeout(200)
        while page.get_by_role("button", name="Delete 60 jobs?").count() == 0:
            assert time.monotonic() < deadline + 60
            page.wait_for_timeout(1000)
            if (delete := page.get_by_role("button", name="Delete all")).count():
                delete.click()
                page.wait_for_timeout(500)
        page.get_by_role("button", name="Delete 60 jobs?").click()
        expect(page.get_by_text("No jobs match")).to_be_visible()


def the_list_follows_filters_and_is_walked_by_keys(base: str) -> None:
    with browser() as opened, watched(opened, base) as page:
        for number in range(60):
            body = {"type": "send_email", "payload": {"to": f"a{number}@example.com", "subject": "Hi"}}
            assert page.request.post(f"{base}/enqueue", data=body).ok
        page.goto(f"{base}/")
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        page.keyboard.press("g")
        page.keyboard.press("j")
        expect(page).to_have_url(f"{base}/jobs")
        rows = page.locator("table.jobs tbody tr")
        expect(rows).to_have_count(50)
        before = rows.first.get_attribute("id")
        page.request.post(f"{base}/enqueue", data={"type": "generate_pdf", "payload": {"title": "new"}})
        expect(rows.first).not_to_have_attribute("id", before or "")  # it follows by itself
        page.get_by_role("link", name="Older").click()
        expect(page.get_by_role("link", name="Newest")).to_be_visible()
        expect(rows.first).to_be_visible()
        page.get_by_role("link", name="completed").click()
        page.get_by_label("Type").fill("generate_pdf")
        page.get_by_label("Type").press("Enter")
        expect(page).to_have_url(f"{base}/jobs?status=completed&type=generate_pdf")
        expect(rows.first).to_contain_text("generate_pdf")
        page.reload()  # the URL is the page's state
        expect(rows.first).to_contain_text("generate_pdf")
        page.locator("h1").first.click(force=True)
        page.locator("body").press("j")
        page.locator("body").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("generate_pdf")
        page.go_back()
        page.keyboard.press("p")
        expect(page.locator(".following")).to_contain_text("paused")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()


def dead_letters_are_read_retried_and_deleted(base: str, redis_url: str, queue: str) -> None:
    entry = {"reason": "ValueError: no", "at": "2026-11-29T12:00:00Z"}
    task = json.dumps({"type": "generate_pdf", "payload": {"title": "A " + "long " * 150 + "end"}})
    with browser() as opened, watched(opened, base) as page, Redis.from_url(redis_url) as redis:
        redis.rpush(f"{{{queue}}}:dead", json.dumps(entry | {"task": task}), b"\xff of another program")
        redis.rpush(queue, "no JSON")  # the worker moves it there
        page.goto(f"{base}/")
        number = page.get_by_role("definition").get_by_role("link", name="3")
        number.click()
        expect(page).to_have_url(f"{base}/dead")
        letters = page.locator("ol.dead > li")
        expect(letters).to_have_count(3)
        expect(letters.nth(0)).to_contain_text("no valid task")
        expect(letters.nth(1)).to_contain_text("another program has put it here")
        expect(letters.nth(2)).to_contain_text("ValueError: no")
        expect(letters.nth(2)).not_to_contain_text("end")
        letters.nth(2).get_by_role("button", name="Show all of it").click()
        expect(letters.nth(2)).to_contain_text("end")
        faults = []
        for scheme in SCHEMES:
            for width, height in SIZES:
                with closing(
                    opened.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
                ) as another:
                    another.goto(f"{base}/dead")
                    expect(another.locator("ol.dead > li")).to_have_count(3)
                    faults += accessibility_faults(another, f"/dead {scheme} {width}")
        assert not faults, "\n".join(faults)

        letters.nth(0).get_by_role("button", name="Delete").click()
        letters.nth(0).get_by_role("button", name="Delete for good?").click()
        expect(letters).to_have_count(2)
        page.get_by_role("button", name="Retry all").click()
        page.get_by_role("button", name="Retry all 2?").click()
        expect(page.locator("output.done")).to_have_text("1 retried, 1 cannot be retried and stays.")
        expect(letters).to_have_count(1)
        page.goto(f"{base}/jobs?type=generate_pdf")
        expect(page.locator("table.jobs tbody tr").first).to_contain_text("completed")
        page.goto(f"{base}/dead")
        letters.nth(0).get_by_role("button", name="Delete").click()
        letters.nth(0).get_by_role("button", name="Delete for good?").click()
        expect(page.get_by_role("heading", name="No dead letters")).to_be_visible()


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES = ((1440, 900), (360, 740))


def accessibility_faults(page: Page, where: str) -> list[str]:
    """What axe finds on a page that bypasses its Content-Security-Policy, and whether it is too wide."""
    page.add_script_tag(path=AXE)
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    faults = []
    for violation in page.evaluate("(rules) => axe.run(document, rules)", rules)["violations"]:
        nodes = [node["html"][:120] for node in violation["nodes"]][:3]
        faults.append(f"{where}: {violation['id']}: {violation['help']}: {nodes}")
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        faults.append(f"{where}: wider than the screen")
    return faults


def every_page_is_accessible_at_both_widths_and_in_both_schemes(base: str) -> None:
    with browser() as opened:
        page = opened.new_page()
        failed = page.request.post(f"{base}/enqueue", data={"type": "import_pages", "payload": {"fails": True}}).json()[
            "job_id"
        ]
        done = page.request.post(f"{base}/enqueue", data={"type": "generate_pdf", "payload": {"title": "x"}}).json()[
            "job_id"
        ]
        page.close()
        faults = []
        for scheme in SCHEMES:
            for width, height in SIZES:
                # axe is put into the page, which its Content-Security-Policy would refuse otherwise.
                page = opened.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                    bypass_csp=True,
                )
                for path in (
                    "/",
                    "/jobs",
                    f"/jobs/{failed}",
                    f"/jobs/{done}",
                    "/workers",
                    "/dead",
                    "/new",
                    "/jobs?type=nothing",
                ):
                    page.goto(f"{base}{path}")
                    page.locator("h1").first.wait_for(state="attached")
                    expect(page.locator(".skeleton")).to_have_count(0)
                    faults += accessibility_faults(page, f"{path} {scheme} {width}")
                page.close()
        assert not faults, "\n".join(faults)


def the_api_can_be_browsed(base: str) -> None:
    with browser() as opened, watched(opened, base) as page:
        page.goto(f"{base}/docs")
        expect(page.get_by_text("Accept a job")).to_be_visible()


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, *_: object) -> None: ...


def other_sites_may_ask_exactly_where_they_are_allowed(base: str, worker: str, *ports: str) -> None:
    """ALLOWED_ORIGINS names the first two of three origins."""
    ask = """async ([url, options]) => {
        try {
            const answer = await fetch(url, options);
            return [answer.status, await answer.text(), answer.headers.get("Link")];
        } catch (error) { return "refused"; }
    }"""
    json_post = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": '{"type":"send_email"}'}
    with browser() as opened:
        for index, port in enumerate(ports):
            server = ThreadingHTTPServer(("127.0.0.1", int(port)), _Page)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            page = opened.new_page()
            for _ in range(2):  # a list of one has a next page then
                assert page.request.post(f"{base}/enqueue", data={"type": "send_email"}).ok
            page.goto(f"http://localhost:{port}/")
            answers = {
                "list": page.evaluate(ask, [f"{base}/api/jobs?limit=1", {}]),
                "post": page.evaluate(ask, [f"{base}/enqueue", json_post]),
                "error": page.evaluate(ask, [f"{base}/api/jobs/no-id", {}]),
                "metrics": page.evaluate(ask, [f"{worker}/metrics", {}]),
                "lost": page.evaluate(ask, [f"{worker}/nothing/here", {}]),
            }
            if index < 2:
                assert answers["list"][0] == 200, answers
                assert 'rel="next"' in answers["list"][2], answers
                assert answers["post"][0] == 200, answers
                assert answers["error"][:2] == [400, "not a job id"], answers
                assert json.loads(answers["metrics"][1])["queue_name"], answers
                assert answers["lost"][:2] == [404, "not found"], answers
            else:
                assert set(map(str, answers.values())) == {"refused"}, answers
            page.close()
            server.shutdown()


STORED = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>"><svg onload=window.hit=1>'


def stored_script_is_shown_and_does_not_run(base: str) -> None:
    """In a payload, a type, an error and its traceback, on each page that shows them, and on /docs."""
    jobs = [
        {"type": STORED, "payload": {STORED: STORED}},
        {"type": "javascript:window.hit=1//", "payload": {"a": ["</script>" + STORED]}},
        {"type": "send_email", "payload": {"to": STORED, "subject": STORED, "body": STORED}},
        {"type": "generate_pdf", "payload": {"title": STORED, "body": STORED}},
        {"type": "resize_image", "payload": {"image": STORED, STORED: 1}},
    ]
    with browser() as opened, watched(opened, base) as page:
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        faults: list[str] = []
        ids = [page.request.post(f"{base}/enqueue", data=job).json()["job_id"] for job in jobs]
        for job_id in ids:
            job = page.request.get(f"{base}/api/jobs/{job_id}?wait=30").json()
            assert job["status"] not in {"pending", "processing"}
        paths = ["/", "/jobs", "/workers", "/new", "/docs", f"/jobs?type={quote(STORED)}"]
        for path in [*paths, *(f"/jobs/{job_id}" for job_id in ids)]:
            page.goto(f"{base}{path}")
            page.locator("h1, .swagger-ui .title").first.wait_for(state="attached")
            page.wait_for_timeout(200)
            assert page.evaluate("window.hit") is None, path
        page.goto(f"{base}/jobs/{ids[0]}")
        expect(page.locator("body")).to_contain_text(STORED)
        assert not faults, faults


class _HostilePage(_Page):
    """It posts what a browser posts without asking first."""

    TARGET = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(
            f"""<!doctype html><title>hostile</title>
            <form id=f method=post enctype=text/plain action="{self.TARGET}/enqueue" target=out>
            <input name='{{"type":"send_email","payload":{{"a":"' value='"}}}}'></form><iframe name=out></iframe>
            """.encode()
        )


def a_hostile_page_enqueues_nothing_and_reads_nothing(base: str, port: str) -> None:
    _HostilePage.TARGET = base
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), _HostilePage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    send = """async ([url, body]) => {
        try { return (await fetch(url, {method: "POST", body, mode: "no-cors"})).type; }
        catch (error) { return "refused"; }
    }"""
    with sync_playwright() as playwright:
        # A name that is neither an address nor loopback's, as a page on the internet has one.
        names = "--host-resolver-rules=MAP hostile.example 127.0.0.1"
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, names])
        page = opened.new_page()
        count = "async (url) => (await (await fetch(url)).json()).length"
        page.goto(f"{base}/")
        before = page.evaluate(count, f"{base}/api/jobs?type=hostile&limit=500")
        page.goto(f"http://hostile.example:{port}/")
        with page.expect_response(lambda answer: answer.url.endswith("/enqueue")) as posted:
            page.evaluate("document.getElementById('f').submit()")
        assert posted.value.status == 403, posted.value.status
        line = '{"type":"hostile"}'
        statuses: list[int] = []
        page.on("response", lambda answer: statuses.append(answer.status))
        for path, body in (("/enqueue", line), ("/api/jobs/batch", f"{line}\n" * 1000)):
            page.evaluate(send, [f"{base}{path}", body])
            page.evaluate("([url, body]) => navigator.sendBeacon(url, body)", [f"{base}{path}", body])
        page.wait_for_timeout(500)
        assert statuses, "nothing was sent"
        assert set(statuses) == {403}, statuses
        # A name of its own that leads to us: what it asks for, it would be allowed to read.
        rebound = page.goto(f"http://hostile.example:{base.rpartition(':')[2]}/api/jobs")
        assert rebound is not None
        assert (rebound.status, rebound.text()) == (421, "unknown host")
        page.goto(f"{base}/")
        assert page.evaluate(count, f"{base}/api/jobs?type=hostile&limit=500") == before
        opened.close()
    server.shutdown()


def a_person_logs_in_acts_and_logs_out(base: str, operator: str, reader: str) -> None:
    """`base` asks for tokens: of these two, named ops and wall."""
    with browser() as opened:
        faults = []
        for scheme in SCHEMES:
            for width, height in SIZES:
                with closing(
                    opened.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
                ) as another:
                    another.goto(f"{base}/")
                    expect(another.get_by_label("Token")).to_be_visible()
                    faults += accessibility_faults(another, f"login {scheme} {width}")
        assert not faults, "\n".join(faults)

        page = opened.new_page()
        page.set_default_timeout(15_000)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{base}/jobs?type=send_email")
        token = page.get_by_label("Token")
        token.fill(f"{operator}x")
        token.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("There is no such token.")
        token.fill(operator)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Jobs")
        expect(page).to_have_url(f"{base}/jobs?type=send_email")
        expect(page.locator(".who")).to_contain_text("ops (operate)")
        [cookie] = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False), cookie
        assert operator not in cookie["value"]
        stored = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"
        assert cookie["value"] not in page.evaluate(stored)
        assert operator not in page.evaluate(stored)

        page.reload()
        expect(page.locator(".who")).to_contain_text("ops (operate)")
        page.goto(f"{base}/new")
        page.locator("form button[type=submit]").click()
        page.locator("output.outcome").get_by_role("link").click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel it?").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
        job = page.url
        page.goto(f"{base}/docs")
        expect(page.get_by_text("Accept a job")).to_be_visible()

        page.goto(f"{base}/")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        assert page.context.cookies() == []
        answer = page.request.get(f"{base}/docs")
        assert (answer.status, answer.text()) == (401, "token required")

        page.goto(job)
        token.fill(reader)
        token.press("Enter")
        expect(page.locator(".who")).to_contain_text("wall (read)")
        page.get_by_role("button", name="Retry").click()
        expect(page.get_by_role("alert")).to_contain_text("not allowed (403)")
        assert not [text for text in said if "status of 401" not in text and "status of 403" not in text], said


SCENARIOS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        enqueue_and_see_it_completed,
        a_pdf_is_shown_and_a_failure_says_why,
        a_job_chooses_a_queue_and_a_delay_in_the_form,
        a_failed_job_is_retried_and_deleted_with_clicks,
        a_running_job_tells_how_far_it_is_and_what_it_does,
        all_that_the_list_shows_is_retried_and_deleted,
        dead_letters_are_read_retried_and_deleted,
        the_list_follows_filters_and_is_walked_by_keys,
        every_page_is_accessible_at_both_widths_and_in_both_schemes,
        the_api_can_be_browsed,
        other_sites_may_ask_exactly_where_they_are_allowed,
        stored_script_is_shown_and_does_not_run,
        a_hostile_page_enqueues_nothing_and_reads_nothing,
        a_person_logs_in_acts_and_logs_out,
    )
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](*sys.argv[2:])
