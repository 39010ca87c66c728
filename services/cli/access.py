"""The token of the command line: WORKQUEUE_TOKEN, sent to the producer by every command that asks one.

The environment is read here and nowhere else for it: a token that is passed from hand to hand ends in a log some day.
"""

import os
import secrets
from collections.abc import Mapping
from typing import Any

import httpx

from workqueue.core.api_tokens import HASHED, digest_of, secret_fault
from workqueue.core.errors import InvalidSettings, WorkQueueError

VARIABLE = "WORKQUEUE_TOKEN"
METRICS_VARIABLE = "METRICS_TOKEN"
SECRET_BYTES = 32


class NotAllowed(WorkQueueError):
    """The producer wants a token, another one, or one that may do more; the text says which."""


def bearer(environ: Mapping[str, str] = os.environ, variable: str = VARIABLE) -> dict[str, str]:
    """The header with the token of the environment, if there is one.

    Raises InvalidSettings for what can be no token of a producer, before anything is sent.
    """
    token = environ.get(variable)
    if not token:
        return {}
    if fault := secret_fault(token):
        raise InvalidSettings([f"{variable}=***: {fault}"])
    return {"Authorization": f"Bearer {token}"}


def refusal(status: int, environ: Mapping[str, str] = os.environ) -> str | None:
    """What an answer with this status says about our token, and what to do; None: nothing."""
    if status == 401 and environ.get(VARIABLE):
        return f"the producer does not know the token in {VARIABLE} (401)"
    if status == 401:
        return f"the producer asks for a token: set {VARIABLE} (401)"
    if status == 403 and environ.get(VARIABLE):
        return f"the token in {VARIABLE} does not allow this: its role is another one (403)"
    return "the producer does not allow this (403)" if status == 403 else None


def for_producer() -> dict[str, Any]:
    """What a client of httpx that asks a producer is made with: our token, and an error where it is not enough.

    Its requests raise NotAllowed for 401 and 403.
    """
    return {"headers": bearer(), "event_hooks": {"response": [_check]}}


def for_producer_async() -> dict[str, Any]:
    """The same for an asynchronous client."""
    return {"headers": bearer(), "event_hooks": {"response": [_check_async]}}


def new_secret() -> tuple[str, str]:
    """A fresh secret, and how API_TOKENS writes its hash."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    return secret, HASHED + digest_of(secret.encode()).hex()


def _check(response: httpx.Response) -> None:
    if (said := refusal(response.status_code)) is not None:
        raise NotAllowed(said)


async def _check_async(response: httpx.Response) -> None:
    _check(response)
