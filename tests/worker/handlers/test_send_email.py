import base64
from collections.abc import AsyncIterator, Mapping
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.attempts import run_attempt
from tests.support.wait import until_true
from tests.worker.handlers.support import few_descriptors, job
from workqueue.core.errors import CannotStart, PermanentFailure
from workqueue.core.handlers import Handler, Registry
from workqueue.core.outcome import Complete, Failed, NotStarted, TimedOut
from workqueue.core.settings import load_settings
from workqueue.services.local.mail import run_mail_catcher
from workqueue.services.worker.handlers import send_email
from workqueue.services.worker.handlers.builtin import TIMEOUT_SECONDS
from workqueue.services.worker.handlers.send_email import Email, NotSent, SendEmail, compose


def sender(bridge, url: str | None, mail_from: str = "queue@example.com") -> SendEmail:
    return SendEmail(load_settings({"SMTP_URL": url or "", "MAIL_FROM": mail_from}), bridge)


async def sent(bridge, url: str, payload: dict[str, object]) -> dict[str, object]:
    """The result of a mail that the server took, of some recipients at least."""
    result = await sender(bridge, url)(job(payload))
    assert isinstance(result, dict)
    return result


def handler_of(registry: Registry) -> Handler:
    found = registry.get("send_email")
    assert found is not None
    return found


async def test_a_mail_arrives_as_it_was_asked_for(bridge, tmp_path: Path):
    async with run_mail_catcher(tmp_path) as catcher:
        asked = job(
            {
                "to": ["Ann <ann@example.com>", '"Müller, Jürgen" <juergen@example.com>'],
                "cc": "cee@example.com",
                "from": "Bücher GmbH, Köln <shop@example.com>",
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
    assert [(who.display_name, who.addr_spec) for who in mail["To"].addresses] == [
        ("Ann", "ann@example.com"),
        ("Müller, Jürgen", "juergen@example.com"),
    ]
    assert mail["From"].addresses[0].display_name == "Bücher GmbH, Köln"
    assert (mail["Cc"], mail["Reply-To"]) == ("cee@example.com", "back@example.com")
    assert mail["Subject"] == "Grüße ✓"
    assert mail["Message-ID"] == f"<{asked.id}@example.com>"
    assert mail["Date"].datetime.tzinfo is not None
    assert mail.defects == []
    body, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert body is not None
    assert html is not None
    assert body.get_content().splitlines() == ["Hello", ".", "Wörld"]
    assert html.get_content().strip() == "<b>Hello</b>"
    assert result == {
        "message_id": f"<{asked.id}@example.com>",
        "accepted": ["ann@example.com", "juergen@example.com", "cee@example.com"],
        "refused": {},
    }


async def test_an_address_in_the_receivers_own_script_arrives(bridge, tmp_path: Path):
    async with run_mail_catcher(tmp_path) as catcher:  # it offers SMTPUTF8
        result = await sent(bridge, catcher.url, {"to": "Ann <änn@bücher.example>", "subject": "x"})
    assert result["accepted"] == ["änn@bücher.example"]


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"subject": "x"}, "payload.to: missing"),
        ({"to": 5, "subject": "x"}, "payload.to: expected a string or a list, got a whole number"),
        ({"to": ["a@b.c", 5], "subject": "x"}, "payload.to[1]: expected a string, got a whole number"),
        ({"to": "a@b.c"}, "payload.subject: missing"),
        ({"to": "nobody", "subject": "x"}, "payload.to: expected an e-mail address, got 'nobody'"),
        ({"to": "a@b.c, d@e.f", "subject": "x"}, "payload.to: expected an e-mail address, got 'a@b.c, d@e.f'"),
        ({"to": "x <a@b.c> <d@e.f>", "subject": "x"}, "payload.to: expected an e-mail address"),
        ({"to": "a@b.c SIZE=1", "subject": "x"}, "payload.to: expected an e-mail address"),
        ({"to": [], "subject": "x"}, "payload.to: expected an e-mail address or a list of them"),
        ({"to": [], "cc": "a@b.c", "subject": "x"}, "payload.to: expected an e-mail address or a list of them"),
        ({"to": "a@b.c", "subject": "x" * 901}, "payload.subject: expected a string of length <= 900"),
        ({"to": "a@b.c", "subject": "x", "body": "y" * (1 << 20) + "y"}, "payload.body: expected a string of length"),
        ({"to": "a@b.c", "subject": "x", "body": "\ud800"}, "payload.body: expected text that can be written as UTF-8"),
        ({"to": "a@b.c", "subject": "x", "from": 5}, "payload.from: expected a string or null, got a whole number"),
        ({"to": "a@b.c", "subject": "x", "cc": "nobody"}, "payload.cc: expected an e-mail address"),
        ({"to": "a@b.c", "subject": "x", "reply_to": "nobody"}, "payload.reply_to: expected an e-mail address"),
        ({"to": [f"a{n}@b.c" for n in range(101)], "subject": "x"}, "payload.to: at most 100 recipients"),
        ({"to": [f"a{n}@b.c" for n in range(10_000)], "subject": "x"}, "payload.to: at most 100 recipients"),
        (
            {"to": "a@b.c", "subject": "x", "html": "y" * 30_000_000},
            "payload.html: expected a string of length",
        ),
        ({"to": "a@b.c", "subject": "x", "body": "y" * 30_000_000}, "payload.body: expected a string of length"),
        ({"to": "<" * 900, "subject": "x"}, "payload.to: expected an e-mail address"),
        ({"to": "a" * 450 + "@" * 450, "subject": "x"}, "payload.to: expected an e-mail address"),
        (
            {"to": [f"a{n}@b.c" for n in range(100)], "cc": "x@b.c", "subject": "x"},
            "payload.to: at most 100 recipients",
        ),
    ],
)
async def test_a_wrong_payload_fails_for_good_and_names_the_field(bridge, payload, sentence):
    with pytest.raises(PermanentFailure) as caught:
        await sender(bridge, "smtp://127.0.0.1:1")(job(payload))
    assert str(caught.value).startswith(sentence)


BREAKS = ["\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"]


@pytest.mark.parametrize("field", ["to", "cc", "from", "reply_to", "subject"])
@pytest.mark.parametrize("line_break", BREAKS)
async def test_no_field_brings_a_header_of_its_own(bridge, field, line_break):
    payload = {"to": "a@b.c", "subject": "x", field: f"x <a@b.c>{line_break}Bcc: d@e.f"}
    with pytest.raises(PermanentFailure, match=rf"payload\.{field}: expected one line without control characters"):
        await sender(bridge, "smtp://127.0.0.1:1")(job(payload))


async def test_an_address_in_to_and_in_cc_gets_one_message():
    envelope = compose(Email(to=["a@b.c", "Ann <a@b.c>"], cc="a@b.c", subject="x"), "id", "queue@example.com")
    assert envelope.recipients == ["a@b.c"]


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=80)


@hypothesis_settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=20), NAMES)
def test_names_and_subjects_survive_their_encoding(names, subject):
    """Read back by Python's older parser; the newer one loses blanks between encoded words."""
    from email.header import decode_header, make_header
    from email.utils import getaddresses

    names = [name.replace("<", "").replace(">", "").strip(' "') for name in names]
    quoted = [
        '"{}" <u{}@b.c>'.format(name.replace("\\", "\\\\").replace('"', '\\"'), n) for n, name in enumerate(names)
    ]
    envelope = compose(Email(to=quoted, subject=subject), "id", "queue@example.com")
    assert envelope.recipients == [f"u{n}@b.c" for n in range(len(names))]
    head = envelope.content.partition(b"\r\n\r\n")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 200
    assert head.isascii()
    mail = message_from_bytes(envelope.content)
    body = {"Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert sorted(mail.keys()) == sorted({"From", "To", "Subject", "Date", "Message-ID"} | body)
    assert str(make_header(decode_header(mail["Subject"]))).split() == subject.split()
    read = getaddresses([mail["To"].replace("\r\n", "")])
    assert [address for _, address in read] == envelope.recipients
    assert [str(make_header(decode_header(name))).split() for name, _ in read] == [name.split() for name in names]


async def test_without_a_server_it_says_so_and_may_be_retried(bridge):
    with pytest.raises(NotSent, match="SMTP_URL is not set"):
        await sender(bridge, None)(job({"to": "a@b.c", "subject": "x"}))


async def test_a_wrong_setting_is_not_held_against_the_job(bridge):
    asked = job({"to": "a@b.c", "subject": "x"})
    with pytest.raises(NotSent, match="MAIL_FROM='nobody' is no e-mail address"):
        await sender(bridge, "smtp://127.0.0.1:1", mail_from="nobody")(asked)
    with pytest.raises(NotSent, match="SMTP_URL: starttls must be yes, no or auto"):
        await sender(bridge, "smtp://127.0.0.1:1?starttls=maybe")(asked)


async def test_a_server_that_is_away_is_worth_a_retry_and_shows_no_password(bridge):
    with pytest.raises(NotSent, match="was not reached") as caught:
        await sender(bridge, "smtp://user:geheim@127.0.0.1:1")(job({"to": "a@b.c", "subject": "x"}))
    assert "geheim" not in str(caught.value)


class MailServer:
    """A real SMTP server that says what the test wants. Mutable state: what it heard, and what it says next."""

    def __init__(self) -> None:
        self.port = 0
        self.says: dict[str, str] = {}  #: verb, or verb with its argument, or `greeting`, or `message` -> answer
        self.heard: list[str] = []

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def answer(self, line: str, defaults: Mapping[str, str]) -> str:
        verb = line.partition(" ")[0].upper()
        return self.says.get(line, self.says.get(verb, defaults.get(verb, "250 ok")))

    async def serve(self, stream: trio.SocketStream) -> None:
        """`hang` never answers, `drop` ends the connection, `drip` sends one line of an answer after the other."""
        buffer, in_message = b"", False
        reply = self.says.get("greeting", "220 test")
        while reply != "drop":
            if reply == "hang":
                await trio.sleep_forever()
            while reply == "drip":
                await stream.send_all(b"250-x\r\n")
                await trio.sleep(0.01)
            if reply:
                await stream.send_all(reply.encode() + b"\r\n")
            while b"\r\n" not in buffer:
                if not (piece := await stream.receive_some()):
                    return
                buffer += bytes(piece)
            text, _, buffer = buffer.partition(b"\r\n")
            line = text.decode()
            if in_message:
                in_message = line != "."
                reply = "" if in_message else self.says.get("message", "250 taken")
                continue
            self.heard.append(line)
            reply = self.answer(line, {"DATA": "354 go on", "QUIT": "221 bye", "AUTH": "504 not that one"})
            in_message = reply.startswith("354")


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncIterator[MailServer]:
    server = MailServer()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await server.serve(stream)

    listeners = await nursery.start(trio.serve_tcp, serve, 0)
    server.port = listeners[0].socket.getsockname()[1]
    yield server
    nursery.cancel_scope.cancel()


RECIPIENT = "RCPT TO:<a@b.c>"


@pytest.mark.parametrize(
    ("says", "kind", "sentence"),
    [
        ({"MAIL": "550 not you"}, PermanentFailure, "550 not you"),
        ({"MAIL": "451 later"}, NotSent, "451 later"),
        ({"RCPT": "550 no such user"}, PermanentFailure, "a@b.c: 550 no such user; d@e.f: 550 no such user"),
        ({"RCPT": "450 later"}, NotSent, "450 later"),
        ({"RCPT": "550 no such user", RECIPIENT: "450 later"}, NotSent, "a@b.c: 450 later; d@e.f: 550 no such user"),
        ({"DATA": "554 no"}, PermanentFailure, "554 no"),
        ({"message": "552 too big"}, PermanentFailure, "552 too big"),
        ({"message": "452 full"}, NotSent, "452 full"),
        ({"message": "drop"}, NotSent, "broke off"),
        ({"greeting": "554 not today"}, NotSent, "the mail server refused us: 554 not today"),
        ({"greeting": "drop"}, NotSent, "not reached"),
    ],
)
async def test_the_servers_answer_decides_whether_a_retry_helps(bridge, server, says, kind, sentence):
    server.says = says
    with pytest.raises(kind, match=sentence):
        await sender(bridge, server.url)(job({"to": ["a@b.c", "d@e.f"], "subject": "x"}))


async def test_one_refused_recipient_does_not_keep_the_others_from_theirs(bridge, server):
    server.says = {RECIPIENT: "550 no such user"}
    result = await sent(bridge, server.url, {"to": ["a@b.c", "d@e.f"], "subject": "x"})
    assert result["accepted"] == ["d@e.f"]
    assert result["refused"] == {"a@b.c": "550 no such user"}
    assert server.heard[-1] == "QUIT"


async def test_an_address_that_the_server_cannot_take_fails_for_good(bridge, server):
    with pytest.raises(PermanentFailure, match="takes only ASCII addresses"):
        await sender(bridge, server.url)(job({"to": "änn@example.com", "subject": "x"}))


async def test_a_message_that_was_taken_is_not_sent_again_because_of_a_rude_farewell(bridge, server):
    server.says = {"QUIT": "drop"}
    result = await sent(bridge, server.url, {"to": "a@b.c", "subject": "x"})
    assert result["accepted"] == ["a@b.c"]


async def test_a_password_is_used_and_never_shown(bridge, server):
    server.says = {"EHLO": "250-test\r\n250 AUTH PLAIN", "AUTH": "535 wrong password"}
    with pytest.raises(NotSent, match="refused us: 535 wrong password") as caught:
        await sender(bridge, f"smtp://us%40er:ge%3Aheim@127.0.0.1:{server.port}")(job({"to": "a@b.c", "subject": "x"}))
    [said] = [line for line in server.heard if line.startswith("AUTH")]
    assert base64.b64decode(said.split()[2]) == b"\0us@er\0ge:heim"
    assert "heim" not in str(caught.value)


async def test_encryption_that_was_asked_for_is_never_left_out(bridge, server):
    with pytest.raises(NotSent, match="STARTTLS"):
        await sender(bridge, f"{server.url}?starttls=yes")(job({"to": "a@b.c", "subject": "x"}))
    assert not [line for line in server.heard if line.startswith("MAIL")]


@pytest.mark.parametrize("verb", ["EHLO", "RCPT", "message"])
async def test_a_server_that_hangs_does_not_hold_up_a_stop(bridge, server, verb):
    server.says = {verb: "hang"}
    with trio.fail_after(30), trio.move_on_after(0.3) as stop:  # it took 31 s with a polite farewell
        await sender(bridge, server.url)(job({"to": "a@b.c", "subject": "x"}))
    assert stop.cancelled_caught


@pytest.mark.parametrize("left", [0, 1])
async def test_without_descriptors_no_mail_is_sent(bridge, server, left):
    short, registry = Registry(), Registry()
    short.add_builtin("send_email", sender(bridge, server.url).__call__, 1)
    registry.add_builtin("send_email", sender(bridge, server.url).__call__, 60)
    with few_descriptors(left=left):
        outcome = await run_attempt(handler_of(short), job({"to": "a@b.c", "subject": "x"}))
    if left == 0:
        assert isinstance(outcome, NotStarted)
        assert "Too many open files" in outcome.lacking
    else:  # the connection has the last one: the server, in this process as well, cannot accept it
        assert isinstance(outcome, TimedOut | Failed), outcome
    outcome = await run_attempt(handler_of(registry), job({"to": "a@b.c", "subject": "x"}))
    assert isinstance(outcome, Complete)


async def test_without_a_thread_a_mail_is_not_started(bridge, server, monkeypatch):
    async def none(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.to_thread, "run_sync", none)
    with pytest.raises(CannotStart, match="can't start new thread"):
        await sender(bridge, server.url)(job({"to": "a@b.c", "subject": "x"}))


async def test_without_a_thread_to_look_the_server_up_a_mail_is_not_started(bridge, monkeypatch):
    registry = Registry()
    registry.add_builtin("send_email", sender(bridge, "smtp://mail.invalid:25").__call__, 60)
    run_sync = trio.to_thread.run_sync

    async def only_to_compose(function: Any, *arguments: Any, **options: Any) -> object:
        if function is not compose:
            raise RuntimeError("can't start new thread")
        return await run_sync(function, *arguments, **options)

    monkeypatch.setattr(trio.to_thread, "run_sync", only_to_compose)
    outcome = await run_attempt(handler_of(registry), job({"to": "a@b.c", "subject": "x"}))
    assert isinstance(outcome, NotStarted), outcome
    assert "can't start new thread" in outcome.lacking


@pytest.mark.parametrize("says", ["hang", "drip"])
@pytest.mark.parametrize("verb", ["greeting", "EHLO", "RCPT", "DATA", "message"])
async def test_a_timeout_really_ends_it(bridge, server, verb, says):
    server.says = {verb: says}
    registry = Registry()
    registry.handler("send_email", timeout=0.3)(sender(bridge, server.url).__call__)
    with trio.fail_after(30):
        outcome = await run_attempt(handler_of(registry), job({"to": "a@b.c", "subject": "x"}))
    assert isinstance(outcome, TimedOut | Failed)  # an answer that drips gets too long before


def test_the_handler_tells_more_than_its_timeout_would():
    assert send_email.ANSWER_SECONDS < send_email.WHOLE_SECONDS < TIMEOUT_SECONDS


@pytest.mark.parametrize("says", ["hang", "drip"])
async def test_a_message_has_its_time_and_no_more(bridge, server, monkeypatch, says):
    server.says = {"RCPT": says}
    monkeypatch.setattr(send_email, "WHOLE_SECONDS", 0.3)
    with pytest.raises(NotSent, match=r"did not take the message within 0\.3 s"):
        await sender(bridge, server.url)(job({"to": "a@b.c", "subject": "x"}))
