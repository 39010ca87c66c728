"""Every line of docs/jobs.md can be pasted, and does what the text around it says."""

import re
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from tests.e2e.test_operating import DOCS, paste, url  # noqa: F401 - a fixture
from tests.support.pgbouncer import MISSING, MODES, program, run_pgbouncer
from workqueue.core.errors import RateLimited
from workqueue.core.handlers import registry
from workqueue.core.limits import Limit

LINES = [
    (kind, name, line)
    for kind, name, text in re.findall(
        r"^```(sh|sql) ([a-z-]+)\n(.*?)^```$", (DOCS / "jobs.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    for line in text.splitlines()
    if not name.startswith("schedule-")  # test_schedules.py
]
#: Block -> what holds of the row that its lines make.
MADE = {
    "delay": "run_at - now() BETWEEN interval '30 s' AND interval '91 s' AND NOT is_far",
    "run-at": "run_at = '2100-01-01 07:00:00+00' AND is_far",
    "expires-in": "start_by - now() BETWEEN interval '500 s' AND interval '601 s'",
    "timeout": "timeout = 30",
    "queue": "in_queue = 'low'",
    "group": "in_group = 'acme'",
    "unique": "unique_key = 'report of 7' AND unique_until IS NULL AND on_duplicate IS NULL",
    "unique-until": "unique_key = 'report of 7' AND unique_until = '60'",
    "debounce": "unique_key = 'document 7' AND on_duplicate = 'replace' AND run_at - now() < interval '6 s'",
    "enqueue": "type = 'send_email' AND retries = 3",
}
QUEUES = {"queues", "queue-pause", "queue-resume", "queue-purge"}
#: Block -> what is in the table of limits after each of its lines: of type:report there is one before.
LIMITS = {
    "limit-type": {"type:report": Limit(10, 100, 60.0)},
    "limit-group": {"type:report": Limit(3), "group:acme": Limit(5)},
    "limit-groups": {"type:report": Limit(3), "groups": Limit(1)},
    "limit-list": {"type:report": Limit(3)},
    "limit-show": {"type:report": Limit(3)},
    "limit-delete": {},
}


def test_each_block_is_known_to_a_test():
    assert {name for _, name, _ in LINES} == {*MADE, *QUEUES, *LIMITS}
    assert {name for kind, name, _ in LINES if kind == "sql"} == set(MADE)
    assert {name for kind, name, _ in LINES if kind == "sh"} == {*MADE, *QUEUES, *LIMITS} - {"enqueue"}


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for kind, name, line in LINES if kind == "sh" and name in MADE]
)
async def test_each_line_makes_such_a_job(name: str, line: str, url, psql, tmp_path):  # noqa: F811
    done = await paste(line, str(url.base_url).rstrip("/"), tmp_path, PRODUCER_PORT=url.base_url.port)
    assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
    assert [tuple(row) for row in await psql(f"SELECT {MADE[name]} FROM jobs")] == [(True,)], done.stdout


Run = Callable[..., Awaitable[Any]]


async def sql_line_makes_such_a_job(name: str, line: str, run: Run, database_schema: str) -> None:
    assert line.startswith("SELECT workqueue.enqueue(")
    await run(line.replace("workqueue.enqueue", f'"{database_schema}".enqueue'))
    assert [tuple(row) for row in await run(f"SELECT {MADE[name]} FROM jobs")] == [(True,)]


SQL = [(name, line) for kind, name, line in LINES if kind == "sql"]


@pytest.mark.parametrize(("name", "line"), SQL)
async def test_each_line_of_sql_makes_such_a_job(name: str, line: str, psql, database_schema):
    await sql_line_makes_such_a_job(name, line, psql, database_schema)


@pytest.mark.skipif(program() is None, reason=MISSING)
@pytest.mark.parametrize("mode", MODES)
async def test_it_does_so_through_a_pooler(mode, bridge, psql, postgres_dsn, database_schema):
    async with run_pgbouncer(postgres_dsn, mode) as dsn:

        async def enqueue() -> None:
            connection = await asyncpg.connect(dsn, statement_cache_size=0)
            try:
                async with connection.transaction():
                    await connection.execute(f"SELECT \"{database_schema}\".enqueue('x', delay => 90)")
            finally:
                connection.terminate()

        await bridge.run(enqueue)
    assert await psql.value("SELECT count(*) FROM jobs WHERE run_at > now()") == 1


@pytest.mark.parametrize("line", [line for _, name, line in LINES if name in QUEUES])
async def test_the_lines_about_queues(line: str, url, psql, tmp_path):  # noqa: F811
    base = str(url.base_url).rstrip("/")
    done = await paste("""curl -sX POST "$URL/enqueue" -d '{"type": "x", "queue": "low"}'""", base, tmp_path)
    assert done.returncode == 0
    done = await paste(line, base, tmp_path, PRODUCER_PORT=url.base_url.port)
    assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
    assert "low" in done.stdout or "cancelled" in done.stdout or "matched" in done.stdout


@pytest.mark.parametrize(("name", "line"), [(name, line) for _, name, line in LINES if name in LIMITS])
async def test_the_lines_about_limits(name: str, line: str, url, store, queue_name, tmp_path):  # noqa: F811
    await store.limits.put(queue_name, "type:report", Limit(3))
    base = str(url.base_url).rstrip("/")
    done = await paste(line, base, tmp_path, PRODUCER_PORT=url.base_url.port)
    assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
    assert (await store.limits.read(queue_name)).of == LIMITS[name], done.stdout
    assert done.stdout == "" or "report" in done.stdout or "acme" in done.stdout or "groups" in done.stdout


def python_block(word: str) -> str:
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / "jobs.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    [code] = [block for block in blocks if word in block]
    return str(code)


def test_the_code_about_runtimes_registers_a_handler_of_asyncio():
    before = dict(registry._handlers)
    try:
        exec(python_block("runtime="), {})
        found = registry.get("fetch")
        assert found is not None
        assert (found.runtime, found.timeout_seconds) == ("asyncio", 30)
    finally:
        registry._handlers = before


async def test_the_code_about_limits_declares_one_and_asks_for_a_pause():
    code = python_block("RateLimited")

    async def ask(payload: object) -> SimpleNamespace:
        return SimpleNamespace(status=429)

    before = dict(registry._handlers), dict(registry._limits)
    try:
        exec(code, {"ask": ask})
        assert registry.limits["type:sync"] == Limit(10, 100, 60.0)
        found = registry.get("sync")
        assert found is not None
        with pytest.raises(RateLimited) as raised:
            await found.function(SimpleNamespace(payload={}))  # type: ignore[arg-type, misc]
        assert (raised.value.after, raised.value.group) == (30, False)
    finally:
        registry._handlers, registry._limits = before
