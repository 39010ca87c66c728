from uuid import uuid4

import pytest

from workqueue.core.steps.piggyback import ANSWER_SECONDS, KEPT_MAX, Piggyback


def test_an_outbox_entry_goes_only_if_redis_answered_in_time():
    now = 100.0
    piggyback = Piggyback(clock=lambda: now)
    quick, slow = uuid4(), uuid4()
    piggyback.pushed(quick, inserted_at=now - ANSWER_SECONDS)
    piggyback.pushed(slow, inserted_at=now - ANSWER_SECONDS - 1)
    with piggyback.outbox() as batches:
        assert batches == [quick]
    with piggyback.outbox() as batches:
        assert batches == []


def test_what_a_statement_without_an_answer_carried_is_carried_again_and_bounded():
    piggyback = Piggyback(clock=lambda: 0.0)
    first = uuid4()
    piggyback.finished(first)

    def without_an_answer() -> None:
        with piggyback.claims() as tokens:
            assert tokens == [first]
            for _ in range(KEPT_MAX + 10):
                piggyback.finished(uuid4())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        without_an_answer()
    with piggyback.claims() as tokens:
        assert len(tokens) == KEPT_MAX
        assert tokens[0] == first


def test_what_waits_for_a_statement_is_bounded():
    piggyback = Piggyback(clock=lambda: 0.0)
    for _ in range(KEPT_MAX + 1):
        piggyback.finished(uuid4())
        piggyback.pushed(uuid4(), inserted_at=0.0)
    with piggyback.claims() as tokens, piggyback.outbox() as batches:
        assert len(tokens) == len(batches) == KEPT_MAX
