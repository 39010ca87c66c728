"""Every line of docs/jobs.md about schedules can be pasted, and does what the text around it says."""

import re

import pytest

from tests.e2e.test_operating import DOCS, paste, url  # noqa: F401 - a fixture
from workqueue.core.schedules import MEMBERS, make_schedule
from workqueue.core.store.schedules import API

TEXT = (DOCS / "jobs.md").read_text("utf-8")
LINES = [
    (name, line)
    for name, text in re.findall(r"^```sh schedule-([a-z-]+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    for line in text.splitlines()
]
NIGHTLY = "cron = '30 2 * * *' AND tz = 'Europe/Berlin' AND type = 'report'"
#: Block -> what holds afterwards of the only schedule that there is; None: there is none.
AFTER = {
    "put": f"name = 'nightly' AND {NIGHTLY} AND payload::json ->> 'days' = '1'",
    "every": "name = 'poll-inbox' AND every = 30 AND type = 'poll' AND overlap = 'skip'",
    "list": NIGHTLY,
    "pause": "paused_why = 'by a person'",
    "resume": "paused_why IS NULL",
    "run-now": "last_job_id = (SELECT id FROM jobs WHERE schedule = 'nightly')",
    "delete": None,
}


@pytest.mark.parametrize(("name", "line"), LINES)
async def test_each_line_does_it(name: str, line: str, url, psql, store, queue_name, tmp_path):  # noqa: F811
    if name not in {"put", "every"}:
        members = {"cron": "30 2 * * *", "tz": "Europe/Berlin", "type": "report"}
        await store.schedules.put(queue_name, API, [(make_schedule("nightly", members), await store.schedules.now())])
    if name == "resume":
        await psql("UPDATE schedules SET paused_why = 'by a person'")
    done = await paste(line, str(url.base_url).rstrip("/"), tmp_path)
    assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
    if (after := AFTER[name]) is None:
        assert await psql("SELECT * FROM schedules") == [], done.stdout
    else:
        assert [tuple(row) for row in await psql(f"SELECT {after} FROM schedules")] == [(True,)], done.stdout


def test_each_block_and_each_member_is_there():
    assert {name for name, _ in LINES} == set(AFTER)
    table = TEXT.partition("| member, argument |")[2].partition("\n\n")[0]
    assert [name for name in MEMBERS if f"`{name}`" not in table] == []


async def test_the_code_of_the_page_can_be_imported():
    from workqueue.core.handlers import registry

    [code] = [block for block in re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
              if "periodic" in block]  # fmt: skip
    before = dict(registry._handlers), dict(registry._schedules)
    try:
        exec(code, {})
        assert {"report", "poll-inbox"} <= {schedule.name for schedule in registry.schedules}
    finally:
        registry._handlers, registry._schedules = before
