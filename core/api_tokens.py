"""API tokens as their text says: names, roles and hashes. Pure; no secret leaves this module, nor stands in a fault.

What checks a request: services/http/tokens.py. An API token has nothing to do with the token of a claim.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

TOKENS_MAX = 1000
SECRET_LENGTH_MIN, SECRET_LENGTH_MAX = 16, 256
HASHED = "sha256="

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECRET = re.compile(r"[!-~]+")
_HASH = re.compile(r"[0-9a-fA-F]{64}")


class Role(StrEnum):
    """What a caller must be allowed to do. The last four are roles of tokens as well."""

    PUBLIC = "public"  #: nothing
    ANY = "any"  #: to have a token, whichever
    ENQUEUE = "enqueue"  #: accept jobs
    READ = "read"  #: see jobs, payloads included
    OPERATE = "operate"  #: change what happens to jobs, queues and workers
    ADMIN = "admin"  #: see who did what


#: The role of a token -> what it may do. A program that enqueues must not read what others have sent, and a screen on a
#: wall that reads must not be able to make anything run: neither includes the other.
GRANTS: Mapping[Role, frozenset[Role]] = {
    Role.ENQUEUE: frozenset({Role.PUBLIC, Role.ANY, Role.ENQUEUE}),
    Role.READ: frozenset({Role.PUBLIC, Role.ANY, Role.READ}),
    Role.OPERATE: frozenset({Role.PUBLIC, Role.ANY, Role.ENQUEUE, Role.READ, Role.OPERATE}),
    Role.ADMIN: frozenset(Role),
}


class ApiToken(Struct, frozen=True):
    """One token: whose it is, what it may do, and the SHA-256 of its secret."""

    name: str
    role: Role
    digest: bytes


def digest_of(secret: bytes) -> bytes:
    """The hash that is kept of a secret. Secrets are long and random, so a fast hash does."""
    return hashlib.sha256(secret).digest()


def secret_fault(secret: str) -> str | None:
    """What is wrong with a secret, without showing it; None: nothing."""
    if not SECRET_LENGTH_MIN <= len(secret) <= SECRET_LENGTH_MAX:
        return f"the secret must have {SECRET_LENGTH_MIN} to {SECRET_LENGTH_MAX} characters, and has {len(secret)}"
    if not _SECRET.fullmatch(secret):
        return "the secret must be of visible ASCII characters"
    return None


def read_setting(text: str) -> tuple[list[ApiToken], list[str]]:
    """The tokens of API_TOKENS, separated by commas; and its faults, a sentence each."""
    parts = [(f"entry {number}", part.strip()) for number, part in enumerate(text.split(","), 1)]
    return _read((where, part) for where, part in parts if part)


def read_lines(text: str) -> tuple[list[ApiToken], list[str]]:
    """The tokens of a file, one a line, with comments behind a # at the beginning of a line; and its faults."""
    lines = [(f"line {number}", line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return _read((where, line) for where, line in lines if line and not line.startswith("#"))


def _read(entries: Iterable[tuple[str, str]]) -> tuple[list[ApiToken], list[str]]:
    tokens: list[ApiToken] = []
    faults: list[str] = []
    names: set[str] = set()
    digests: set[bytes] = set()
    for where, entry in entries:
        if len(tokens) == TOKENS_MAX:
            faults.append(f"more than {TOKENS_MAX} tokens")
            break
        found = _read_one(entry)
        if isinstance(found, str):
            faults.append(f"{where}: {found}")
            continue
        if found.name in names:
            faults.append(f"{where}: another token has the same name")
        elif found.digest in digests:
            faults.append(f"{where}: another token has the same secret")
        else:
            tokens.append(found)
        names.add(found.name)
        digests.add(found.digest)
    if not tokens and not faults:
        faults.append("has no token")
    return tokens, faults


def _read_one(entry: str) -> ApiToken | str:
    """The token, or what is wrong. Nothing of the entry is shown: where parts are mixed up, each may be the secret."""
    name, role, secret = (*entry.split(":", 2), "", "")[:3]
    if not secret:
        return "must be name:role:secret or name:role:sha256=HEX"
    if not _NAME.fullmatch(name):
        return "the name must be of 1 to 64 letters, digits, _ and -"
    if role not in list(GRANTS):
        return f"the role must be one of {', '.join(GRANTS)}"
    if secret.startswith(HASHED):
        written = secret.removeprefix(HASHED)
        if not _HASH.fullmatch(written):
            return f"behind {HASHED} must be 64 hexadecimal digits"
        return ApiToken(name, Role(role), bytes.fromhex(written))
    return secret_fault(secret) or ApiToken(name, Role(role), digest_of(secret.encode()))
