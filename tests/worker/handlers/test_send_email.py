from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
import trio

from core.errors import PermanentFailure
from core.settings import load_settings
from services.local.mail import run_mail_catcher
from services.worker.handlers.send_email import NotSent, SendEmail
from tests.support.wait import until_true
from tests.worker.handlers.support import job


def sender(bridge, url: str | None) -> SendEmail:
    return SendEmail(load_settings({"SMTP_URL": url or "", "MAIL_FROM": "queue@example.com"}), bridge)


async def test_a_mail_arrives_as_it_was_asked_for(bridge, tmp_path: Path):
    async with run_mail_catcher(tmp_path) as catcher:
        asked = job(
            {
                "to": ["Ann <ann@example.com>", "bob@example.com"],
                "cc": "cee@example.com",
                "subject": "Grüße ✓",
                "body": "Hello\n.\nWörld",
                "html": "<b>Hello</b>",
                "reply_to": "back@example.com",
            }
        )
        result = await sender(bridge, catcher.url)(asked)
        await until_true(lambda: list((tmp_path / "mails").glob("*.eml")))
    [file] = (tmp_path / "mails").glob("*.eml")
    mail = message_from_bytes(file.read_bytes(), policy=default)
    assert (mail["From"], mail["To"], mail["Cc"], mail["Reply-To"]) == (
        "queue@example.com",
        "ann@example.com, bob@example.com",
        "cee@example.com",
        "back@example.com",
    )
    assert mail["Subject"] == "Grüße ✓"
    assert mail["Message-ID"] == f"<{asked.id}@example.com>"
    body, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert body is not None
    assert html is not None
    assert body.get_content().splitlines() == ["Hello", ".", "Wörld"]
    assert html.get_content().strip() == "<b>Hello</b>"
    assert result == {
        "message_id": f"<{asked.id}@example.com>",
        "accepted": ["ann@example.com", "bob@example.com", "cee@example.com"],
        "refused": {},
    }


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"subject": "x"}, "payload.to: missing"),
        ({"to": 5, "subject": "x"}, "payload.to: expected a string or a list, got a whole number"),
        ({"to": "a@b.c"}, "payload.subject: missing"),
        ({"to": "nobody", "subject": "x"}, "payload.to: expected an e-mail address, got 'nobody'"),
        ({"to": [], "subject": "x"}, "payload.to: expected an e-mail address or a list of them"),
        ({"to": "a@b.c\r\nBcc: d@e.f", "subject": "x"}, "payload.to: expected one line without control characters"),
        ({"to": "a@b.c", "subject": "x\nBcc: d@e.f"}, "payload.subject: expected one line without control characters"),
        ({"to": "a@b.c", "subject": "x", "from": "x\ny"}, "payload.from: expected one line"),
        ({"to": "a@b.c", "subject": "x", "body": "\ud800"}, "payload.body: expected text that can be written as UTF-8"),
        ({"to": [f"a{n}@b.c" for n in range(101)], "subject": "x"}, "payload.to: at most 100 recipients"),
    ],
)
async def test_a_wrong_payload_fails_for_good_and_names_the_field(bridge, payload, sentence):
    with pytest.raises(PermanentFailure) as caught:
        await sender(bridge, "smtp://127.0.0.1:1")(job(payload))
    assert str(caught.value).startswith(sentence)


async def test_without_a_server_it_says_so_and_may_be_retried(bridge):
    with pytest.raises(NotSent, match="SMTP_URL is not set"):
        await sender(bridge, None)(job({"to": "a@b.c", "subject": "x"}))


async def test_a_server_that_is_away_is_worth_a_retry_and_shows_no_password(bridge):
    with pytest.raises(NotSent) as caught:
        await sender(bridge, "smtp://user:geheim@127.0.0.1:1")(job({"to": "a@b.c", "subject": "x"}))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(("answer", "kind"), [("550 no such user", PermanentFailure), ("451 try later", NotSent)])
async def test_the_servers_answer_decides_whether_a_retry_helps(bridge, nursery, answer, kind):
    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 test\r\n")
        async for piece in stream:
            for line in bytes(piece).splitlines():
                word = line[:4].upper()
                reply = {b"EHLO": "250 test", b"MAIL": "250 ok", b"RCPT": answer, b"QUIT": "221 bye"}.get(
                    word, "250 ok"
                )
                await stream.send_all(reply.encode() + b"\r\n")

    listeners = await nursery.start(trio.serve_tcp, serve, 0)
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(kind, match=answer.partition(" ")[2]):
        await sender(bridge, f"smtp://127.0.0.1:{port}")(job({"to": "a@b.c", "subject": "x"}))
    nursery.cancel_scope.cancel()
