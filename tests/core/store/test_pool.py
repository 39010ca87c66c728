"""Statements on connections that are cancelled, cut off or hang."""

from random import Random

import trio

from workqueue.core.store.pool import open_pool


async def test_cancelled_statements_lose_no_connection_and_never_hand_their_answer_to_another_caller(
    bridge, postgres_dsn
):
    random = Random(3)
    async with open_pool(bridge, postgres_dsn, "public") as pool:

        async def ask(number: int, patience: float = 5) -> None:
            with trio.move_on_after(patience):
                [row] = await pool.fetch("SELECT $1::int AS n, pg_sleep($2)::text", number, random.uniform(0, 0.002))
                assert row["n"] == number

        for round_ in range(40):
            async with trio.open_nursery() as callers:
                for number in range(5):
                    callers.start_soon(ask, 10 * round_ + number, random.uniform(0, 0.004))
        with trio.fail_after(5):
            async with trio.open_nursery() as callers:
                for number in range(12):
                    callers.start_soon(ask, 1000 + number)
