"""The blocks of docs/python.md, run against a producer."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import trio

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


async def test_each_block_does_what_it_says(url, psql):
    text = PAGE.read_text("utf-8").replace("http://127.0.0.1:8080", url).replace("100_000", "100")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, Any] = {}

    def run() -> None:
        for number, block in enumerate(blocks):
            exec(compile(block, f"block {number + 1}", "exec"), names)
            if number == 0:
                names["signed_up"]("ada@example.org")
            elif number == 1:
                trio.run(names["signed_up"], "grace@example.org")
        names["client"].close()

    await trio.to_thread.run_sync(run)
    rows = await psql("SELECT type, in_queue, unique_key, in_group, timeout, run_at IS NOT NULL AS waits FROM jobs")
    assert Counter(row["type"] for row in rows) == {"send_email": 2, "invoice": 1, "report": 1, "resize": 100}
    chosen = {row["type"]: tuple(row)[1:] for row in rows if row["type"] in {"invoice", "report"}}
    assert chosen == {
        "invoice": ("billing", "order 4711", None, None, True),
        "report": ("default", None, "acme", 600.0, True),
    }
