"""Session cookies: what the page has instead of a token. Pure.

A session must outlast a restart and hold in each process of `--workers N`, so no process may know anything of it that
the others do not. What they share are the hashes of the tokens; with a key that is made of these alone, a reader of
API_TOKENS_FILE could make sessions, and `sha256=` exists so that the hashes open nothing. So the secret itself is what
proves a session, and the cookie carries it sealed:

    1 . name of the token . end in seconds since 1970 . nonce . secret XOR SHAKE-256(hash, nonce) . MAC

with HMAC-SHA-256, whose key is the secret, over all before it. Only a process that has the token's hash can open the
seal, only a holder of the secret can make one, and a cookie ends with its token: another secret has another hash.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

from workqueue.core.api_tokens import SECRET_LENGTH_MAX, ApiToken, digest_of

SESSION_SECONDS = 12 * 3600  #: a day's work; nothing ends a session that was copied before that but another secret
NONCE_BYTES = 16
LENGTH_MAX = 1024  #: of a cookie that is looked at

_VERSION = "1"


def seal(token: ApiToken, secret: bytes, *, ends_at: int, nonce: bytes) -> str:
    """The value of a cookie for the holder of `secret`, until `ends_at` (since 1970). A nonce is used once."""
    sealed = _xor(secret, token.digest, nonce)
    signed = f"{_VERSION}.{token.name}.{ends_at}.{_encode(nonce)}.{_encode(sealed)}"
    return f"{signed}.{_encode(_mac(secret, signed))}"


def unseal(value: str, tokens: Iterable[ApiToken], *, now: float) -> tuple[ApiToken, int] | None:
    """Whose session it is, and its end; None: it is none of ours, has ended, or its token is gone or another one."""
    parts = value.split(".")
    if len(value) > LENGTH_MAX or len(parts) != 6 or parts[0] != _VERSION:
        return None
    _, name, end, *encoded = parts
    token = next((each for each in tokens if each.name == name), None)
    decoded = [_decode(part) for part in encoded]
    if token is None or None in decoded or not (end.isascii() and end.isdecimal() and len(end) <= 12):
        return None
    nonce, sealed, mac = (part or b"" for part in decoded)
    if len(nonce) != NONCE_BYTES or len(sealed) > SECRET_LENGTH_MAX:
        return None
    secret = _xor(sealed, token.digest, nonce)
    is_holder = hmac.compare_digest(digest_of(secret), token.digest)
    is_whole = hmac.compare_digest(_mac(secret, value.rpartition(".")[0]), mac)
    return (token, int(end)) if is_holder and is_whole and int(end) > now else None


def _xor(text: bytes, digest: bytes, nonce: bytes) -> bytes:
    stream = hashlib.shake_256(b"workqueue session\0" + digest + nonce).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, stream, strict=True))


def _mac(secret: bytes, signed: str) -> bytes:
    return hmac.digest(secret, f"workqueue session\0{signed}".encode(), "sha256")


def _encode(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    try:
        return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        return None
