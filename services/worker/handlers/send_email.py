"""`send_email`: one message through the server of SMTP_URL, and through no other."""

import errno
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, quote
from functools import partial
from typing import Annotated
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
import trio
from msgspec import Meta, Struct

from workqueue.core.bridge import NO_THREAD, Bridge
from workqueue.core.errors import CannotStart, PermanentFailure
from workqueue.core.job import Job
from workqueue.core.settings import Settings
from workqueue.services.worker.handlers.payload import read, wrong

ANSWER_SECONDS = 30.0  #: for connecting, and for each answer of the server
WHOLE_SECONDS = 50.0  #: for the whole run: a server may be slow once, not for each of 100 recipients
LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
QUIT_SECONDS = 5.0  #: the message is delivered by then
RECIPIENTS_MAX = 100
TEXT_LENGTH_MAX = 1024 * 1024
ERROR_LENGTH_MAX = 1000

#: `?starttls=` of SMTP_URL. Without it: TLS where the server offers it.
STARTTLS: Mapping[str, bool | None] = {"": None, "auto": None, "yes": True, "true": True, "no": False, "false": False}

_PART = r"[^@\s<>()\[\],;:\"\\]"
_ADDRESS = rf"{_PART}{{1,64}}@{_PART}{{1,255}}"
_MAILBOX = re.compile(rf"(?P<name>[^<>]*)<(?P<in_brackets>{_ADDRESS})>|(?P<alone>{_ADDRESS})")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
Line = Annotated[str, Meta(max_length=900)]


class Email(Struct, rename={"sender": "from"}):
    """The payload."""

    to: Line | list[Line]
    subject: Line
    body: Text = ""
    html: Text | None = None
    sender: Line | None = None
    cc: Line | list[Line] = []
    reply_to: Line | None = None


class Mailbox(Struct, frozen=True):
    """`Ann <ann@example.com>`."""

    name: str
    address: str


class Envelope(Struct, frozen=True):
    """The sender and receivers for the mail server, and the message as it goes over the wire."""

    sender: str
    recipients: list[str]
    message_id: str
    content: bytes


class NotSent(Exception):
    """The message was not taken this time; it is worth another try."""


class SendEmail:
    """The handler, with what it needs of its worker."""

    def __init__(self, settings: Settings, bridge: Bridge) -> None:
        self._url = settings.smtp_url
        self._sender = settings.mail_from
        self._bridge = bridge

    async def __call__(self, job: Job) -> object:
        """Send. A 5xx answer to the message fails the job at once, everything else is worth a retry.

        The Message-ID follows from the job's id: where a run was repeated, the receiver can detect the copy. Cancelled:
        the connection is closed at once, and the message may have been taken.
        """
        email = read(job.payload, Email)
        try:  # A thread: encoding a megabyte took up to 0.5 s.
            envelope = await trio.to_thread.run_sync(compose, email, job.id, self._sender)
        except RuntimeError as error:
            if str(error) != NO_THREAD:
                raise
            raise CannotStart(NO_THREAD) from error
        if not self._url:
            raise NotSent("SMTP_URL is not set: the worker needs smtp://user:password@host:port")
        with trio.move_on_after(WHOLE_SECONDS) as whole:
            try:
                refused = await self._bridge.run(partial(_send, self._url, envelope))
            except OSError as error:
                if error.errno == errno.EAGAIN:  # the bridge: no thread to look the server's name up
                    raise CannotStart(str(error)) from error
                raise
        if whole.cancelled_caught:
            raise NotSent(f"the mail server did not take the message within {WHOLE_SECONDS:g} s")
        return {
            "message_id": envelope.message_id,
            "accepted": [address for address in envelope.recipients if address not in refused],
            "refused": refused,
        }


async def _send(url: str, envelope: Envelope) -> dict[str, str]:
    """asyncio from here on: connect, send, leave. Returns recipient -> why it was refused."""
    client = _client(url)
    try:
        await client.connect()
    except aiosmtplib.SMTPResponseException as error:  # also 5xx: it is not this message that it refuses
        raise _not_sent(f"the mail server refused us: {error.code} {error.message}") from None
    except (aiosmtplib.SMTPException, OSError) as error:
        if _is_lacking(error):
            raise CannotStart(f"a connection to the mail server: {error}"[:ERROR_LENGTH_MAX]) from error
        raise _not_sent(f"the mail server was not reached: {error}") from None
    try:
        refused = await _deliver(client, envelope)
        await _quit(client)
    finally:
        client.close()  # at once, without a QUIT that a hanging server would never answer
    return refused


def _client(url: str) -> aiosmtplib.SMTP:
    parts = urlsplit(url)
    tls = parts.scheme == "smtps"
    starttls = parse_qs(parts.query).get("starttls", [""])[0].lower()
    if starttls not in STARTTLS:
        raise NotSent("SMTP_URL: starttls must be yes, no or auto")
    return aiosmtplib.SMTP(
        hostname=parts.hostname or "localhost",
        port=parts.port or (465 if tls else 587 if parts.username else 25),
        use_tls=tls,
        start_tls=False if tls else STARTTLS[starttls],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        local_hostname=socket.gethostname(),  # getfqdn, the default, asks DNS, for as long as that takes
        timeout=ANSWER_SECONDS,
    )


def _is_lacking(error: BaseException | None) -> bool:
    """Did the machine lack a resource for the connection? aiosmtplib wraps the error of the system."""
    while error is not None and not (isinstance(error, OSError) and error.errno in LACKING):
        error = error.__cause__ or error.__context__
    return error is not None


async def _deliver(client: aiosmtplib.SMTP, envelope: Envelope) -> dict[str, str]:
    """Raises PermanentFailure where another try would be refused as well, else NotSent."""
    is_ascii = all(address.isascii() for address in [envelope.sender, *envelope.recipients])
    try:
        refusals, _ = await client.sendmail(
            envelope.sender, envelope.recipients, envelope.content, mail_options=[] if is_ascii else ["SMTPUTF8"]
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        code = min((refusal.code for refusal in error.recipients), default=500)  # one 4xx: worth another try
        text = "; ".join(f"{refusal.recipient}: {refusal.code} {refusal.message}" for refusal in error.recipients)
        raise _refusal(code, f"every recipient was refused: {text}") from None
    except aiosmtplib.SMTPResponseException as error:
        raise _refusal(error.code, f"the mail server answered {error.code} {error.message}") from None
    except aiosmtplib.SMTPNotSupported:
        raise wrong("to", "this mail server takes only ASCII addresses (it does not offer SMTPUTF8)") from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _not_sent(f"the mail server broke off: {error}") from None
    return {address: f"{refusal.code} {refusal.message}"[:ERROR_LENGTH_MAX] for address, refusal in refusals.items()}


async def _quit(client: aiosmtplib.SMTP) -> None:
    """Send QUIT. The message was taken by then: an error here is no reason to send it again."""
    with suppress(aiosmtplib.SMTPException, OSError):
        await client.quit(timeout=QUIT_SECONDS)


def _refusal(code: int, text: str) -> Exception:
    return PermanentFailure(text[:ERROR_LENGTH_MAX]) if code >= 500 else _not_sent(text)


def _not_sent(text: str) -> NotSent:
    return NotSent(text[:ERROR_LENGTH_MAX])


def compose(email: Email, job_id: str, default_sender: str) -> Envelope:
    """The message, in 7-bit ASCII unless an address is not. Raises PermanentFailure for what no message can say.

    The headers are folded here: email.policy's own folding garbles lists of five and more mailboxes with non-ASCII
    names, addresses included (Python 3.11 to 3.13).
    """
    to, cc = _mailboxes("to", email.to), _mailboxes("cc", email.cc)
    if not to:
        raise wrong("to", "expected an e-mail address or a list of them")
    recipients = list(dict.fromkeys(mailbox.address for mailbox in to + cc))
    if len(recipients) > RECIPIENTS_MAX:
        raise wrong("to", f"at most {RECIPIENTS_MAX} recipients, cc included; this has {len(recipients)}")
    sender = _mailbox("from", email.sender) if email.sender is not None else _parsed(default_sender)
    if sender is None:
        raise NotSent(f"MAIL_FROM={default_sender[:100]!r} is no e-mail address")
    message_id = f"<{job_id}@{_domain(sender)}>"
    headers = {"From": _folded([sender]), "To": _folded(to)}
    if cc:
        headers["Cc"] = _folded(cc)
    if email.reply_to is not None:
        headers["Reply-To"] = _folded([_mailbox("reply_to", email.reply_to)])
    headers["Subject"] = _encoded(_line("subject", email.subject), "Subject")
    headers["Date"] = formatdate(usegmt=True)
    headers["Message-ID"] = message_id
    body = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    body.set_content(_storable("body", email.body))
    if email.html is not None:
        body.add_alternative(_storable("html", email.html), subtype="html")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return Envelope(sender.address, recipients, message_id, head.encode() + body.as_bytes())


def _domain(sender: Mailbox) -> str:
    domain = sender.address.rpartition("@")[2]
    return domain if domain.isascii() else "workqueue.invalid"  # only has to be the same in each run


def _mailboxes(field: str, given: str | list[str]) -> list[Mailbox]:
    return [_mailbox(field, one) for one in ([given] if isinstance(given, str) else given)]


def _mailbox(field: str, given: str) -> Mailbox:
    mailbox = _parsed(_line(field, given))
    if mailbox is None:
        raise wrong(field, f"expected an e-mail address, got {given[:100]!r}")
    return mailbox


def _parsed(text: str) -> Mailbox | None:
    """One address, perhaps with a name before it; None for anything else, such as two with a comma between them."""
    match = _MAILBOX.fullmatch(text.strip())
    if match is None or _BREAKS.search(text):
        return None
    name = (match["name"] or "").strip()
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return Mailbox(" ".join(name.split()), match["alone"] or match["in_brackets"])


def _folded(mailboxes: Sequence[Mailbox]) -> str:
    """The value of an address header, one mailbox a line."""
    return ",\r\n ".join(
        f"{_name(mailbox.name)}\r\n <{mailbox.address}>" if mailbox.name else mailbox.address for mailbox in mailboxes
    )


def _name(name: str) -> str:
    return f'"{quote(name)}"' if name.isascii() and len(name) <= 60 and "=?" not in name else _encoded(name, "To")


def _encoded(text: str, header: str) -> str:
    """`text` for a header: unchanged where it is short and plain, else in encoded words."""
    if text.isascii() and len(text) <= 60 and "=?" not in text:
        return text
    return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")


def _line(field: str, text: str) -> str:
    """Text for a header: a line break in it would start a header of the payload's own."""
    if _BREAKS.search(text):
        raise wrong(field, "expected one line without control characters")
    return _storable(field, text)


def _storable(field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise wrong(field, "expected text that can be written as UTF-8") from None
    return text
