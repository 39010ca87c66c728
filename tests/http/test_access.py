"""Which requests are answered at all, rule by rule."""

import pytest

from workqueue.core.settings import Settings, load_settings
from workqueue.services.http.access import ORIGIN_NOT_ALLOWED, UNKNOWN_HOST, Access

LOOPBACK = ("127.0.0.1", 8080)


def refusal(settings: Settings, method: str, server: tuple[str, int | None] = LOOPBACK, **headers: str):
    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Access(settings).refusal({"method": method, "headers": named, "server": server})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8080", "localhost", "LocalHost.:8080", "app.localhost", "[::1]:8080", "10.2.3.4:1",
     "[fe80::1]", "jobs.example", "Jobs.Example:443", "my.host", "page.example:8443", ""],
)  # fmt: skip
def test_a_host_that_is_ours_is_answered(host):
    settings = Settings(
        host="my.host", allowed_hosts="jobs.example, other.example", allowed_origins="https://page.example"
    )
    assert refusal(settings, "GET", host=host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8080", "localhost@evil.example",
     "evil.example.", "jobs.example.evil", "[", "[::1", "a b", "0x7f000001", "\xe9", "127.1", "evil.example:x"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_another_host_is_refused(host, method):
    assert refusal(Settings(allowed_hosts="jobs.example"), method, host=host) == UNKNOWN_HOST


def test_a_star_switches_the_check_of_hosts_off():
    assert refusal(Settings(allowed_hosts="*"), "GET", host="anything") is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "MKCOL"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://evil.localhost.example", "null", "", "file://", "http://8.8.8.8", "x"]
)
def test_a_page_of_another_site_changes_nothing(method, origin):
    assert refusal(Settings(), method, host="localhost:8080", origin=origin) == ORIGIN_NOT_ALLOWED
    assert refusal(Settings(), "GET", host="localhost:8080", origin=origin) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("localhost:8080", "http://localhost:5173"),  # Vite's proxy
        ("127.0.0.1:8080", "http://localhost:3000"),
        ("jobs.example", "https://jobs.example"),  # a proxy that speaks TLS for us
        ("jobs.example:443", "https://jobs.example"),
        ("JOBS.example", "https://jobs.example:443"),
        ("localhost", "https://page.example"),
    ],
)
def test_our_own_page_and_allowed_ones_may_change_things(host, origin):
    settings = Settings(allowed_hosts="jobs.example", allowed_origins="https://page.example")
    assert refusal(settings, "POST", host=host, origin=origin, sec_fetch_site="cross-site") is None


def test_a_page_on_loopback_is_ours_only_where_the_listener_is():
    settings = Settings(allowed_hosts="*")
    here = {"host": "10.0.0.7:8080", "origin": "http://localhost:5173"}
    assert refusal(settings, "POST", ("10.0.0.7", 8080), **here) == ORIGIN_NOT_ALLOWED
    assert refusal(settings, "POST", ("::1", 8080), **here) is None
    assert refusal(settings, "POST", ("/run/producer.sock", None), **here) == ORIGIN_NOT_ALLOWED


def test_another_port_or_scheme_of_a_name_is_another_page():
    settings = Settings(allowed_hosts="jobs.example")
    for origin in (
        "https://jobs.example:8443",
        "http://jobs.example:81",
        "https://jobs.example.",
        "https://jobs.exampl",
    ):
        assert refusal(settings, "POST", host="jobs.example", origin=origin) == ORIGIN_NOT_ALLOWED


def test_programs_send_neither_header():
    assert refusal(Settings(), "POST", host="localhost") is None
    assert refusal(Settings(), "POST", host="localhost", sec_fetch_site="cross-site") == ORIGIN_NOT_ALLOWED
    for site in ("same-origin", "same-site", "none"):
        assert refusal(Settings(), "POST", host="localhost", sec_fetch_site=site) is None


def test_all_origins_may_change_things_where_all_are_allowed():
    assert refusal(Settings(allowed_origins="*"), "POST", host="localhost", origin="https://a.example") is None


def test_two_origins_are_none():
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"origin", b"https://evil.example")]
    scope = {"method": "POST", "headers": headers, "server": LOOPBACK}
    assert Access(Settings()).refusal(scope) == ORIGIN_NOT_ALLOWED


def test_allowed_origins_are_read_as_browsers_write_them():
    settings = load_settings({"ALLOWED_ORIGINS": "HTTPS://App.Example:443, http://a.example:8080"})
    assert settings.origins == {"https://app.example", "http://a.example:8080"}
