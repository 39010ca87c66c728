"""`workqueue migrate`."""

from tests.cli.support import workqueue
from workqueue.core.store.migrate import migrations
from workqueue.services.local.process import free_port


def test_migrate_brings_the_tables_up_to_date(postgres_dsn, database_schema):
    first = workqueue("migrate", DATABASE_URL=postgres_dsn, DATABASE_SCHEMA=database_schema)
    again = workqueue("migrate", DATABASE_URL=postgres_dsn, DATABASE_SCHEMA=database_schema)
    names = [f"{migration.number:04}_{migration.name}" for migration in migrations()]
    assert names[0] == "0001_initial"
    assert first.stdout == "".join(f"migrated: {name}\n" for name in names) + "the tables are up to date\n"
    assert again.stdout == "the tables are up to date\n"


def test_migrate_without_a_database_says_what_is_missing():
    done = workqueue("migrate")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("workqueue: DATABASE_URL is not set")


def test_migrate_against_a_database_that_is_away_is_one_line():
    done = workqueue("migrate", DATABASE_URL=f"postgresql://u:geheim@127.0.0.1:{free_port()}/d")
    assert done.returncode == 1
    assert done.stderr.startswith("workqueue: Postgres: ")
    assert "geheim" not in done.stderr
    assert done.stderr.count("\n") == 1
