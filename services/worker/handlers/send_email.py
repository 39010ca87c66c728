"""`send_email`: one message through the server of SMTP_URL, and through no other."""

import re
from email.message import EmailMessage
from email.utils import formataddr, formatdate, parseaddr
from functools import partial
from typing import Annotated
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from msgspec import Meta, Struct

from core.bridge import Bridge
from core.errors import PermanentFailure
from core.job import Job
from core.settings import Settings
from services.worker.handlers.payload import read, wrong

SECONDS = 30.0  #: for connecting, and for each answer of the server
RECIPIENTS_MAX = 100
TEXT_LENGTH_MAX = 1024 * 1024

Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
Line = Annotated[str, Meta(max_length=900)]


class Email(Struct, rename={"sender": "from"}):
    """The payload."""

    to: str | list[str]
    subject: Line
    body: Text = ""
    html: Text | None = None
    sender: Line | None = None
    cc: str | list[str] = []
    reply_to: Line | None = None


class NotSent(Exception):
    """The message was not taken this time; it is worth another try."""


class SendEmail:
    """The handler, with what it needs of its worker."""

    def __init__(self, settings: Settings, bridge: Bridge) -> None:
        self._url = settings.smtp_url
        self._sender = settings.mail_from
        self._bridge = bridge

    async def __call__(self, job: Job) -> object:
        """Send; a 5xx answer fails the job at once, everything else is worth a retry.

        The Message-ID follows from the job's id: where a run was repeated, the receiver can tell the copy. Cancelled:
        the message may have been taken.
        """
        email = read(job.payload, Email)
        recipients = _addresses("to", email.to) + _addresses("cc", email.cc)
        if not recipients:
            raise wrong("to", "expected an e-mail address or a list of them")
        if len(recipients) > RECIPIENTS_MAX:
            raise wrong("to", f"at most {RECIPIENTS_MAX} recipients, cc included; this has {len(recipients)}")
        message = compose(email, job.id, self._sender)
        if not self._url:
            raise NotSent("SMTP_URL is not set: the worker needs smtp://user:password@host:port")
        sender = parseaddr(str(message["From"]))[1]
        try:
            refused = await self._bridge.run(partial(_send, self._url, message, sender, recipients))
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = {refusal.code for refusal in error.recipients}
            text = "; ".join(f"{refusal.recipient}: {refusal.code} {refusal.message}" for refusal in error.recipients)
            raise _refusal(min(codes, default=500), f"every recipient was refused: {text}") from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(error.code, f"the mail server answered {error.code} {error.message}") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotSent(f"the mail server was not reached: {error}") from None
        return {
            "message_id": str(message["Message-ID"]),
            "accepted": [address for address in recipients if address not in refused],
            "refused": refused,
        }


async def _send(url: str, message: EmailMessage, sender: str, recipients: list[str]) -> dict[str, str]:
    """asyncio from here on: connect, send, leave. Returns recipient -> why it was refused."""
    parts = urlsplit(url)
    tls = parts.scheme == "smtps"
    starttls = parse_qs(parts.query).get("starttls", [""])[0].lower()
    client = aiosmtplib.SMTP(
        hostname=parts.hostname or "localhost",
        port=parts.port or (465 if tls else 587 if parts.username else 25),
        use_tls=tls,
        # Without a word of the operator's: where the server offers it.
        start_tls=False if tls or starttls in {"no", "false", "0"} else True if starttls else None,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        timeout=SECONDS,
    )
    async with client:
        refusals, _ = await client.send_message(message, sender=sender, recipients=recipients)
    return {address: f"{refusal.code} {refusal.message}" for address, refusal in refusals.items()}


def compose(email: Email, job_id: str, default_sender: str) -> EmailMessage:
    """The message. Raises PermanentFailure for what cannot stand in a header."""
    sender = _address("from", email.sender or default_sender)
    domain = parseaddr(sender)[1].rpartition("@")[2]
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(_addresses("to", email.to))
    if cc := _addresses("cc", email.cc):
        message["Cc"] = ", ".join(cc)
    if email.reply_to is not None:
        message["Reply-To"] = _address("reply_to", email.reply_to)
    message["Subject"] = _line("subject", email.subject)
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = f"<{job_id}@{domain}>"
    message.set_content(_storable("body", email.body))
    if email.html is not None:
        message.add_alternative(_storable("html", email.html), subtype="html")
    return message


def _addresses(field: str, given: str | list[str]) -> list[str]:
    return [parseaddr(_address(field, one))[1] for one in ([given] if isinstance(given, str) else given)]


def _address(field: str, given: str) -> str:
    """One address, perhaps with a name before it: `Ann <ann@example.com>`."""
    name, address = parseaddr(_line(field, given))
    if not re.fullmatch(r"[^@\s<>,;:\"\\]{1,64}@[^@\s<>,;:\"\\]{1,255}", address):
        raise wrong(field, f"expected an e-mail address, got {given[:100]!r}")
    return formataddr((name, address)) if name else address


def _line(field: str, text: str) -> str:
    """Text for a header: a line break in it would start a header of the sender's own."""
    if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", text):
        raise wrong(field, "expected one line without control characters")
    return _storable(field, text)


def _storable(field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise wrong(field, "expected text that can be written as UTF-8") from None
    return text


def _refusal(code: int, text: str) -> Exception:
    return PermanentFailure(text[:1000]) if code >= 500 else NotSent(text[:1000])
