"""A trip is made until it is answered, and shows before each try that it is still being made."""

from core.errors import QueueUnavailable
from core.steps.again import Again


async def test_there_is_a_sign_of_life_before_each_try(autojump_clock):
    # One sign for the whole trip: a worker would be ended with status 70 some 45 s into any outage.
    signs: list[float] = []
    tries = 0

    async def trip() -> str:
        nonlocal tries
        tries += 1
        assert len(signs) == tries
        if tries < 4:
            raise QueueUnavailable("away")
        return "answered"

    assert await Again(signs.append)(trip) == "answered"
    assert tries == 4
