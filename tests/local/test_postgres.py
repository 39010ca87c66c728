"""The embedded Postgres."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from workqueue.core.store import migrate
from workqueue.services.local.postgres import _copy_of, _programs


async def test_postgres_asks_for_the_password(bridge, postgres, database_schema):
    assert (await migrate(bridge, postgres.url, database_schema))[0] == "0001_initial"
    found = postgres.url.replace(postgres.url.split(":")[2].split("@")[0], "wrong")
    with pytest.raises(Exception, match="password authentication failed"):
        await migrate(bridge, found, database_schema)


def test_programs_that_were_copied_out_of_a_closed_folder_find_their_libraries(monkeypatch, tmp_path):
    """As root, below a folder that only root may enter, Postgres runs as another user from a copy."""
    monkeypatch.setattr("workqueue.services.local.postgres.ROOT_FOLDER", tmp_path)
    with ThreadPoolExecutor() as several:  # at once
        [copy] = set(several.map(_copy_of, [_programs()] * 4))
    assert copy.is_relative_to(tmp_path)
    assert len(list((tmp_path / "programs").iterdir())) == 1, "nothing is left of the others"
    for program in ("postgres", "initdb", "pg_ctl"):
        done = subprocess.run([copy / program, "--version"], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert _copy_of(_programs()) == copy, "once"
