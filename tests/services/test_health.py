"""Whether Redis and Postgres answer, and what is logged of it."""

import trio
from trio.testing import MockClock

from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.settings import Settings
from workqueue.services.health import Dependency, remedy


def test_a_service_with_nothing_set_is_told_of_workqueue_up_and_no_password_is_shown():
    assert remedy("REDIS_URL", Settings().redis_url) == (
        "Start it, or run this beside a `workqueue up` in its folder, "
        "or point REDIS_URL (now redis://localhost:6379) to one that runs"
    )
    chosen = remedy("REDIS_URL", "redis://:secret@db:6379")
    assert chosen == "Start it, or point REDIS_URL (now redis://db:6379) to one that runs"


async def test_a_failure_that_the_watch_cannot_see_is_logged_once_and_again_after_a_minute(
    autojump_clock: MockClock, caplog
):
    """Postgres answers, and its disk is full: each request, or each try of a worker, meets that."""
    postgres = Dependency("Postgres", "Start it")
    away = False

    async def reach() -> None:
        if away:
            raise StoreUnavailable("Postgres: gone")

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    async def fail_for(seconds: float, text: str) -> None:
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            await postgres.look(reach, trio.lowlevel.checkpoint)
            postgres.failed(StoreUnavailable(text), "still trying")
            await trio.sleep(0.1)

    await fail_for(300, "Postgres: no space left")
    assert told() == ["still trying: Postgres: no space left"]
    await fail_for(10, "Postgres: permission denied")
    assert len(told()) == 2, "another reason is news"
    await trio.sleep(61)
    await fail_for(10, "Postgres: permission denied")
    assert len(told()) == 3
    away = True
    await fail_for(10, "Postgres: gone")
    assert len(told()) == 4, "the outage itself, told by the watch"


async def test_a_server_that_goes_away_between_reach_and_check_is_away():
    redis, asked = Dependency("Redis", "Start it"), 0

    async def reach() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise QueueUnavailable("gone")

    async def check() -> None:
        raise QueueUnavailable("gone")

    await redis.look(reach, check)
    assert redis.is_away
