"""Bugs in the logs of processes."""

import pytest

from workqueue.services.chaos.logs import bugs

HANDLER = """\
2026-11-20T09:30:00.123Z error workqueue.services.worker.running.failure_log: job 1 (x) failed: RuntimeError: as asked
Traceback (most recent call last):
  File ...
RuntimeError: as asked
"""


@pytest.mark.parametrize(
    "record",
    [
        "2026-11-20T09:30:00.123Z error workqueue.services.producer: a batch of 3 jobs met a bug\nTraceback (most ...",
        "2026-11-20T09:30:00.123Z warning asyncio: x\nTraceback (most recent call last):\n  File ...",
        "2026-11-20T09:30:00.123Z error workqueue.services.app: the producer ends: its backend has crashed",
        "Traceback (most recent call last):\n  File ...\nKeyError: 1",
        "no progress in loop for 31 s",
    ],
)
def test_a_bug_in_a_log_is_found_and_a_handlers_failure_is_none(record):
    fine = "2026-11-20T09:30:00.123Z warning workqueue.services.health: Redis: away\n"
    assert bugs(fine + HANDLER + fine) == []
    assert len(bugs(fine + HANDLER + record + "\n" + fine)) == 1
