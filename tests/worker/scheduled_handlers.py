"""Schedules for worker processes of the tests, beside the handlers of the ledger."""

from tests.worker.ledger_handlers import quick
from workqueue import every, periodic

for number in range(5):
    periodic(every(seconds=1), name=f"quick-{number}", missed="all")(quick)
