"""The blocks of docs/python.md, run against a producer."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from workqueue.core.handlers import Registry
from workqueue.core.job import Job

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def registry() -> Registry:
    return Registry()


async def test_each_block_does_what_it_says(url, psql, registry, monkeypatch):
    text = PAGE.read_text("utf-8").replace("http://127.0.0.1:8080", url).replace("100_000", "100")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 7
    names: dict[str, Any] = {}

    def run() -> None:
        for number, block in enumerate(blocks):
            exec(compile(block, f"block {number + 1}", "exec"), names)
            if number == 0:
                names["signed_up"]("ada@example.org")
            elif number == 1:
                trio.run(names["signed_up"], "grace@example.org")
        names["client"].close()

    monkeypatch.setattr("workqueue.core.handler", registry.handler)
    monkeypatch.delattr("workqueue.handler", raising=False)
    await trio.to_thread.run_sync(run)
    monkeypatch.delattr("workqueue.handler", raising=False)
    rows = await psql("SELECT type, in_queue, unique_key, in_group, timeout, run_at IS NOT NULL AS waits FROM jobs")
    assert Counter(row["type"] for row in rows) == {"send_email": 2, "invoice": 2, "report": 1, "resize": 100}
    chosen = {row["type"]: tuple(row)[1:] for row in rows if row["unique_key"] or row["type"] == "report"}
    assert chosen == {
        "invoice": ("billing", "order 4711", None, None, True),
        "report": ("default", None, "acme", 600.0, True),
    }
    [typed] = await psql("SELECT payload, retries FROM jobs WHERE type = 'invoice' AND unique_key IS NULL")
    assert tuple(typed) == ('{"order":4711,"copies":1}', 3)
    taken = registry.get("invoice")
    assert taken is not None
    assert taken.payload.type is names["Invoice"]
    receipt = await taken.function(Job("", "invoice", names["Invoice"](order=7), 1, 0))
    assert receipt == names["Receipt"]("7-1")
