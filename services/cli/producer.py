"""The producer, as commands ask it: one request after the other, with our token, and errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec

from workqueue.core.errors import WorkQueueError
from workqueue.services.cli.access import for_producer

ANSWER_SECONDS = 30.0


class NoAnswer(WorkQueueError):
    """The producer did not answer, or refused; the text says which, and what is known of what was done."""


@contextmanager
def open_producer(url: str) -> Iterator[httpx.Client]:
    """A client of the producer at `url`. The block raises NoAnswer, and NotAllowed."""
    with httpx.Client(base_url=url.rstrip("/"), timeout=ANSWER_SECONDS, trust_env=False, **for_producer()) as client:
        try:
            yield client
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(no_answer(url, error)) from error
        except msgspec.DecodeError as error:
            raise NoAnswer(f"what answers at {url} is no producer of WorkQueue: {error}") from error


def ask(client: httpx.Client, method: str, path: str, *, named: str = "", json: Any = None) -> httpx.Response:
    """A success. Raises NoAnswer with the producer's sentence (`named`: what it is about), and httpx's errors."""
    response = client.request(method, path, json=json)
    if not response.is_success:
        raise NoAnswer(f"{named + '  ' if named else ''}{refusal(response)}")
    return response


def refusal(response: httpx.Response) -> str:
    """What a response says that is no success."""
    return f"{response.text.strip()[:200]} ({response.status_code})"


def no_answer(url: str, error: Exception) -> str:
    """What an error of httpx means."""
    return f"no answer from the producer at {url}: {str(error) or type(error).__name__}"
