import pytest


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues that are opened from here on take silence for an outage sooner: five seconds are long in a test."""
    monkeypatch.setattr("workqueue.core.queue.client.COMMAND_SECONDS", 1.5)
