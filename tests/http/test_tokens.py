"""Who may call what: headers, cookies, and what is said of a wrong token."""

import hashlib
import hmac
import logging

import pytest

from workqueue.core.api_tokens import Role, read_setting
from workqueue.core.settings import Settings
from workqueue.services.http.access import ORIGIN_NOT_ALLOWED, Access
from workqueue.services.http.messages import Scope
from workqueue.services.http.tokens import CALLER, COOKIE, NOT_ALLOWED, TOKEN_REQUIRED, Caller, Gate, Tokens

SECRETS = {role: f"the-secret-of-{role}-1234" for role in ("enqueue", "read", "operate", "admin")}
TEXT = ",".join(f"{role}-1:{role}:{secret}" for role, secret in SECRETS.items())
NOW = 1_800_000_000.0
SERVER = ("127.0.0.1", 8080)


def tokens(now: float = NOW) -> Tokens:
    return Tokens(read_setting(TEXT)[0], now=lambda: now)


def scope(method: str = "GET", *headers: tuple[str, str]) -> Scope:
    named = [(b"host", b"localhost:8080"), *((name.encode(), value.encode("latin-1")) for name, value in headers)]
    return {"method": method, "path": "/x", "headers": named, "server": SERVER, "client": ("10.0.0.9", 5)}


def bearer(secret: str) -> tuple[str, str]:
    return "authorization", f"Bearer {secret}"


def session(of: Tokens, role: str = "operate") -> tuple[str, str]:
    secret = SECRETS[role].encode()
    token = of.of_secret(secret, scope())
    assert token is not None
    return "cookie", f"a=b; {COOKIE}={of.open_session(token, secret)[0]}; c=d"


def refusal(request: Scope, role: Role = Role.READ, given: Tokens | None = None):
    return Gate(given or tokens(), lambda method, path: role).refusal(request, Access(Settings()))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_a_token_in_the_header_names_its_caller(scheme: str):
    request = scope("GET", ("authorization", f"{scheme} {SECRETS['read']}"))
    assert refusal(request) is None
    assert request[CALLER] == Caller("read-1", Role.READ)


def test_what_is_public_asks_for_no_token_and_a_wrong_one_does_no_harm_there():
    for headers in ([], [bearer("wrong")]):
        request = scope("GET", *headers)
        assert refusal(request, Role.PUBLIC) is None
        assert CALLER not in request


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [bearer("")],
        [bearer("wrong")],
        [bearer(SECRETS["admin"][:-1])],
        [bearer(SECRETS["admin"] + "x")],
        [bearer(SECRETS["admin"].upper())],
        [("authorization", SECRETS["admin"])],
        [("authorization", f"Basic {SECRETS['admin']}")],
        [("authorization", f"Token {SECRETS['admin']}")],
        [bearer(SECRETS["admin"]), bearer(SECRETS["admin"])],
        [("cookie", f"{COOKIE}={SECRETS['admin']}")],
        [("cookie", f"other={SECRETS['admin']}")],
        [bearer(hashlib.sha256(SECRETS["admin"].encode()).hexdigest())],
        [bearer(f"sha256={hashlib.sha256(SECRETS['admin'].encode()).hexdigest()}")],
        [bearer("é\xff")],
    ],
)
def test_without_a_right_token_nothing_passes(headers):
    assert refusal(scope("GET", *headers), Role.ANY) == TOKEN_REQUIRED


def test_a_session_names_its_caller_and_ends():
    given = tokens()
    request = scope("GET", session(given))
    assert refusal(request, given=given) is None
    assert request[CALLER] == Caller("operate-1", Role.OPERATE, int(NOW) + 12 * 3600)
    for later, status in ((12 * 3600 - 1, None), (12 * 3600, TOKEN_REQUIRED)):
        assert refusal(scope("GET", session(given)), given=tokens(NOW + later)) == status


def test_the_header_counts_where_both_are_there_and_a_proxys_own_header_does_not():
    given = tokens()
    assert refusal(scope("GET", session(given), bearer("wrong")), given=given) == TOKEN_REQUIRED
    request = scope("GET", session(given), bearer(SECRETS["read"]))
    assert refusal(request, given=given) is None
    assert request[CALLER].name == "read-1"
    assert refusal(scope("GET", session(given), ("authorization", "Basic dXNlcjpwdw==")), given=given) is None


def test_another_cookie_of_our_name_is_no_hindrance():
    given = tokens()
    name, value = session(given)
    assert refusal(scope("GET", ("cookie", f"{COOKIE}=stale; {value}")), given=given) is None
    assert refusal(scope("GET", ("cookie", f"{COOKIE}=stale"), (name, value)), given=given) is None


@pytest.mark.parametrize("role", ["enqueue", "read", "operate", "admin"])
def test_a_role_that_does_not_suffice_is_said_to(role: str):
    may = {
        "enqueue": {Role.ANY, Role.ENQUEUE},
        "read": {Role.ANY, Role.READ},
        "operate": {Role.ANY, Role.ENQUEUE, Role.READ, Role.OPERATE},
        "admin": {Role.ANY, Role.ENQUEUE, Role.READ, Role.OPERATE, Role.ADMIN},
    }[role]
    for asked in set(Role) - {Role.PUBLIC}:
        assert refusal(scope("GET", bearer(SECRETS[role])), asked) == (None if asked in may else NOT_ALLOWED)


@pytest.mark.parametrize(
    ("origin", "refused"),
    [
        (None, False),
        ("http://localhost:8080", False),
        ("https://localhost:8080", False),
        ("http://localhost:3000", True),  # a page of another program, which gets the cookies of localhost too
        ("https://evil.example", True),
        ("null", True),
    ],
)
def test_a_session_acts_for_our_own_page_alone(origin: str | None, refused: bool):
    given = tokens()
    headers = [session(given), *([("origin", origin)] if origin else [])]
    assert refusal(scope("POST", *headers), given=given) == (ORIGIN_NOT_ALLOWED if refused else None)
    assert refusal(scope("GET", *headers), given=given) is None
    headers[0] = bearer(SECRETS["operate"])
    assert refusal(scope("POST", *headers), given=given) is None, "no page has a token that it was not given"


def test_a_token_that_is_replaced_and_its_sessions_are_none_any_more():
    given = tokens()
    cookie = session(given, "admin")
    gate = Gate(given, lambda method, path: Role.READ)
    asked = [scope("GET", cookie), scope("GET", bearer(SECRETS["admin"]))]
    assert [gate.refusal(each, Access(Settings())) for each in asked] == [None, None]
    given.replace(read_setting("admin-1:admin:another-secret-of-admin")[0])
    assert [gate.refusal(each, Access(Settings())) for each in asked] == [TOKEN_REQUIRED] * 2


def test_each_token_is_compared_by_its_hash_and_in_constant_time(monkeypatch):
    compared = []

    def count(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("workqueue.services.http.tokens.hmac", type("Counted", (), {"compare_digest": count}))
    for secret in (SECRETS["enqueue"], SECRETS["admin"], "wrong"):
        compared.clear()
        tokens().of_secret(secret.encode(), scope())
        assert len(compared) == 4, "the first that fits is not the last that is looked at"
        assert {len(each) for pair in compared for each in pair} == {32}


def test_wrong_tokens_are_logged_seldom_with_the_client_and_never_shown(caplog):
    given = tokens()
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            refusal(scope("GET", bearer("a-wrong-secret-1234")), given=given)
            refusal(scope("GET"), given=given)
    [record] = caplog.records
    assert record.getMessage() == "a wrong token came from 10.0.0.9 for GET '/x'"
