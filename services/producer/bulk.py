"""POST /api/jobs/batch: any number of jobs in one request, read while they arrive and answered one by one.

Reading and accepting overlap: while a batch is on its way to Postgres and Redis, the next one is cut and decoded. Only
a few batches are in memory. The answers so far are kept in a temporary file and sent when the body has ended, because
many clients read nothing before they have sent everything.

A request ends early when too many of its jobs were refused, or when there is no room for more answers. Its last line
says so, and the rest of the body is not read. Room is made before jobs are accepted, never after.
"""

import io
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import IO, cast
from uuid import UUID

import msgspec
import trio

from workqueue.core.errors import InvalidTask
from workqueue.core.steps.submit import BATCH_BYTES_MAX, BATCH_MAX, size
from workqueue.core.steps.submit_unique import Duplicate
from workqueue.core.wire import Submission, read_submission
from workqueue.services.http.body import Body, ClientGone
from workqueue.services.http.guard import BODY_TOO_LARGE
from workqueue.services.http.messages import Headers
from workqueue.services.http.responses import Refused, Streamed, response_to
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.errors import ERROR_RESPONSES
from workqueue.services.producer.lines import TOO_LARGE, Cutter, Elements, Lines

IN_MEMORY_BYTES = 1 << 20  #: of an answer; a longer one goes to a file
ANSWER_BYTES_MAX = 512 << 20
LINE_BYTES_MAX = 256  #: of one job's answer; messages are short and ids have one length
REQUESTS_MAX = 4  #: at once; more would only wait for each other
SLOW_SECONDS = 5.0  #: at REQUESTS_MAX, the request of a sender that lies so far behind is ended for a new one
REFUSED_MAX = 10_000  #: jobs of one request
TOO_MANY_REQUESTS = "too many batches at once"
TOO_MANY_REFUSED = f"{REFUSED_MAX:,} jobs were refused: the rest of the batch was not read"
ANSWER_TOO_LARGE = "the answer has become too large: the rest of the batch was not read"
NO_ROOM = "no room for more answers in the temporary folder: the rest of the batch was not read"

_encode = msgspec.json.Encoder().encode

log = logging.getLogger(__name__)

#: A job that was decoded, or the message that refuses it.
Read = Submission | str
NO_KEY = "Idempotency-Key is for single jobs: POST /enqueue"
TOO_LARGE_MESSAGE = BODY_TOO_LARGE.decode()


class _EndsEarly(Exception):
    """The rest of the body is not read; the text is the last answer."""


class Bulk:
    """The handler of the route, one for each app. Mutable state: the bodies of the requests under way."""

    def __init__(self) -> None:
        self._under_way: set[Body] = set()

    async def __call__(self, backend: Backend, body: Body, headers: Headers) -> Streamed:
        """Raises Refused before any job was accepted; ClientGone and TooSlowError after the jobs that came were.

        Cancelled: the jobs that came until then may be accepted.
        """
        if len(self._under_way) >= REQUESTS_MAX:
            slowest = max(self._under_way, key=lambda known: known.slow_seconds)
            if slowest.slow_seconds < SLOW_SECONDS:
                raise Refused(429, TOO_MANY_REQUESTS)
            slowest.give_up()
            self._under_way.discard(slowest)
        self._under_way.add(body)
        try:
            return await _Request(backend, body).run(headers)
        finally:
            self._under_way.discard(body)


class _Request:
    """One request. Mutable state: none of its own."""

    def __init__(self, backend: Backend, body: Body) -> None:
        self._backend = backend
        self._body = body

    async def run(self, headers: Headers) -> Streamed:
        bytes_max = self._backend.settings.max_batch_bytes
        for name, value in headers:
            if name == b"content-length" and int(value[:20]) > bytes_max:
                raise Refused(413, TOO_LARGE_MESSAGE)
            if name == b"idempotency-key":
                raise Refused(400, NO_KEY)
        first = b""
        while not first and (piece := await self._body.read()):
            first = piece.lstrip()
        is_array = first.startswith(b"[") and not _says_ndjson(headers)
        line_bytes_max = self._backend.settings.max_body_bytes
        cut: Cutter = Elements(line_bytes_max) if is_array else Lines(line_bytes_max)
        answers = _Answers(as_array=is_array, shows_ids=self._backend.engine.keeps_rows)
        try:
            try:
                await self._accept(first, cut, answers)
            except _EndsEarly as end:
                answers.add_last(str(end))
        except BaseException:
            answers.file.close()
            raise
        return answers.finish()

    async def _accept(self, first: bytes, cut: Cutter, answers: "_Answers") -> None:
        put, take = trio.open_memory_channel[list[Read]](0)
        failures: list[Exception] = []

        async def in_turn(part: Callable[[], Awaitable[None]]) -> None:
            try:
                await part()
            except Exception as error:  # noqa: BLE001 - raised below; it would leave the nursery in a group
                failures.append(error)
                nursery.cancel_scope.cancel()

        async def read() -> None:
            async with put:
                try:
                    await self._read_all(first, cut, put)
                except (ClientGone, trio.TooSlowError) as error:  # the jobs that came are accepted all the same
                    failures.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_turn, partial(self._enqueue_all, take, answers))
            await in_turn(read)
        if failures:
            raise failures[0]

    async def _read_all(self, piece: bytes, cut: Cutter, put: trio.MemorySendChannel[list[Read]]) -> None:
        batch: list[Read] = []
        batch_bytes = 0
        left = self._backend.settings.max_batch_bytes
        more = True
        while more:
            left -= len(piece)
            more = bool(piece) and left >= 0
            for item in map(_read, cut.feed(piece) if more else cut.end()) if left >= 0 else [TOO_LARGE_MESSAGE]:
                item_bytes = size(item) if isinstance(item, Submission) else 0
                if len(batch) == BATCH_MAX or (batch and batch_bytes + item_bytes > BATCH_BYTES_MAX):
                    await put.send(batch)
                    batch, batch_bytes = [], 0
                batch.append(item)
                batch_bytes += item_bytes
            if more:
                piece = await self._body.read()
        if batch:
            await put.send(batch)
        while await self._body.read():  # beyond the limit: where a job begins is not known any more
            pass

    async def _enqueue_all(self, take: trio.MemoryReceiveChannel[list[Read]], answers: "_Answers") -> None:
        async for batch in take:
            answers.make_room(len(batch))
            submissions = [item for item in batch if isinstance(item, Submission)]
            accepted = iter(await self._backend.enqueue_many(submissions))
            answers.add([next(accepted) if isinstance(item, Submission) else item for item in batch])


def _says_ndjson(headers: Headers) -> bool:
    """Does the client say NDJSON? Then a first line that begins with a bracket is a bad line, and no array."""
    return any(name == b"content-type" and value.lower().startswith(b"application/x-ndjson") for name, value in headers)


def _read(text: bytes | None) -> Read:
    if text is TOO_LARGE:
        return TOO_LARGE_MESSAGE
    try:
        return read_submission(text)
    except InvalidTask as error:
        return response_to(error, ERROR_RESPONSES)[1]


class _Answers:
    """One object for each job, in order. Mutable state: the file, its number of answers, and how many refuse."""

    def __init__(self, *, as_array: bool, shows_ids: bool) -> None:
        self.file: IO[bytes] = io.BytesIO()
        self._in_memory = True
        self._as_array = as_array
        self._shows_ids = shows_ids
        self._count = self._refused = 0
        self._between = b",\n" if as_array else b"\n"
        if as_array:
            self.file.write(b"[")

    def make_room(self, count: int) -> None:
        """Reserve room for `count` answers, before their jobs are accepted. Raises _EndsEarly."""
        if self._refused >= REFUSED_MAX:
            raise _EndsEarly(TOO_MANY_REFUSED)
        begin, more = self.file.tell(), count * LINE_BYTES_MAX
        if begin + more > ANSWER_BYTES_MAX:
            raise _EndsEarly(ANSWER_TOO_LARGE)
        try:
            if self._in_memory and begin + more > IN_MEMORY_BYTES:
                self._move_to_a_file()
            if not self._in_memory:
                os.posix_fallocate(self.file.fileno(), begin, more)
        except OSError as error:
            log.warning("answers of a batch need room in the temporary folder: %s", error)
            raise _EndsEarly(NO_ROOM) from error

    def _move_to_a_file(self) -> None:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed when it is sent
        try:
            os.posix_fallocate(file.fileno(), 0, self.file.tell())
            file.write(cast("io.BytesIO", self.file).getbuffer())
        except BaseException:
            file.close()
            raise
        self.file, self._in_memory = file, False

    def add(self, answers: Sequence[UUID | Duplicate | Exception | str]) -> None:
        """An id: accepted, or whose duplicate it is. An error or a message: refused."""
        self._refused += sum(not isinstance(answer, UUID | Duplicate) for answer in answers)
        lines = [self._line(number, answer) for number, answer in enumerate(answers, self._count)]
        if self._count:
            self.file.write(self._between)
        self.file.write(self._between.join(lines))
        self._count += len(lines)

    def add_last(self, message: str) -> None:
        """Needs no room of its own: the answers before it are shorter than LINE_BYTES_MAX."""
        self.add([message])

    def finish(self) -> Streamed:
        if self._as_array:
            self.file.write(b"]")
        elif self._count:
            self.file.write(b"\n")
        self.file.truncate()  # the reserved room is larger than the answers
        return Streamed(b"application/json" if self._as_array else b"application/x-ndjson", self.file)

    def _line(self, index: int, answer: UUID | Duplicate | Exception | str) -> bytes:
        if isinstance(answer, UUID):
            return (
                b'{"index":%d,"job_id":%b}' % (index, _encode(answer))
                if self._shows_ids
                else (b'{"index":%d,"status":"queued"}' % index)
            )
        if isinstance(answer, Duplicate):
            return b'{"index":%d,"job_id":%b,"status":"duplicate"}' % (index, _encode(answer.job_id))
        message = answer if isinstance(answer, str) else response_to(answer, ERROR_RESPONSES)[1]
        return b'{"index":%d,"error":%b}' % (index, _encode(message))
