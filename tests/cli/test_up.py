"""`workqueue up` as a newcomer runs it: everything starts, three jobs run, Ctrl-C leaves nothing behind."""

import hashlib
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trio

from tests.cli.support import Terminal, environ, workqueue
from tests.support.wait import until, until_true
from workqueue.services.local.postgres import ROOT_RUNS_AS
from workqueue.services.local.process import free_port


class Up:
    """A running `workqueue up`. Mutable state: what it has said so far."""

    def __init__(self, process: trio.Process, home: Path, ports: dict[str, str]) -> None:
        self.process = process
        self.home = home
        self.ports = ports
        self.base = f"http://127.0.0.1:{ports['PRODUCER_PORT']}"
        self.said = ""

    async def listen(self) -> None:
        assert self.process.stdout is not None
        with suppress(trio.ClosedResourceError):
            async for piece in self.process.stdout:
                self.said += piece.decode()

    def children(self) -> dict[str, int]:
        """Pid of every process of ours below this one, by what its command line says."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                line = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == self.process.pid and line:  # without a line: it has died and is not reaped yet
                words = {"valkey-server": "valkey", "postgres": "postgres", "mail_catcher": "mail"}
                name = next((short for word, short in words.items() if word in line), line.split("\0")[-2])
                found[name] = int(folder.name)
        return found


@asynccontextmanager
async def running(home: Path, nursery: trio.Nursery, **variables: str) -> AsyncIterator[Up]:
    ports = {"PRODUCER_PORT": str(free_port()), "WORKER_PORT": str(free_port())}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "workqueue.services.cli", "up"],
        env=environ(WORKQUEUE_HOME=str(home), **ports, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    up = Up(process, home, ports)
    nursery.start_soon(up.listen)
    try:
        await until_true(lambda: "WorkQueue runs." in up.said or process.poll() is not None, seconds=60)
        assert process.poll() is None, up.said
        yield up
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            with trio.move_on_after(30):
                await process.wait()
            if process.poll() is None:
                process.kill()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
async def test_up_runs_everything_and_ctrl_c_ends_everything(tmp_path: Path, nursery: trio.Nursery):
    tmp_path.chmod(0o711)
    async with running(tmp_path / "home", nursery) as up:
        children = up.children()
        assert set(children) == {"valkey", "postgres", "mail", "producer", "worker"}
        async with httpx.AsyncClient(base_url=up.base, timeout=10) as client:
            body = {"type": "send_email", "payload": {"to": "a@example.com", "subject": "Hi"}}
            job_id = (await client.post("/enqueue", json=body)).json()["job_id"]

            async def completed() -> bool:
                return (await client.get(f"/api/jobs/{job_id}")).json()["status"] == "completed"

            await until(completed, seconds=20)
            assert len(list((up.home / "mail" / "mails").glob("*.eml"))) == 1

            # What jobs have brought along is for its owner alone.
            open_ones = [file for file in up.home.rglob("*") if file.is_file() and file.stat().st_mode & 0o077]
            assert not [file for file in open_ones if "owned" not in file.parts], open_ones
            assert up.home.stat().st_mode & 0o066 == 0
            owner = Path(f"/proc/{children['postgres']}").stat().st_uid
            assert owner == os.geteuid() or pwd.getpwuid(owner).pw_name == ROOT_RUNS_AS

            # A second `up` in the same folder, and one whose port is taken, say so before they start anything.
            second = workqueue("up", WORKQUEUE_HOME=str(up.home), PRODUCER_PORT=str(free_port()), WORKER_PORT="0")
            assert second.returncode == 1
            assert "`workqueue up` runs already in" in second.stderr
            taken = workqueue("up", WORKQUEUE_HOME=str(tmp_path / "other"), **up.ports)
            assert taken.returncode == 1
            assert f"port {up.ports['PRODUCER_PORT']} for the producer is in use" in taken.stderr
            assert not (tmp_path / "other").exists()

            # A child that dies is started again, and said so.
            os.kill(children["worker"], signal.SIGKILL)
            await until_true(lambda: up.children().get("worker", children["worker"]) != children["worker"], seconds=20)
            await until_true(lambda: "worker has ended by itself; it is started again" in up.said)
            os.kill(children["valkey"], signal.SIGKILL)
            await until_true(lambda: up.children().get("valkey", children["valkey"]) != children["valkey"], seconds=20)

            async def enqueued() -> bool:
                try:
                    return (await client.post("/enqueue", json={"type": "generate_pdf"})).status_code == 200
                except httpx.HTTPError:
                    return False

            await until(enqueued, seconds=20)
        up.process.send_signal(signal.SIGINT)
        assert await up.process.wait() == 0
    await until_true(lambda: not up.children())
    ends = [up.said.index(f"ending {name}") for name in ("worker", "producer", "mail", "Postgres", "Valkey")]
    assert ends == sorted(ends), "in the reverse order of the start"
    assert "Traceback" not in up.said
    assert "\x1b" not in up.said, "no colours in a pipe"
    assert re.search(r"^ *worker \| \d{4}-\d\d-\d\dT.* takes jobs from ", up.said, re.MULTILINE), "lines as they are"
    kept = dict(
        re.findall(r"^  (Data|Jobs|Mails|Start again) +(.+)$", up.said.partition("everything has ended")[2], re.M)
    )
    assert kept["Data"] == str(tmp_path / "home")
    folder = kept["Jobs"] if "Jobs" in kept else kept["Data"]
    assert any(Path(folder).rglob("PG_VERSION")), "the folder that is named has the rows"
    assert kept["Mails"] == f"1 caught in {up.home / 'mail' / 'mails'}"
    assert kept["Start again"].startswith(f"WORKQUEUE_HOME={up.home} ")
    assert kept["Start again"].endswith(" up")
    passwords = [file.read_text("ascii") for file in (tmp_path / "home").rglob("password")]
    assert passwords
    assert not any(password in up.said for password in passwords), "what is printed may end in a log"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(up.ports["PRODUCER_PORT"])), 1).close()

    # The data is there again, and the second start is quick.
    begun = trio.current_time()
    async with running(tmp_path / "home", nursery) as again:
        assert trio.current_time() - begun < 60  # 5 s on a quiet machine
        async with httpx.AsyncClient(base_url=again.base, timeout=10) as client:
            assert job_id in {job["id"] for job in json.loads((await client.get("/api/jobs")).content)}
        # Its terminal is closed: what it says goes nowhere, and all of it ends.
        assert again.process.stdout is not None
        await again.process.stdout.aclose()
        again.process.send_signal(signal.SIGHUP)
        with trio.fail_after(60):
            await again.process.wait()
        await until_true(lambda: not again.children())


async def test_up_uses_the_servers_that_are_configured(tmp_path: Path, nursery, redis_url, postgres_dsn, queue_name):
    async with running(
        tmp_path / "home", nursery, REDIS_URL=redis_url, DATABASE_URL=postgres_dsn, QUEUE_NAME=queue_name,
        SMTP_URL="smtp://127.0.0.1:1", DATABASE_SCHEMA=f"up_{os.getpid()}",
    ) as up:  # fmt: skip
        assert not (up.home / "valkey").exists()
        assert not (up.home / "postgres").exists()
        assert redis_url.split(":")[2].split("@")[0] not in up.said, "a password of the user's was shown"
        async with httpx.AsyncClient(base_url=up.base, timeout=10) as client:
            assert (await client.get("/ready")).text == "ready"


@pytest.mark.parametrize("is_told", [True, False], ids=["with its own token", "with hashes alone"])
async def test_up_with_tokens_starts_and_leaves_no_secret_behind(
    tmp_path: Path, nursery, redis_url, postgres_dsn, database_schema, queue_name, is_told: bool
):
    secret, metrics = "the-secret-of-the-operator", "the-secret-of-metrics"
    tokens = f"ops:operate:sha256={hashlib.sha256(secret.encode()).hexdigest()}"
    own = {"WORKQUEUE_TOKEN": secret} if is_told else {}
    async with running(
        tmp_path / "home", nursery, REDIS_URL=redis_url, SMTP_URL="smtp://127.0.0.1:1", QUEUE_NAME=queue_name,
        DATABASE_URL=postgres_dsn, DATABASE_SCHEMA=database_schema, API_TOKENS=tokens, METRICS_TOKEN=metrics, **own,
    ) as up:  # fmt: skip
        assert "is not ready" not in up.said
        await until_true(lambda: '/enqueue -H "Authorization: Bearer $WORKQUEUE_TOKEN" -d' in up.said)
        async with httpx.AsyncClient(timeout=10) as client:
            worker = f"http://127.0.0.1:{up.ports['WORKER_PORT']}"
            for base, token in ((up.base, secret), (worker, metrics)):
                assert (await client.get(f"{base}/ready")).status_code == 401
                headers = {"Authorization": f"Bearer {token}"}
                answer = await client.get(f"{base}/ready", headers=headers)
                assert (answer.status_code, answer.text) == (200, "ready")
        here = {"WORKQUEUE_HOME": str(up.home)}  # which says where the producer is
        refused = workqueue("dead", **here)
        assert (refused.returncode, "set WORKQUEUE_TOKEN" in refused.stderr) == (1, True)
        done = workqueue("dead", WORKQUEUE_TOKEN=secret, **here)
        assert (done.returncode, done.stderr) == (0, "")
        written = (up.home / "environment.json").read_text() + up.said
        assert not [text for text in (secret, metrics, tokens) if text in written]


@pytest.mark.parametrize("no_color", [{}, {"NO_COLOR": "1"}], ids=["colour", "no colour"])
async def test_a_terminal_gets_columns_and_at_the_end_what_is_kept(tmp_path: Path, redis_url, queue_name, no_color):
    ports = {"PRODUCER_PORT": str(free_port()), "WORKER_PORT": str(free_port())}
    servers = {"REDIS_URL": redis_url, "SMTP_URL": "smtp://127.0.0.1:1", "QUEUE_NAME": queue_name}
    home = tmp_path / "home"
    with Terminal("up", WORKQUEUE_HOME=str(home), **ports, **servers, **no_color) as terminal:
        await until_true(lambda: "WorkQueue runs." in terminal.said or terminal.has_ended(), seconds=60)
        terminal.process.send_signal(signal.SIGINT)
        await until_true(terminal.has_ended, seconds=60)
        assert terminal.process.returncode == 0, terminal.said
        said = terminal.said
    colours = re.findall(r"\x1b\[[0-9;]*3[0-9]m", said)
    assert bool(colours) == (not no_color)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", said).replace("\r\n", "\n")
    assert re.search(r"^\d\d:\d\d:\d\d  workqueue  starting Postgres \.\.\.$", lines, re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d  producer   Redis answers$", lines, re.MULTILINE)
    assert re.search(r"^ {21}\S", lines, re.MULTILINE), "a long line goes on below its own beginning"
    end = lines.partition("everything has ended, and is kept for the next start\n")[2]
    assert re.search(rf"^  Data +{re.escape(str(home))}$", end, re.MULTILINE)
    assert re.search(r"^  Start again +WORKQUEUE_HOME=\S+ .*up$", end, re.MULTILINE)
