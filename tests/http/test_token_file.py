"""Where the tokens come from: a variable, or a file that is read again when it has changed."""

import logging
import os
from pathlib import Path

import pytest
import trio

from tests.support.wait import until_true
from workqueue.core.errors import InvalidSettings
from workqueue.core.settings import Settings, load_settings
from workqueue.services.http import token_file
from workqueue.services.http.token_file import TokenFile, load_tokens
from workqueue.services.http.tokens import Tokens

ONE, TWO = "the-secret-of-number-one", "the-secret-of-number-two"
SCOPE = {"method": "GET", "path": "/", "headers": []}


def faults(**settings: object) -> list[str]:
    with pytest.raises(InvalidSettings) as raised:
        load_tokens(Settings(**settings))  # type: ignore[arg-type]
    return raised.value.faults


def knows(tokens: Tokens, secret: str) -> bool:
    return tokens.of_secret(secret.encode(), SCOPE) is not None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# ours\na:read:{ONE}\n")
    return path


def test_without_tokens_there_are_none():
    assert load_tokens(Settings()) == (None, None)


def test_a_variable_has_them_or_a_file(path: Path):
    tokens, file = load_tokens(Settings(api_tokens=f"a:read:{ONE}"))
    assert tokens is not None
    assert (knows(tokens, ONE), knows(tokens, TWO), file) == (True, False, None)
    tokens, file = load_tokens(Settings(api_tokens_file=str(path)))
    assert tokens is not None
    assert file is not None
    assert (knows(tokens, ONE), knows(tokens, TWO)) == (True, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_tokens_may_be_required_on_loopback_too(host: str, path: Path):
    said = "REQUIRE_TOKENS=1: set API_TOKENS or API_TOKENS_FILE"
    assert faults(require_tokens=True, host=host) == [said]
    assert load_tokens(Settings(require_tokens=True, host=host, api_tokens_file=str(path)))[0] is not None


def test_wrong_settings_are_one_line_each_and_show_no_secret(path: Path):
    with pytest.raises(InvalidSettings) as raised:
        load_settings(
            {
                "API_TOKENS": f"a:read:{ONE},b:{TWO}:read,c:read:short-secret",
                "API_TOKENS_FILE": str(path),
                "METRICS_TOKEN": "short-secret",
                "REQUIRE_TOKENS": "perhaps",
            }
        )
    assert sorted(raised.value.faults) == [
        "API_TOKENS=***: entry 2: the role must be one of enqueue, read, operate, admin",
        "API_TOKENS=***: entry 3: the secret must have 16 to 256 characters, and has 12",
        "API_TOKENS_FILE: API_TOKENS is set as well: set one of both",
        "METRICS_TOKEN=***: the secret must have 16 to 256 characters, and has 12",
        "REQUIRE_TOKENS='perhaps': must be 1 or 0",
    ]


def test_a_wrong_file_is_one_line_for_each_fault(path: Path):
    where = f"API_TOKENS_FILE={str(path)!r}: "
    path.write_text(f"a:read:{ONE}\nb:no:{TWO}\n:read:{TWO}\n")
    assert faults(api_tokens_file=str(path)) == [
        f"{where}line 2: the role must be one of enqueue, read, operate, admin",
        f"{where}line 3: the name must be of 1 to 64 letters, digits, _ and -",
    ]
    path.write_text("# none\n")
    assert faults(api_tokens_file=str(path)) == [f"{where}has no token"]
    path.write_bytes(b"a:read:\xff\xff" + ONE.encode())
    assert faults(api_tokens_file=str(path)) == [f"{where}is not UTF-8"]
    path.write_text("#" * (token_file.FILE_BYTES_MAX + 1))
    assert f"{where}is larger than 1048576 bytes" in faults(api_tokens_file=str(path))[0]
    path.unlink()
    assert faults(api_tokens_file=str(path)) == [f"{where}No such file or directory"]
    assert faults(api_tokens_file=str(path.parent))[0].endswith(": Is a directory")


@pytest.fixture
async def watched(path: Path, nursery: trio.Nursery, monkeypatch):
    """Tokens that follow the file, looked at often."""
    monkeypatch.setattr(token_file, "LOOK_SECONDS", 0.02)
    file = TokenFile(path)
    tokens = Tokens(file.read())
    nursery.start_soon(file.watch, tokens)
    return tokens


async def test_a_file_that_has_changed_is_read_again(watched: Tokens, path: Path):
    path.write_text(f"b:read:{TWO}\n")
    await until_true(lambda: knows(watched, TWO))
    assert not knows(watched, ONE)


async def test_a_file_that_is_replaced_is_read_again_though_it_looks_as_before(watched: Tokens, path: Path):
    before = path.stat()
    other = path.with_name("other")
    other.write_text(f"# ours\na:read:{TWO}\n")
    assert other.stat().st_size == before.st_size
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    await until_true(lambda: knows(watched, TWO))


async def test_a_wrong_file_keeps_the_tokens_and_is_logged_once(watched: Tokens, path: Path, caplog):
    said = "the tokens stay as they were: "
    with caplog.at_level(logging.INFO):
        path.write_text(f"b:nothing:{TWO}")
        await until_true(lambda: said in caplog.text)
        path.unlink()
        await until_true(lambda: caplog.text.count(said) == 2)
        await trio.sleep(0.2)
        assert caplog.text.count(said) == 2, "once for each fault"
        assert knows(watched, ONE)
        path.write_text(f"b:read:{TWO}")
        await until_true(lambda: knows(watched, TWO))
    assert TWO not in caplog.text
    assert "1 tokens were read from" in caplog.text


async def test_a_file_that_does_not_change_is_not_read(path: Path):
    file = TokenFile(path)
    file.read()
    assert file.read_if_changed() is None
    path.write_text(f"c:read:{TWO}")
    assert [token.name for token in file.read_if_changed() or ()] == ["c"]
    assert file.read_if_changed() is None


def test_a_look_is_made_often_enough():
    assert token_file.LOOK_SECONDS <= 1.0, "within two seconds a token is gone"
