import re

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from workqueue.core.errors import InvalidSettings
from workqueue.core.queue.urls import client, target
from workqueue.core.settings import load_settings, without_password


def faults(**environ: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(environ)
    return caught.value.faults


def test_the_defaults_are_those_of_the_contract():
    settings = load_settings({})
    assert (settings.redis_url, settings.database_url, settings.database_schema) == (
        "redis://localhost:6379",
        None,
        "workqueue",
    )
    assert (settings.queue_name, settings.host, settings.allowed_origins) == ("workqueue:jobs", "127.0.0.1", None)
    assert (settings.producer_port, settings.worker_port) == (8080, 8081)
    assert (settings.worker_concurrency, settings.shutdown_grace) == (2, 10)
    assert (settings.lease_seconds, settings.max_recoveries, settings.stall_limit) == (15, 3, 30)
    assert settings.max_body_bytes == 1024 * 1024


def test_empty_counts_as_unset():
    assert load_settings({"DATABASE_URL": "", "PORT": "", "WORKER_CONCURRENCY": ""}) == load_settings({})


def test_all_faults_are_reported_at_once():
    assert faults(WORKER_CONCURRENCY="0", SHUTDOWN_GRACE="soon", QUEUE_NAME="a b", PORT="70000", REDIS_TLS="maybe") == [
        "QUEUE_NAME='a b': must match ^[A-Za-z0-9_.:-]{1,128}$",
        "WORKER_CONCURRENCY='0': must be >= 1",
        "SHUTDOWN_GRACE='soon': must be a number",
        "PORT='70000': must be <= 65535",
        "REDIS_TLS='maybe': must be one of 1 t true 0 f false",
    ]


def test_the_port_of_a_service_wins_over_port():
    settings = load_settings({"PORT": "9000", "WORKER_PORT": "9001"})
    assert (settings.producer_port, settings.worker_port) == (9000, 9001)
    settings = load_settings({"PORT": "no", "PRODUCER_PORT": "1", "WORKER_PORT": "2"})
    assert (settings.producer_port, settings.worker_port) == (1, 2), "PORT is asked only where it is needed"
    assert faults(PORT="no") == ["PORT='no': must be a whole number"], "said once, though two services read it"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"REDIS_ADDR": "cache:7000"}, "redis://cache:7000"),
        ({"REDIS_ADDR": "[::1]:7000"}, "redis://[::1]:7000"),
        ({"REDIS_ADDR": "cache:7000", "REDIS_TLS": "T"}, "rediss://cache:7000"),
        ({"REDIS_ADDR": "cache:7000", "REDIS_TLS": "0"}, "redis://cache:7000"),
        ({"REDIS_PASSWORD": "p@ss/word"}, "redis://:p%40ss%2Fword@localhost:6379"),
        ({"REDIS_USERNAME": "u", "REDIS_PASSWORD": "p"}, "redis://u:p@localhost:6379"),
        ({"REDIS_URL": "rediss://x:1/2", "REDIS_ADDR": "cache:7000"}, "rediss://x:1/2"),
        ({"REDIS_URL": "unix:///run/redis.sock"}, "unix:///run/redis.sock"),
        ({"REDIS_URL": "redis+sentinel://:p@h1:1,h2,[::1]:3/jobs/2"}, "redis+sentinel://:p@h1:1,h2,[::1]:3/jobs/2"),
        ({"REDIS_URL": "rediss+cluster://u:p@h1:1,h2:2"}, "rediss+cluster://u:p@h1:1,h2:2"),
    ],
)
def test_where_redis_is(environ, url):
    assert load_settings(environ).redis_url == url


@pytest.mark.parametrize(
    "environ",
    [
        {"REDIS_URL": "http://u:geheim@h"},
        {"REDIS_URL": "redis://u:geheim@h:port"},
        {"REDIS_URL": "redis://u:geheim@h:1/zero"},
        {"REDIS_ADDR": "user:geheim@h"},
        {"DATABASE_URL": "mysql://u:geheim@h/d"},
        {"DATABASE_URL": "postgresql://u:geheim@h:port/d"},
        {"DATABASE_URL": "postgresql://h1:1,u:geheim@h2:port/d"},
        {"DATABASE_URL": "postgresql://u:12#geheim@h/d"},  # a number before the #: all of it would be host and port
        {"REDIS_URL": "redis://:12#geheim@h:1"},
        {"REDIS_URL": "redis://u:geheim@h1:1,h2:2"},
        {"REDIS_URL": "redis+sentinel://u:geheim@h1:1,h2:2"},
        {"REDIS_URL": "redis+sentinel://u:geheim@h1:1,h2:port/jobs"},
        {"REDIS_URL": "redis+sentinel://u:geheim@h1:1,h2:2/jobs/zero"},
        {"REDIS_URL": "redis+sentinel://u:geheim@h1:1,,h2:2/jobs"},
        {"REDIS_URL": "redis+sentinel://u:geheim@/jobs"},
        {"REDIS_URL": "redis+cluster://u:geheim@h1:1,h2:2/3"},
        {"REDIS_URL": "redis+cluster://u:geheim@:1"},
        {"REDIS_URL": "redis+cluster://:12#geheim@h:1"},
        {"REDIS_URL": "redis+ring://u:geheim@h:1"},
        {"SMTP_URL": "http://u:geheim@h"},
    ],
)
def test_a_wrong_url_shows_no_secret(environ):
    [fault] = faults(**environ)
    assert fault.startswith(f"{next(iter(environ))}=***: ")
    assert "geheim" not in fault


def test_postgres_may_be_several_hosts():
    url = "postgresql://u:p@h1:1,h2:2,[::1]:3/d?target_session_attrs=primary"
    assert load_settings({"DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize("variable", ["QUEUE_NAME", "DATABASE_SCHEMA"])
@pytest.mark.parametrize("name", ["a\n", "a b", "ä", "a;b", "{a}", "x" * 129])
def test_names_of_queue_and_schema_follow_a_rule(variable, name):
    [fault] = faults(**{variable: name})
    assert fault.startswith(f"{variable}={name!r}: must match ^[")
    assert fault.endswith("}$")


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e400", "10s", " 5", "1_0"])
def test_seconds_are_a_bounded_number(seconds):
    [fault] = faults(SHUTDOWN_GRACE=seconds)
    assert fault.startswith(f"SHUTDOWN_GRACE={seconds!r}: ")


@pytest.mark.parametrize("number", ["2.5", "two", "-1", "99999999999999999999", "9" * 5000])
def test_a_number_of_jobs_is_whole_and_bounded_and_not_shown_at_length(number):
    [fault] = faults(WORKER_CONCURRENCY=number)
    assert len(fault) < 300


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":6379", "h:99999", "a b:1"])
def test_an_address_is_host_and_port(address):
    [fault] = faults(REDIS_ADDR=address)
    assert fault == f"REDIS_ADDR={address!r}: must be host:port, such as localhost:6379"


@pytest.mark.parametrize("origins", ["*", "https://a.example", "https://a.example, http://localhost:5173"])
def test_origins(origins):
    assert load_settings({"ALLOWED_ORIGINS": origins}).origins == {part.strip() for part in origins.split(",")}


@pytest.mark.parametrize("origins", ["a.example", "https://a.example/path", "*, https://a.example"])
def test_what_is_no_origin_is_refused(origins):
    assert "is no origin" in faults(ALLOWED_ORIGINS=origins)[0]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:geheim@h:1/0", "redis://h:1/0"),
        ("postgresql://u:geheim@h/d?password=geheim", "postgresql://u@h/d"),
        ("redis://u:p%40geheim@h:1", "redis://u@h:1"),
        ("unix://u:geheim@/run/s?password=geheim", "unix://u@/run/s"),
        ("redis://h:1", "redis://h:1"),
        ("redis+sentinel://u:geheim@h1:1,h2:2/jobs/1?sentinel_password=geheim", "redis+sentinel://u@h1:1,h2:2/jobs/1"),
        ("redis+cluster://:geheim@h1:1,[::1]:2", "redis+cluster://h1:1,[::1]:2"),
        ("redis://geheim@h:1", "redis://***@h:1"),
        ("redis://geheim:@h:1", "redis://***@h:1"),
        ("postgresql://u:12/geheim@host/db", "postgresql://***"),
        ("postgresql://u:12?geheim@host/db", "postgresql://***"),
        ("smtp://u:12#geheim@host:25", "smtp://***"),
        ("redis://h/0?password=x@geheim", "redis://***"),
        ("smtps://me@example.com:geheim@mail.example.com:465", "smtps://***@mail.example.com:465"),
        ("redis://u:geheim", "redis://***"),
        ("redis://u:geheim@h\nforged", "redis://***"),
        ("host=h password=geheim", "***"),
        ("", "***"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown


def test_one_death_alone_proves_nothing_against_a_job():
    assert faults(MAX_RECOVERIES="1") == ["MAX_RECOVERIES='1': must be >= 2"]


@pytest.mark.parametrize(
    "environ",
    [{"ALLOWED_ORIGINS": "https://*.example"}, {"ALLOWED_ORIGINS": "https://app.example/"},
     {"ALLOWED_ORIGINS": "*, https://a.example"}, {"ALLOWED_HOSTS": "*.example"}, {"ALLOWED_HOSTS": "a.example:80"},
     {"ALLOWED_HOSTS": "https://a.example"}, {"ALLOWED_HOSTS": "a b"}],
)  # fmt: skip
def test_a_name_that_no_request_can_have_is_refused(environ):
    with pytest.raises(InvalidSettings) as refused:
        load_settings(environ)
    [fault] = refused.value.faults
    assert fault.startswith(next(iter(environ)))


BETWEEN = st.text(st.sampled_from("/?#@:%[],;=&12aB \n\0\udcff"), max_size=6)
FORMS = [
    "{scheme}://u:{secret}@h:1/0", "{scheme}://:{secret}@h", "{scheme}://{secret}@h/db", "{scheme}://{secret}:@h",
    "{scheme}://u:p@h/0?password={secret}", "{scheme}://h?sentinel_password={secret}", "{scheme}://u:{secret}@h1:1,h2/s",
    "{scheme}://u:{secret}@/run/s",
]  # fmt: skip
VARIABLES = {
    "redis": "REDIS_URL", "rediss": "REDIS_URL", "unix": "REDIS_URL", "redis+sentinel": "REDIS_URL",
    "redis+cluster": "REDIS_URL", "postgresql": "DATABASE_URL", "smtp": "SMTP_URL", "smtps": "SMTP_URL",
}  # fmt: skip


@given(st.sampled_from(sorted(VARIABLES)), st.sampled_from(FORMS), BETWEEN, BETWEEN)
@examples(max_examples=1000)
def test_no_url_shows_its_secret_however_it_is_mangled(scheme, form, before, after):
    if form.startswith("{scheme}://{secret}"):  # before a colon and a password stands a user, who is shown
        after = after.replace(":", "")
    url = form.format(scheme=scheme, secret=f"{before}S3CRET{after}")
    assert "S3CRET" not in without_password(url)
    try:
        load_settings({VARIABLES[scheme]: url})
    except InvalidSettings as error:
        [fault] = error.faults
        assert "S3CRET" not in fault
        assert "\n" not in fault


URL_PIECES = st.sampled_from([
    "redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://", "h", ".", "..", ":", "@", "/", "?",
    "#", "[", "]", "::1", "%00", "%ff", "%zz", "%", "\0", "\n", ",", "1", "65536", "db=", "=", "&", "ä", "\udcff",
    "x" * 70, "ssl_cert_reqs=", "none", " ", "\u2028", "\uff0e",
])  # fmt: skip


@given(st.sampled_from(["redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://"]),
       st.lists(URL_PIECES, max_size=8).map("".join))  # fmt: skip
@examples(max_examples=1500)
def test_any_redis_url_is_refused_in_one_line_or_can_be_connected_to(scheme, rest):
    try:
        url = load_settings({"REDIS_URL": scheme + rest}).redis_url
    except InvalidSettings as error:
        [fault] = error.faults
        assert fault.startswith("REDIS_URL=***: ")
        assert fault.isprintable()
        return
    parts = target(url, "q")
    client(parts, 1, seconds=1, read_seconds=1).connection_pool.make_connection()
    hosts = [node.host for node in parts.master.nodes] or [parts.options.get("host", "localhost")]
    for host in hosts:
        host.encode("idna")
        assert "\0" not in host
    assert "\0" not in parts.options.get("path", "")


@pytest.mark.parametrize(
    "option",
    ["decode_responses=True", "protocol=3", "encoding=latin-1", "encoding_errors=ignore", "max_connections=1",
     "socket_timeout=0", "socket_timeout=0.001", "socket_connect_timeout=0", "retry_on_timeout=True",
     "single_connection_client=True", "health_check_interval=1", "timeout=0", "host=other", "port=1", "path=/x",
     "legacy_responses=no", "connection_class=x", "parser_class=x", "socket_keepalive=1"],
)  # fmt: skip
@pytest.mark.parametrize("base", ["redis://h/0", "rediss://h", "unix:///run/s", "redis+sentinel://h/s"])
def test_an_option_that_would_change_answers_is_refused_by_name(base, option):
    [fault] = faults(REDIS_URL=f"{base}?{option}")
    assert fault.startswith(f"REDIS_URL=***: the option {option.partition('=')[0]} is not taken here; allowed are ")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs must match none|optional|required"),
        ("redis://h?ssl_cert_reqs=none", "ssl_cert_reqs is not taken here"),
        ("rediss://h?ssl_check_hostname=perhaps", "must be true or false"),
        ("redis://h?db=one", "db must match"),
        ("redis://h?client_name=a%20b", "must be visible ASCII"),
        ("redis://h?password=", "must not be empty"),
        ("redis://h?geheim", "an option behind . is not taken here"),
        ("redis://h?sentinel_password=x", "sentinel_password is not taken here"),
        ("redis+cluster://h?db=1", "a Cluster has no other databases"),
        ("redis://.host", "must be host:port"),
        ("redis://a..b:1", "must be host:port"),
        ("redis+sentinel://a,.b/s", "must be host:port"),
        ("redis+cluster://a,b:0", "must be host:port"),
        ("redis://" + "x" * 64, "must be host:port"),
        ("redis://h:0", "must be host:port"),
        ("redis://h:65536", "cannot be parsed"),
        ("redis://[::1", "cannot be parsed"),
        ("redis://[::1%25]:1", "must be host:port"),
        ("redis://[::1::2]", "cannot be parsed|must be host:port"),
        ("redis://::1:6379", "cannot be parsed"),
        ("redis://h%00", "must be host:port"),
        ("redis://h%2fx", "must be host:port"),
        ("redis://:%ff@h", "stands for no UTF-8"),
        ("redis://:\udcff@h", "is no UTF-8"),
        ("redis://h\n", "control character"),
        ("redis://h/\0", "control character|path must end"),
        ("unix://", "must name a socket"),
        ("unix:///%00", "must name a socket"),
        ("unix:///" + "x" * 107, "must name a socket"),
        ("redis+sentinel://u:12/geheim@h/s", "has an @ behind the hosts"),
        ("redis://u:12/geheim@h", "has an @ behind the hosts"),
    ],
)
def test_a_redis_url_that_cannot_work_is_one_line(url, says):
    [fault] = faults(REDIS_URL=url)
    assert re.search(says, fault), fault
    assert "geheim" not in fault


@pytest.mark.parametrize(
    "url",
    [
        "redis://", "redis://h", "redis://h:1", "redis://h./2", "redis://[::1]:1/0", "redis://[fe80::1%25lo]:1",
        "redis://u:%00%20@h", "redis://a_b:1", "redis://h?db=3&client_name=me&username=u&password=p",
        "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false", "rediss://h?ssl_cert_reqs=required",
        "unix:///run/s?db=1&password=a%40b", "redis+sentinel://h/s?sentinel_username=u&sentinel_password=p",
        "redis+cluster://h/0", "redis://b\u00fccher.example:1", "redis://:a%zz@h",
    ],
)  # fmt: skip
def test_a_redis_url_that_may_work_is_taken(url):
    assert load_settings({"REDIS_URL": url}).redis_url == url
    client(target(url, "q"), 1, seconds=1, read_seconds=1).connection_pool.make_connection()


@pytest.mark.parametrize(
    "option", ["ssl_ca_certs=/nowhere/x", "ssl_ciphers=none-such", "ssl_ca_data=x", "ssl_keyfile=/x"]
)
def test_tls_options_that_cannot_be_used_are_one_line(option):
    with pytest.raises(InvalidSettings, match="cannot be used") as refused:
        load_settings({"REDIS_URL": f"rediss://h?{option}"})
    assert len(refused.value.faults) == 1


@pytest.mark.parametrize("address", ["a..b:1", ".a:1", "h:0", "x" * 64 + ":1"])
def test_an_address_without_a_host_is_refused(address):
    assert faults(REDIS_ADDR=address) == [f"REDIS_ADDR={address!r}: must be host:port, such as localhost:6379"]
