"""`workqueue enqueue --from`: jobs out of a file, one a line, in requests of some thousands."""

from collections.abc import Callable, Iterable, Iterator

import httpx
import msgspec
from msgspec import Struct

from workqueue.services.cli.access import NotAllowed, for_producer
from workqueue.services.cli.enqueue import NotEnqueued
from workqueue.services.cli.progress import Progress

LINES_MAX = 10_000  #: of one request
REQUEST_BYTES_MAX = 8 * 1024 * 1024  #: beyond, a request has fewer lines
ANSWER_SECONDS = 300.0  #: all of a request may meet a server that hangs, five seconds for each 500 jobs


class Counts(Struct):
    """How many lines were taken and refused so far."""

    accepted: int = 0
    refused: int = 0


class _Answer(Struct):
    index: int
    error: str | None = None


_ANSWERS = msgspec.json.Decoder(_Answer)


def enqueue_lines(url: str, lines: Iterable[bytes], progress: Progress, on_refusal: Callable[[str], None]) -> Counts:
    """Post `lines` to the producer at `url`; `on_refusal` gets a text for each that was refused.

    Lines are numbered from 1; those of white space are skipped. Raises NotEnqueued when a request is not answered: its
    lines may have been taken, and must not be sent again without a check; the lines behind them were not sent.
    """
    counts = Counts()
    with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False, **for_producer()) as client:
        for numbers, body in _requests(lines):
            for number, answer in zip(numbers, _post(client, url, numbers, body, counts), strict=True):
                if answer.error is None:
                    counts.accepted += 1
                else:
                    counts.refused += 1
                    on_refusal(f"line {number}: {answer.error}")
            progress(f"{counts.accepted:,} accepted, {counts.refused:,} refused")
    return counts


def _requests(lines: Iterable[bytes]) -> Iterator[tuple[list[int], bytes]]:
    """The numbers of the lines of each request, and its body."""
    numbers: list[int] = []
    body = bytearray()
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        if len(numbers) == LINES_MAX or (numbers and len(body) + len(line) > REQUEST_BYTES_MAX):
            yield numbers, bytes(body)
            numbers, body = [], bytearray()
        numbers.append(number)
        body += line.rstrip(b"\r\n") + b"\n"
    if numbers:
        yield numbers, bytes(body)


def _post(client: httpx.Client, url: str, numbers: list[int], body: bytes, before: Counts) -> list[_Answer]:
    where = f"lines {numbers[0]} to {numbers[-1]}"
    so_far = f"{before.accepted:,} lines before them were accepted, {before.refused:,} refused; none behind was sent"
    try:
        response = client.post(
            f"{url.rstrip('/')}/api/jobs/batch", content=body, headers={"Content-Type": "application/x-ndjson"}
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotEnqueued(
            f"{where}: no answer from the producer at {url}: {str(error) or type(error).__name__}; "
            f"some of them may have been accepted. {so_far}"
        ) from error
    except NotAllowed as error:
        raise NotEnqueued(f"{where}: {error}. {so_far}") from error
    if response.status_code != 200:
        said = response.text.strip()[:200]
        raise NotEnqueued(f"{where}: the producer refused them: {said} ({response.status_code}). {so_far}")
    answers = _ANSWERS.decode_lines(response.content)
    if [answer.index for answer in answers] != list(range(len(numbers))):
        raise NotEnqueued(f"{where}: the producer answered {len(answers)} of them. {so_far}")
    return answers
