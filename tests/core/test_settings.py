import pytest

from core.errors import InvalidSettings
from core.settings import load_settings, without_password


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
def test_a_name_by_which_things_are_found_follows_a_rule(variable, name):
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
