"""POST /api/jobs/batch: any number of jobs in one request, read while they arrive and answered one by one.

Reading and accepting overlap: while a batch is on its way to Postgres and Redis the next one is cut and decoded. Only
a few batches are in memory; what was answered so far lies in a temporary file, and is sent when the body has ended:
many a client reads nothing before it has sent everything.

A request ends early where going on is of no use: too many of its jobs were refused, or there is no room for answers.
Its last line says so, and what comes behind is not read. Room is made before jobs are accepted, never after.
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
from workqueue.core.wire import Submission, read_submission
from workqueue.services.http.answers import Refused, answer_to
from workqueue.services.http.asgi import Body, ClientGone, Streamed
from workqueue.services.http.messages import Headers
from workqueue.services.producer.errors import ANSWERS
from workqueue.services.producer.lines import TOO_LARGE, Cutter, Elements, Lines
from workqueue.services.producer.producer import Producer

BATCH_PATH = "/api/jobs/batch"
IN_MEMORY_BYTES = 1 << 20  #: of an answer; a longer one goes to a file
ANSWER_BYTES_MAX = 512 << 20
LINE_BYTES_MAX = 256  #: of one job's answer; sentences are short and ids have one length
REQUESTS_MAX = 4  #: at once; more would only wait for each other
SLOW_SECONDS = 5.0  #: with no place left, a sender who lies so far behind gives way to another request
REFUSED_MAX = 10_000  #: jobs of one request
TOO_MANY_REQUESTS = "too many batches at once"
TOO_MANY_REFUSED = f"{REFUSED_MAX:,} jobs were refused: the rest of the batch was not read"
ANSWER_TOO_LARGE = "the answer has become too large: the rest of the batch was not read"
NO_ROOM = "no room for more answers in the temporary folder: the rest of the batch was not read"

_encode = msgspec.json.Encoder().encode

log = logging.getLogger(__name__)

#: A job that was read, or the sentence that says why it is none.
Read = Submission | str
NO_KEY = "Idempotency-Key is for single jobs: POST /enqueue"
TOO_LARGE_SENTENCE = "body too large"


class _EndsEarly(Exception):
    """The rest of the request is not read; the text is its last answer."""


class Bulk:
    """What Guard calls for each request. Mutable state: the bodies of those that are under way."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._under_way: set[Body] = set()

    async def __call__(self, body: Body, headers: Headers) -> Streamed:
        """Raises Refused before anything was accepted; ClientGone and TooSlowError with what came until then accepted.

        Cancelled: what came until then may be accepted.
        """
        if len(self._under_way) >= REQUESTS_MAX:
            slowest = max(self._under_way, key=lambda known: known.slow_seconds)
            if slowest.slow_seconds < SLOW_SECONDS:
                raise Refused(429, TOO_MANY_REQUESTS)
            slowest.give_up()
            self._under_way.discard(slowest)
        self._under_way.add(body)
        try:
            return await self._answer(body, headers)
        finally:
            self._under_way.discard(body)

    async def _answer(self, body: Body, headers: Headers) -> Streamed:
        bytes_max = self._producer.settings.max_batch_bytes
        for name, value in headers:
            if name == b"content-length" and int(value[:20]) > bytes_max:
                raise Refused(413, TOO_LARGE_SENTENCE)
            if name == b"idempotency-key":
                raise Refused(400, NO_KEY)
        first = b""
        while not first and (piece := await body.read()):
            first = piece.lstrip()
        is_array = first.startswith(b"[") and not _says_ndjson(headers)
        line_bytes_max = self._producer.settings.max_body_bytes
        cut: Cutter = Elements(line_bytes_max) if is_array else Lines(line_bytes_max)
        answers = _Answers(as_array=is_array, shows_ids=self._producer.store is not None)
        try:
            try:
                await self._accept(first, body, cut, answers)
            except _EndsEarly as end:
                answers.add_last(str(end))
        except BaseException:
            answers.file.close()
            raise
        return answers.finish()

    async def _accept(self, first: bytes, body: Body, cut: Cutter, answers: "_Answers") -> None:
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
                    await self._read_all(first, body, cut, put)
                except (ClientGone, trio.TooSlowError) as error:  # what has come is accepted all the same
                    failures.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_turn, partial(self._enqueue_all, take, answers))
            await in_turn(read)
        if failures:
            raise failures[0]

    async def _read_all(self, piece: bytes, body: Body, cut: Cutter, put: trio.MemorySendChannel[list[Read]]) -> None:
        batch: list[Read] = []
        batch_bytes = 0
        left = self._producer.settings.max_batch_bytes
        more = True
        while more:
            left -= len(piece)
            more = bool(piece) and left >= 0
            for item in map(_read, cut.feed(piece) if more else cut.end()) if left >= 0 else [TOO_LARGE_SENTENCE]:
                item_bytes = size(item) if isinstance(item, Submission) else 0
                if len(batch) == BATCH_MAX or (batch and batch_bytes + item_bytes > BATCH_BYTES_MAX):
                    await put.send(batch)
                    batch, batch_bytes = [], 0
                batch.append(item)
                batch_bytes += item_bytes
            if more:
                piece = await body.read()
        if batch:
            await put.send(batch)
        while await body.read():  # beyond the limit nobody can say what a job is
            pass

    async def _enqueue_all(self, take: trio.MemoryReceiveChannel[list[Read]], answers: "_Answers") -> None:
        async for batch in take:
            answers.make_room(len(batch))
            submissions = [item for item in batch if isinstance(item, Submission)]
            accepted = iter(await self._producer.enqueue_many(submissions))
            answers.add([next(accepted) if isinstance(item, Submission) else item for item in batch])


def _says_ndjson(headers: Headers) -> bool:
    """Then a first line that begins with a bracket is a bad line, and no array."""
    return any(name == b"content-type" and value.lower().startswith(b"application/x-ndjson") for name, value in headers)


def _read(text: bytes | None) -> Read:
    if text is TOO_LARGE:
        return TOO_LARGE_SENTENCE
    try:
        return read_submission(text)
    except InvalidTask as error:
        return answer_to(error, ANSWERS)[1]


class _Answers:
    """One object for each job, in order. Mutable state: the file, how many are in it, and how many of them refuse."""

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
        """Be sure that so many answers can be kept, before their jobs are accepted. Raises _EndsEarly."""
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

    def add(self, answers: Sequence[UUID | Exception | str]) -> None:
        """An id: accepted. An error, or its sentence: refused."""
        self._refused += sum(not isinstance(answer, UUID) for answer in answers)
        lines = [self._line(number, answer) for number, answer in enumerate(answers, self._count)]
        if self._count:
            self.file.write(self._between)
        self.file.write(self._between.join(lines))
        self._count += len(lines)

    def add_last(self, sentence: str) -> None:
        """Room for it is what the answers before it have left of theirs."""
        self.add([sentence])

    def finish(self) -> Streamed:
        if self._as_array:
            self.file.write(b"]")
        elif self._count:
            self.file.write(b"\n")
        self.file.truncate()  # the room that was made for answers is larger than they are
        return Streamed(b"application/json" if self._as_array else b"application/x-ndjson", self.file)

    def _line(self, index: int, answer: UUID | Exception | str) -> bytes:
        if isinstance(answer, UUID):
            return (
                b'{"index":%d,"job_id":%b}' % (index, _encode(answer))
                if self._shows_ids
                else (b'{"index":%d,"status":"queued"}' % index)
            )
        sentence = answer if isinstance(answer, str) else answer_to(answer, ANSWERS)[1]
        return b'{"index":%d,"error":%b}' % (index, _encode(sentence))
