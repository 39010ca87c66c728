"""Evidence of a chaos run, made up."""

from typing import Any

import msgspec

from workqueue.services.chaos.history import History, Life
from workqueue.services.chaos.ledger import read_ledger
from workqueue.services.chaos.load import Told
from workqueue.services.chaos.verdict import Evidence, Row

PID = 7


TERM = 3.0


def evidence(lines: str = "", *, rows: list[Row] | None = None, answer: str = "accepted", **more: object) -> Evidence:
    """Job 1, enqueued at 100 and run by worker 1."""
    history = History(lives=[Life(0.0, 1000.0, "worker 1", PID, 900.0)], stops=[], troubles=[], losses=[])
    kept = None if rows is None else {row.n: [row] for row in rows}
    told = {1: Told(answer, "producer 1", 100.0, 100.1)}
    found = Evidence(told, {}, read_ledger(lines.splitlines()), history, TERM, kept)
    return msgspec.structs.replace(found, **more)


def ran(*runs: tuple[int, float, str]) -> str:
    """Lines of (number, begin, end|fail|cut|nothing); each run takes 0.1 s."""
    lines = []
    for number, begun, how in runs:
        lines.append(f"start {begun} {PID} 1 {number}")
        if how:
            lines.append(f"{how} {begun + 0.1} {PID} 1 {number}")
    return "\n".join(lines)


def row(state: str = "completed", **counters: Any) -> Row:
    usual: dict[str, Any] = {"attempts": 0, "recoveries": 0, "interruptions": 0, "retries": 3}
    return Row(n=1, id="a", state=state, **usual | counters)
