"""From a URL to a connection: parameters, sockets, TLS, and a home folder that is not ours."""

import os
import pwd
import ssl
from pathlib import Path

import pytest

from workqueue.core.errors import InvalidSettings, StoreUnavailable
from workqueue.core.store import open_store
from workqueue.core.store.connecting import connect, target


async def shown(bridge, url: str, name: str) -> str:
    async def ask() -> str:
        connection = await connect(target(url))
        try:
            return str(await connection.fetchval(f"SHOW {name}"))
        finally:
            connection.terminate()

    return await bridge.run(ask)


async def test_usual_parameters_lead_to_a_connection(bridge, postgres_dsn):
    more = (
        "connect_timeout=10&channel_binding=require&keepalives=1&keepalives_idle=30&gssencmode=disable"
        "&target_session_attrs=read-write&sslmode=prefer&load_balance_hosts=random&client_encoding=LATIN1"
    )
    assert await shown(bridge, f"{postgres_dsn}?{more}", "application_name") == "workqueue"
    assert await shown(bridge, f"{postgres_dsn}?application_name=m%20e", "application_name") == "m e"
    assert await shown(bridge, f"{postgres_dsn}?options=-c%20work_mem%3D5MB", "work_mem") == "5MB"


async def test_variables_of_libpq_do_not_change_what_is_said(bridge, postgres_dsn, monkeypatch):
    for variable, value in {"PGHOST": "nowhere", "PGPORT": "1", "PGUSER": "x", "PGDATABASE": "x",
                            "PGTARGETSESSIONATTRS": "standby"}.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    assert await shown(bridge, postgres_dsn, "application_name") == "workqueue"


@pytest.mark.parametrize(("size", "prepares"), [("0", False), ("7", True)])
async def test_the_url_decides_what_is_kept_prepared(bridge, postgres_dsn, size, prepares):
    async def ask() -> bool:
        connection = await connect(target(f"{postgres_dsn}?statement_cache_size={size}"))
        try:
            for _ in range(3):
                await connection.fetchval("SELECT 1")
            kept = await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
            assert (kept > 0) is prepares, "and asyncpg does it"
            return connection.prepares
        finally:
            connection.terminate()

    assert await bridge.run(ask) is prepares


async def test_tls_that_is_asked_for_is_not_done_without(bridge, postgres_dsn, database_schema):
    for mode in ("require", "verify-full&sslrootcert=system"):
        async with open_store(bridge, f"{postgres_dsn}?sslmode={mode}", database_schema) as store:
            with pytest.raises(StoreUnavailable, match="rejected SSL upgrade"):
                await store.check()


def test_the_authorities_of_the_system_are_asked_and_the_name_is_checked():
    context = target("postgresql://u@h/d?sslrootcert=system").options["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("more", ["", "?sslmode=disable", "?sslmode=allow"])
async def test_a_home_folder_that_may_not_be_read_does_not_matter(
    bridge, postgres_dsn, tmp_path: Path, monkeypatch, more
):
    home = tmp_path / "home"
    home.mkdir(mode=0o000)
    monkeypatch.setenv("HOME", str(home))
    uid = os.geteuid()
    try:
        if uid == 0:  # may read everything
            os.seteuid(pwd.getpwnam("nobody").pw_uid)
        with pytest.raises(PermissionError):
            (home / "x").stat()
        assert await shown(bridge, postgres_dsn + more, "application_name") == "workqueue"
    finally:
        os.seteuid(uid)


async def test_a_url_that_cannot_be_read_is_a_wrong_setting_wherever_it_comes_from(bridge):
    with pytest.raises(InvalidSettings, match="no parameter 'x'"):
        async with open_store(bridge, "postgresql://u@h/d?x=1", "workqueue"):
            pass
