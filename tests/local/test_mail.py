"""The local mail catcher."""

from email import message_from_bytes

import aiosmtplib
import pytest

from workqueue.core.bridge import Bridge
from workqueue.services.local.errors import LocalServerError
from workqueue.services.local.mail import run_mail_catcher
from workqueue.services.local.process import is_free

MAIL = b"Subject: hello\r\nFrom: a@example.com\r\nTo: b@example.com\r\n\r\nwhole\r\n"


async def send(bridge: Bridge, port: int, to: str) -> None:
    async def unit() -> None:
        await aiosmtplib.send(MAIL, sender="a@example.com", recipients=[to], hostname="127.0.0.1", port=port)

    await bridge.run(unit)


async def test_each_mail_is_a_file_with_its_receiver_in_the_name(tmp_path, bridge):
    async with run_mail_catcher(tmp_path) as server:
        assert server.url == f"smtp://127.0.0.1:{server.port}"
        await send(bridge, server.port, "b@example.com")
        await send(bridge, server.port, "../c@example.com")
    first, second = sorted((tmp_path / "mails").iterdir())
    assert first.name.endswith("-b@example.com.eml")
    assert second.name.endswith("-.._c@example.com.eml"), "and it stays in the folder"
    assert message_from_bytes(first.read_bytes())["Subject"] == "hello"
    assert is_free("127.0.0.1", server.port)


async def test_without_its_package_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("workqueue.services.local.mail.find_spec", lambda name: None)
    with pytest.raises(LocalServerError, match="set SMTP_URL"):
        async with run_mail_catcher(tmp_path):
            pass
