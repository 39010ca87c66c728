"""API tokens out of their text, and what a fault of it says: never the text."""

import hashlib

import pytest

from workqueue.core.api_tokens import GRANTS, TOKENS_MAX, Role, digest_of, read_lines, read_setting, secret_fault

SECRET = "s3cret-of-sixteen-and-more"
HASH = hashlib.sha256(SECRET.encode()).hexdigest()


def test_a_secret_and_its_hash_are_one_token():
    for written in (SECRET, f"sha256={HASH}", f"sha256={HASH.upper()}"):
        [token], faults = read_setting(f"ci:enqueue:{written}")
        assert (token.name, token.role, token.digest, faults) == ("ci", Role.ENQUEUE, digest_of(SECRET.encode()), [])


def test_several_are_separated_by_commas_or_by_lines_with_comments():
    tokens, faults = read_setting(f" ci:enqueue:{SECRET} , ops:operate:{SECRET}:with:colons,,")
    assert ([token.name for token in tokens], faults) == (["ci", "ops"], [])
    assert tokens[1].digest == digest_of(f"{SECRET}:with:colons".encode())
    tokens, faults = read_lines(f"# ours\n\n  ci:enqueue:{SECRET}#,  \r\n#x:y:z\nops:admin:sha256={HASH}")
    assert ([token.name for token in tokens], faults) == (["ci", "ops"], [])
    assert tokens[0].digest == digest_of(f"{SECRET}#,".encode()), "a comment begins a line"


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (SECRET, "must be name:role:secret or name:role:sha256=HEX"),
        (f"ci:{SECRET}", "must be name:role:secret or name:role:sha256=HEX"),
        ("ci:read:", "must be name:role:secret or name:role:sha256=HEX"),
        (f"{SECRET}!:read:ci", "the name must be of 1 to 64 letters, digits, _ and -"),
        (f":read:{SECRET}", "the name must be of 1 to 64 letters, digits, _ and -"),
        (f"ci:{SECRET}:read", "the role must be one of enqueue, read, operate, admin"),
        (f"ci:public:{SECRET}", "the role must be one of enqueue, read, operate, admin"),
        (f"ci:any:{SECRET}", "the role must be one of enqueue, read, operate, admin"),
        ("ci:read:" + "x" * 15, "the secret must have 16 to 256 characters, and has 15"),
        ("ci:read:" + "x" * 257, "the secret must have 16 to 256 characters, and has 257"),
        (f"ci:read:{SECRET} x", "the secret must be of visible ASCII characters"),
        (f"ci:read:{SECRET}é", "the secret must be of visible ASCII characters"),
        (f"ci:read:sha256={HASH}0", "behind sha256= must be 64 hexadecimal digits"),
        ("ci:read:sha256=" + "x" * 64, "behind sha256= must be 64 hexadecimal digits"),
    ],
)
def test_a_fault_says_where_and_what_and_shows_nothing_of_the_entry(entry: str, fault: str):
    tokens, faults = read_setting(f"ok:read:{SECRET * 2},{entry}")
    assert [token.name for token in tokens] == ["ok"]
    assert faults == [f"entry 2: {fault}"]
    assert read_lines(f"\n{entry}")[1] == [f"line 2: {fault}"]


def test_all_faults_are_said_at_once_and_two_tokens_have_nothing_in_common():
    text = f"a:read:{SECRET},a:admin:{SECRET}2,b:admin:sha256={HASH},c:read:short"
    assert read_setting(text)[1] == [
        "entry 2: another token has the same name",
        "entry 3: another token has the same secret",
        "entry 4: the secret must have 16 to 256 characters, and has 5",
    ]


def test_what_is_set_and_has_no_token_is_a_fault_because_everything_would_be_open():
    assert read_setting(" , ") == ([], ["has no token"])
    assert read_lines("# nothing\n") == ([], ["has no token"])


def test_there_is_a_limit():
    tokens, faults = read_lines("\n".join(f"t{n}:read:{SECRET}{n}" for n in range(TOKENS_MAX + 2)))
    assert (len(tokens), faults) == (TOKENS_MAX, ["more than 1000 tokens"])


def test_what_each_role_includes():
    assert {role: sorted(GRANTS[role]) for role in GRANTS} == {
        Role.ENQUEUE: ["any", "enqueue", "public"],
        Role.READ: ["any", "public", "read"],
        Role.OPERATE: ["any", "enqueue", "operate", "public", "read"],
        Role.ADMIN: ["admin", "any", "enqueue", "operate", "public", "read"],
    }


def test_a_secret_alone():
    assert secret_fault(SECRET) is None
    assert secret_fault("short") == "the secret must have 16 to 256 characters, and has 5"
