"""The tables are brought up to date as soon as Postgres is there, and each failure before is passed on."""

import trio

from tests.support.proxy import Proxy, through
from tests.support.wait import until_true
from workqueue.services.migration import migrate_until_done


async def test_it_waits_for_postgres_and_migrates_once(
    nursery, bridge, postgres, postgres_dsn, database_schema, caplog
):
    caplog.set_level("INFO")
    proxy = Proxy(postgres.port)
    await nursery.start(proxy.run)
    proxy.go_away()
    failures: list[Exception] = []
    done = trio.Event()

    async def run() -> None:
        url = through(postgres_dsn, proxy)
        await migrate_until_done(bridge, url, database_schema, on_outage=failures.append)
        done.set()

    nursery.start_soon(run)
    await until_true(lambda: len(failures) >= 3)
    assert not done.is_set()
    proxy.heal()
    with trio.fail_after(10):
        await done.wait()
    assert f"migrated schema {database_schema}: 0001_initial" in caplog.text
    caplog.clear()
    await migrate_until_done(bridge, postgres_dsn, database_schema, on_outage=failures.append)
    assert "migrated" not in caplog.text, "nothing was left to do"
