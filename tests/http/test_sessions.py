"""Session cookies: who can make one, and when one ends."""

import os

import pytest

from workqueue.core.api_tokens import ApiToken, Role, digest_of
from workqueue.services.http.sessions import NONCE_BYTES, seal, unseal

SECRET = b"s3cret-of-sixteen-and-more"
OPS = ApiToken("ops", Role.OPERATE, digest_of(SECRET))
OTHER = ApiToken("other", Role.ADMIN, digest_of(SECRET + b"!"))
NOW = 1_800_000_000


def cookie(token: ApiToken = OPS, secret: bytes = SECRET, *, ends_at: int = NOW + 60) -> str:
    return seal(token, secret, ends_at=ends_at, nonce=os.urandom(NONCE_BYTES))


def test_a_session_holds_in_each_process_that_has_the_token():
    assert unseal(cookie(), [OTHER, OPS], now=NOW) == (OPS, NOW + 60)


def test_a_session_has_the_role_that_its_token_has_now():
    less = ApiToken("ops", Role.READ, OPS.digest)
    assert unseal(cookie(), [less], now=NOW) == (less, NOW + 60)


def test_a_session_ends_at_its_end_and_with_its_token():
    assert unseal(cookie(), [OPS], now=NOW + 60) is None
    assert unseal(cookie(), [], now=NOW) is None
    assert unseal(cookie(), [ApiToken("ops", Role.OPERATE, digest_of(b"another secret of it"))], now=NOW) is None


def test_a_cookie_shows_no_secret_and_no_two_are_alike():
    assert SECRET.decode() not in cookie()
    assert cookie() != cookie()


@pytest.mark.parametrize("at", range(6))
def test_no_part_of_a_cookie_can_be_changed(at: int):
    parts = cookie().split(".")
    changed = {0: "2", 1: "other", 2: str(NOW + 61)}.get(at) or ("B" if parts[at][0] == "A" else "A") + parts[at][1:]
    parts[at] = changed
    assert unseal(".".join(parts), [OPS, OTHER], now=NOW) is None


def test_the_hash_of_a_token_makes_no_session():
    # A reader of API_TOKENS_FILE with sha256=... in it has all that the server has.
    for guess in (OPS.digest, OPS.digest.hex().encode(), b""):
        assert unseal(cookie(secret=guess), [OPS], now=NOW) is None


@pytest.mark.parametrize(
    "value",
    ["", "x", ".....", "1.ops.9999999999...", "1.ops.x.AAAA.AAAA.AAAA", "1.ops.-1.AAAA.AAAA.AAAA",
     "1.ops.²." + "A" * 22, "1.ops.9999999999.é.é.é", "1.ops.9999999999." + ".".join(["A" * 22] * 3),
     "1.ops.99999999999999999.A.A.A",
     "1.ops.9999999999.AAAAAAAAAAAAAAAAAAAAAA." + "A" * 5000 + ".AAAA"],
)  # fmt: skip
def test_what_is_no_cookie_of_ours_is_none(value: str):
    assert unseal(value, [OPS], now=NOW) is None
