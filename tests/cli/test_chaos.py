"""`workqueue chaos` on servers that are the user's: they are left alone, and nothing is left on them."""

import pytest

from tests.cli.support import workqueue
from tests.support.rows import Psql


@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
async def test_chaos_on_servers_of_the_users_leaves_nothing_behind(redis_url, postgres_dsn, queue, psql: Psql):
    done = workqueue(
        "chaos", "--seed", "5", "--seconds", "8", "--jobs", "200", "--workers", "2", "--pause", "0.7",
        REDIS_URL=redis_url, DATABASE_URL=postgres_dsn,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "seed 5" in done.stderr
    assert "kill" in done.stderr
    assert "good: nothing was lost" in done.stdout
    assert "Redis ()" not in done.stderr, "a server itself was struck"
    assert await queue._command("KEYS", "*chaos:*") == []
    assert await psql("SELECT FROM pg_namespace WHERE nspname LIKE 'chaos%'") == []


def test_chaos_says_in_one_line_that_there_is_no_redis():
    done = workqueue("chaos", "--seconds", "5", REDIS_URL="redis://127.0.0.1:1", DATABASE_URL="")
    assert done.returncode == 1
    assert "Redis: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
