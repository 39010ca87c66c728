"""The token of the command line, against a producer that asks for one."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import trio

from tests.cli.support import environ as environment
from tests.cli.support import workqueue
from tests.producer.published import publish
from tests.producer.serving import serving
from tests.producer.tokens import API_TOKENS, SECRETS, bearer
from tests.support.wait import until_true
from workqueue.core.api_tokens import read_setting
from workqueue.core.dead_letter import dead_letter, dead_letter_id
from workqueue.core.errors import InvalidSettings
from workqueue.services.cli import access
from workqueue.services.local.process import free_port

ENTRY = dead_letter(b"no task", "no valid task")
WORKER = UUID(int=7)  #: it is silent


def test_the_token_of_the_environment_is_sent():
    assert access.bearer({}) == {}
    assert access.bearer({"WORKQUEUE_TOKEN": SECRETS["read"]}) == bearer("read")
    assert access.bearer({"METRICS_TOKEN": SECRETS["read"]}, "METRICS_TOKEN") == bearer("read")


@pytest.mark.parametrize("token", ["short", "with a space in between", "with\na-newline-in-between", "é" * 20])
def test_what_can_be_no_token_is_said_to_and_not_shown(token: str):
    with pytest.raises(InvalidSettings) as raised:
        access.bearer({"WORKQUEUE_TOKEN": token})
    [fault] = raised.value.faults
    assert fault.startswith("WORKQUEUE_TOKEN=***: the secret must ")
    assert token not in fault


@pytest.mark.parametrize(
    ("status", "token", "said"),
    [
        (401, "", "the producer asks for a token: set WORKQUEUE_TOKEN (401)"),
        (401, "x", "the producer does not know the token in WORKQUEUE_TOKEN (401)"),
        (403, "x", "the token in WORKQUEUE_TOKEN does not allow this: its role is another one (403)"),
        (403, "", "the producer does not allow this (403)"),
        (404, "x", None),
        (200, "x", None),
    ],
)
def test_an_answer_says_what_to_do(status: int, token: str, said: str | None):
    assert access.refusal(status, {"WORKQUEUE_TOKEN": token}) == said


def test_a_new_token_is_one_of_a_producer():
    done = workqueue("token", "ci", "enqueue")
    assert (done.returncode, done.stderr) == (0, "")
    printed = dict(line.split("=", 1) for line in done.stdout.splitlines())
    [token], faults = read_setting(printed["API_TOKENS"])
    assert (token.name, token.role, faults) == ("ci", "enqueue", [])
    assert [token] == read_setting(f"ci:enqueue:{printed['WORKQUEUE_TOKEN']}")[0]
    assert workqueue("token", "ci", "enqueue").stdout != done.stdout
    wrong = workqueue("token", "c i", "enqueue")
    assert (wrong.returncode, "NAME: the name must be of" in wrong.stderr) == (2, True)


@pytest.fixture
async def url(store, environ: dict[str, str], redis, queue):
    await redis("RPUSH", queue.keys.dead, ENTRY)
    await publish(queue, b"{}", seconds_ago=60, lease=WORKER)
    async with serving(environ | {"API_TOKENS": API_TOKENS}) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def environ(redis_url, postgres_dsn, queue_name, database_schema) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema,
            "QUEUE_NAME": queue_name}  # fmt: skip


#: Each command that asks a producer -> the role that it needs, and its exit status then.
COMMANDS: dict[str, tuple[str, int]] = {
    "enqueue a": ("enqueue", 0),
    "enqueue --from -": ("enqueue", 0),
    "logs ID": ("read", 0),
    "inspect ID": ("read", 1),  # it does not run
    "cancel ID": ("operate", 0),
    "cancel --all --dry-run": ("operate", 0),
    "actions": ("read", 0),
    "dead": ("read", 0),
    "dead show DEAD": ("read", 0),
    "dead retry DEAD": ("operate", 1),  # it is no task, and stays
    "dead delete DEAD": ("operate", 0),
    "delete ID": ("operate", 0),
    "workers": ("read", 0),
    "workers quiet WORKER": ("operate", 0),
    "status --no-rates": ("read", 1),  # no worker is alive
}


async def run(line: str, url: str, job_id: str, **variables: str):
    named = {"ID": job_id, "DEAD": dead_letter_id(ENTRY), "WORKER": str(WORKER)}
    words = [named.get(word, word) for word in line.split()]
    stdin = '{"type":"a"}\n' if "--from" in line else ""
    return await trio.to_thread.run_sync(partial(workqueue, *words, "--url", url, stdin=stdin, **variables))


async def new_job(url: str) -> str:
    async with httpx.AsyncClient(headers=bearer("operate")) as client:
        return (await client.post(f"{url}/enqueue", json={"type": "a"})).json()["job_id"]


async def test_each_command_sends_the_token_and_says_in_one_line_where_it_is_not_enough(url):
    job_id = await new_job(url)
    for line, (role, status) in COMMANDS.items():
        none = await run(line, url, job_id)
        assert (none.returncode, none.stdout) == (1, ""), (line, none)
        assert "the producer asks for a token: set WORKQUEUE_TOKEN (401)" in none.stderr
        assert none.stderr.count("\n") == 1, none.stderr
        wrong = await run(line, url, job_id, WORKQUEUE_TOKEN="of-no-token-at-all")
        assert "the producer does not know the token in WORKQUEUE_TOKEN (401)" in wrong.stderr
        other = {"enqueue": "read", "read": "enqueue", "operate": "read"}[role]
        less = await run(line, url, job_id, WORKQUEUE_TOKEN=SECRETS[other])
        assert (less.returncode, less.stderr.count("\n")) == (1, 1), (line, less)
        assert "does not allow this: its role is another one (403)" in less.stderr
        right = await run(line, url, job_id, WORKQUEUE_TOKEN=SECRETS[role])
        assert (right.returncode, "(401)" in right.stderr, "(403)" in right.stderr) == (status, False, False), right
        assert not any(SECRETS[each] in right.stdout + right.stderr + less.stderr for each in SECRETS)


async def test_a_token_that_may_not_read_cannot_wait_and_the_job_is_named(url):
    done = await run("enqueue a --wait", url, "", WORKQUEUE_TOKEN=SECRETS["enqueue"])
    assert done.returncode == 1
    assert " is enqueued, and cannot be waited for: the token in WORKQUEUE_TOKEN does not allow this" in done.stderr


async def test_status_as_a_document_has_the_fault(url):
    done = await run("status --json --no-rates", url, "")
    assert done.returncode == 1
    [fault] = json.loads(done.stdout)["faults"]
    assert fault.endswith("does not tell /api/overview: the producer asks for a token: set WORKQUEUE_TOKEN (401)")


async def test_a_wrong_token_is_status_2_before_anything_is_sent():
    done = await run("enqueue a", "http://127.0.0.1:1", "", WORKQUEUE_TOKEN="short")
    assert done.returncode == 2
    assert done.stderr == "workqueue: WORKQUEUE_TOKEN=***: the secret must have 16 to 256 characters, and has 5\n"


def test_a_producer_says_what_is_wrong_with_its_tokens_and_does_not_start(tmp_path: Path):
    variables = {"API_TOKENS": f"a:read:{SECRETS['read']},b:read:short-secret,c:eat:{SECRETS['admin']}"}
    done = workqueue("producer", **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "workqueue: API_TOKENS=***: entry 2: the secret must have 16 to 256 characters, and has 12\n"
        "workqueue: API_TOKENS=***: entry 3: the role must be one of enqueue, read, operate, admin\n"
    )
    file = tmp_path / "tokens"
    file.write_text(f"b:read:short-secret\nc:eat:{SECRETS['admin']}\n")
    for more in ([], ["--workers", "2"]):
        done = workqueue("producer", *more, API_TOKENS_FILE=str(file))
        assert (done.returncode, done.stderr.count("\n")) == (2, 2)
        assert "line 1: the secret must have 16 to 256 characters" in done.stderr
        assert "Traceback" not in done.stderr
        assert not [secret for secret in ("short-secret", *SECRETS.values()) if secret in done.stderr]
        done = workqueue("producer", *more, REQUIRE_TOKENS="1")
        assert (done.returncode, done.stderr) == (2, "workqueue: REQUIRE_TOKENS=1: set API_TOKENS or API_TOKENS_FILE\n")


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
@pytest.mark.parametrize(
    ("host", "tokens", "warns"), [("0.0.0.0", "", 1), ("127.0.0.1", "", 0), ("0.0.0.0", API_TOKENS, 0)]
)
async def test_an_open_producer_that_others_reach_says_so_once(
    redis_url, queue_name, more, host, tokens, warns, nursery
):
    port = free_port()
    variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "PRODUCER_PORT": str(port), "HOST": host}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "workqueue.services.cli", "producer", *more],
        env=environment(**variables, API_TOKENS=tokens), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said = ""

    async def listen() -> None:
        nonlocal said
        assert process.stdout is not None
        async for piece in process.stdout:
            said += piece.decode()

    nursery.start_soon(listen)
    await until_true(lambda: "Redis answers" in said, seconds=30)
    process.terminate()
    await process.wait()
    line = f"HOST={host} and no API_TOKENS: every client that reaches port {port} may enqueue, read and change jobs"
    assert said.count(line) == warns
    assert "Traceback" not in said
