"""DATABASE_URL as libpq reads it: what is understood, what is refused, and that no secret is ever said."""

import pytest

from workqueue.core.database_url import Host, parse, with_variables
from workqueue.core.errors import InvalidSettings
from workqueue.core.settings import load_settings

H = "postgresql://u:p@h/d"


def refused(url: str, **environ: str) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load_settings({"DATABASE_URL": url} | environ)
    [fault] = caught.value.faults
    assert fault.startswith("DATABASE_URL=***: ")
    assert "\n" not in fault
    return fault


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        (H, [("h", 5432)]),
        ("postgres://h:1", [("h", 1)]),
        ("postgresql://u@/d", []),
        ("postgresql:///d", []),
        ("postgresql://", []),
        ("postgresql://a:1,b.example.,[::1]:3/d", [("a", 1), ("b.example.", 5432), ("::1", 3)]),
        ("postgresql://[fe80::1%25eth0]/d", [("fe80::1%eth0", 5432)]),
        ("postgresql://%2Fvar%2Frun%2Fpostgresql/d", [("/var/run/postgresql", 5432)]),
        ("postgresql:///d?host=/run/pg&port=5433", [("/run/pg", 5433)]),
        ("postgresql:///d?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql:///d?host=a,b&port=1", [("a", 1), ("b", 1)]),
        ("postgresql://h:/d", [("h", 5432)]),
        ("postgresql://under_score.local/d", [("under_score.local", 5432)]),
        ("postgresql://b\u00fccher.example/d", [("b\u00fccher.example", 5432)]),
    ],
)
def test_hosts(url, hosts):
    assert parse(url).hosts == tuple(Host(*host) for host in hosts)
    assert load_settings({"DATABASE_URL": url}).database_url == url


def test_what_stands_in_it_is_decoded():
    said = parse("postgresql://us%40er:p%3A%2F%25w@h/d%20b?application_name=a%20b&options=-c%20x%3D1&ssl=true")
    assert said.parameters == {
        "user": "us@er", "password": "p:/%w", "dbname": "d b", "application_name": "a b", "options": "-c x=1",
        "sslmode": "require",
    }  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        "connect_timeout=10", "channel_binding=require", "channel_binding=prefer", "keepalives=1&keepalives_idle=30",
        "keepalives_interval=10&keepalives_count=3", "tcp_user_timeout=1000", "gssencmode=disable",
        "target_session_attrs=read-write", "target_session_attrs=primary", "sslrootcert=system",
        "sslrootcert=system&sslmode=verify-full", "sslmode=verify-ca&sslrootcert=/etc/ca.pem", "application_name=mine",
        "options=-c%20statement_timeout%3D5s", "load_balance_hosts=random", "sslsni=0", "client_encoding=utf8",
        "fallback_application_name=x", "sslmode=require&sslnegotiation=direct", "statement_cache_size=0", "",
        "ssl_min_protocol_version=TLSv1.3", "passfile=/run/secrets/pgpass", "gssdelegation=0", "krbsrvname=postgres",
    ],
)  # fmt: skip
def test_usual_parameters_are_understood(more):
    assert load_settings({"DATABASE_URL": f"{H}?{more}"}).database_url == f"{H}?{more}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"{H}?sslmode=bogus", "sslmode='bogus' must be one of disable, allow, prefer"),
        (f"{H}?sslmode=verify_full", "verify-full"),
        (f"{H}?target_session_attrs=master", "target_session_attrs='master' must be one of any"),
        (f"{H}?channel_binding=1", "channel_binding"),
        (f"{H}?gssencmode=require", "gssencmode='require' must be one of disable, prefer"),
        (f"{H}?connect_timeout=soon", "connect_timeout must be a whole number"),
        (f"{H}?keepalives_idle=1.5", "keepalives_idle must be a whole number"),
        (f"{H}?no_such=1", "there is no parameter 'no_such'"),
        (f"{H}?statement_timeout=5", "there is no parameter 'statement_timeout'"),
        (f"{H}?sslrootcert=system&sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        (f"{H}?sslnegotiation=direct", "sslnegotiation=direct needs sslmode"),
        (f"{H}?sslmode", "name=value"),
        (f"{H}?a=b=c", "there is no parameter 'a'"),
        (f"{H}?port=1,2", "port"),
        (f"{H}?application_name=%ff", "not UTF-8"),
        (f"{H}?application_name=%zz", "begins no percent-encoded character"),
        (f"{H}?application_name=%00", "cannot stand there"),
        ("postgresql://u@.host/db", "a host is missing, or no server can have its name"),
        ("postgresql://u@a..b/db", "a host is missing"),
        ("postgresql://u@../db", "a host is missing"),
        ("postgresql://u@a,,b/db", "a host is missing"),
        ("postgresql://u@h%20st/db", "no server can have its name"),
        (f"postgresql://u@{'a' * 64}.b/db", "no server can have its name"),
        ("postgresql://u@[::1/db", "an IPv6 address in brackets"),
        ("postgresql://u@::1/db", "an IPv6 address in brackets"),
        ("postgresql://u@[]/db", "no IPv6 address"),
        ("postgresql://u@[zz]/db", "no IPv6 address"),
        ("postgresql://u@[1.2.3.4]/db", "no IPv6 address"),
        ("postgresql://u@[::1]x/db", "an IPv6 address in brackets"),
        ("postgresql://u@h:0/db", "a port from 1 to 65535"),
        ("postgresql://u@h:65536/db", "a port from 1 to 65535"),
        ("postgresql://u@h:x/db", "a port from 1 to 65535"),
        ("postgresql://u@h:-1/db", "a port from 1 to 65535"),
        ("postgresql://u@h:\u0665/db", "a port from 1 to 65535"),
        ("postgresql://u@h/d\0b", "character 19 may stand in no URL"),
        ("postgresql://u@h/d b", "may stand in no URL"),
        ("postgresql://u@h/db\n", "may stand in no URL"),
        ("postgresql://u@h/d\udcffb", "may stand in no URL"),
        ("postgresql://u%@h/db", "the user has a %"),
        ("postgresql://u:%ff@h/db", "the password is not UTF-8"),
        ("postgresql://u@h/%00", "the database has a character"),
        ("postgresql://u@h/db#x", "has a #"),
        ("postgresql://u@h/a@b", "has an @ behind a /"),
        ("mysql://u@h/db", "must start with postgres:// or postgresql://"),
        ("h:5432", "must start with"),
    ],
)
def test_what_no_connection_can_be_made_from_is_one_line(url, says):
    assert says in refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:12/SECRET@host/db",
        "postgresql://u:SECRET@mine@host/db",
        "postgresql://SECRET:x:y/db",
        "postgresql://u:pa?SECRET@host/db",
        "postgresql://u:pa?SECRET=1@host/db",
        "postgresql://u:SECRET@[::1/db",
        "postgresql://u:SECRET%@h/db",
        "postgresql://u:SECRET@h/db?sslmode=SECRET%20",
        "SECRET://u:SECRET@h/db",
        "SECRET",
        "postgresql://u@h/db?password=SECRET&nothing=1",
        "postgresql://u@h:SECRET/db",
    ],
)
def test_no_secret_is_said(url):
    assert "SECRET" not in refused(url)


def test_what_the_url_leaves_open_is_taken_from_the_variables_of_libpq():
    environ = {
        "PGHOST": "other", "PGPORT": "1", "PGUSER": "me", "PGPASSWORD": "p@ss", "PGDATABASE": "theirs",
        "PGSSLMODE": "require", "PGAPPNAME": "mine", "PGOPTIONS": "-c x=1", "PGCONNECT_TIMEOUT": "3",
    }  # fmt: skip
    said = parse(with_variables("postgresql://", environ))
    assert said.hosts == (Host("other", 1),)
    assert said.parameters["password"] == "p@ss"
    assert said.parameters["options"] == "-c x=1"
    said = parse(with_variables(f"{H}?sslmode=disable", environ))
    assert said.hosts == (Host("h"),), "neither host nor port are mixed"
    assert {name: said.parameters[name] for name in ("user", "password", "dbname", "sslmode")} == {
        "user": "u", "password": "p", "dbname": "d", "sslmode": "disable",
    }  # fmt: skip
    assert said.parameters["application_name"] == "mine"
    assert with_variables(H, {"PGSSLMODE": ""}) == H


def test_a_variable_of_libpq_with_a_wrong_value_is_named():
    assert "PGSSLMODE: sslmode='bogus' must be one of" in refused(H, PGSSLMODE="bogus")
    assert "PGPORT" in refused("postgresql:///d", PGPORT="x")
    assert "PGHOST" in refused("postgresql:///d", PGHOST="a..b")
