"""The page in a real Chromium, on a real producer and a real worker."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.cli.support import environ
from tests.web.scenarios import CHROMIUM, SCENARIOS
from workqueue.services.local.mail import run_mail_catcher
from workqueue.services.local.process import free_port
from workqueue.services.producer.dashboard import FOLDER

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install -y chromium"),
    pytest.mark.skipif(not (FOLDER / "index.html").exists(), reason="the page is not built: it needs Node >= 20.19"),
]


OPERATOR, READER = "the-secret-of-the-operator", "the-secret-of-the-wall"
API_TOKENS = f"ops:operate:{OPERATOR},wall:read:{READER}"


class System:
    """Where everything is."""

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.queue_name = f"page:{uuid4().hex}"
        self.producer_port = free_port()
        self.worker_port = free_port()
        self.guarded_port = free_port()
        self.other_sites = [free_port() for _ in range(3)]
        self.base = f"http://127.0.0.1:{self.producer_port}"
        self.guarded = f"http://127.0.0.1:{self.guarded_port}"  # a producer that asks for tokens
        self.worker = f"http://127.0.0.1:{self.worker_port}"


@pytest.fixture(scope="module")
def system(valkey, postgres, portal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    found = System(valkey.url)
    folder: Path = tmp_path_factory.mktemp("page")
    with portal.running(run_mail_catcher(folder)) as catcher:
        variables = environ(
            REDIS_URL=valkey.url, DATABASE_URL=postgres.url, DATABASE_SCHEMA=f"page_{uuid4().hex[:12]}",
            QUEUE_NAME=found.queue_name, SMTP_URL=catcher.url, WORKER_CONCURRENCY="4", WORKER_HANDLERS="tests.web.handlers",
            PRODUCER_PORT=str(found.producer_port), WORKER_PORT=str(found.worker_port),
            ALLOWED_ORIGINS=",".join(f"http://localhost:{port}" for port in found.other_sites[:2]),
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "workqueue.services.cli", name], env=variables | more, stdout=log, stderr=log
                )
                for name, more in (
                    ("producer", {}),
                    ("producer", {"PRODUCER_PORT": str(found.guarded_port), "API_TOKENS": API_TOKENS,
                                  "QUEUE_NAME": f"{found.queue_name}:guarded"}),
                    ("worker", {}),
                )
            ]  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            for url in (f"{found.base}/ready", f"{found.worker}/ready", f"{found.guarded}/health"):
                while not _is_ready(url):
                    assert time.monotonic() < deadline, (folder / "log").read_text()
                    time.sleep(0.05)
            yield found
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_person_sees_that(name: str, system: System):
    base = system.base
    more: list[str] = []
    if name.startswith("other_sites"):
        more = [system.worker, *map(str, system.other_sites)]
    elif name.startswith("a_hostile_page"):
        more = [str(free_port())]
    elif name.startswith("a_person_logs_in"):
        base, more = system.guarded, [OPERATOR, READER]
    elif name.startswith("dead_letters"):
        more = [system.redis_url, system.queue_name]
    done = subprocess.run(
        [sys.executable, "-m", "tests.web.scenarios", name, base, *more],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
