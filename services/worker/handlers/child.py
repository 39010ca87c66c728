"""`python -m workqueue.services.worker.handlers.child`: a process that makes documents and pictures for one worker.

What a payload makes a library do cannot be stopped in a thread, and its memory cannot be bounded there. A process can
be killed, by the worker or by its own limits, and costs its worker one job at the most.
"""

import fcntl
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress

from workqueue.core.errors import ArtifactRefused, PermanentFailure
from workqueue.core.job import Job
from workqueue.services.worker.handlers import messages
from workqueue.services.worker.handlers.messages import Done, Failed, Message, Needs, Part, Ready

#: The last limit, behind the worker's budget and its timeout: for a wrong estimate, and for a blocked worker that
#: kills no process.
ADDRESS_SPACE_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 90
TEXT_LENGTH_MAX = 4000
ORDERS, ERRORS = 0, 2

Reserve = Callable[[int], None]  #: asks the worker for so many bytes of memory, and waits for them
Work = Callable[[Job], object]


def run() -> None:
    """Answer one order after the other until the worker closes its end, or is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the worker handles a stop: the job that runs gets its grace
    _be_the_first_that_the_kernel_ends()
    _limit(resource.RLIMIT_AS, ADDRESS_SPACE_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    answers = os.dup(1)
    _end_with_worker(os.dup(ERRORS))
    with open(os.devnull, "wb") as silence:  # a library that prints must not write into the answers
        os.dup2(silence.fileno(), 1)
        os.dup2(silence.fileno(), ERRORS)
    _send(answers, Ready())
    while prefix := _read(messages.LENGTHS.size):
        job, image_folder = messages.job_of(_read(messages.LENGTHS.unpack(prefix)[0]))
        _limit(resource.RLIMIT_CPU, int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + CPU_SECONDS)
        _send(answers, *_answer(job, image_folder, answers))


def _answer(job: Job, image_folder: str | None, answers: int) -> tuple[Message, bytes]:
    def reserve(memory_bytes: int) -> None:
        _send(answers, Needs(memory_bytes))
        _read(len(messages.GO))

    try:
        work = _handler(job.type, image_folder, reserve)
    except (ImportError, OSError, MemoryError) as error:
        return Failed("unable", _text(error)), b""
    try:
        result = work(job)
    except PermanentFailure as error:
        return Failed("permanent", _bounded(str(error))), b""
    except ArtifactRefused as error:
        return Failed("artifact", _bounded(str(error))), b""
    except MemoryError:
        return Failed("broken", f"it took more than {ADDRESS_SPACE_BYTES >> 20} MiB of memory"), b""
    except Exception as error:  # noqa: BLE001 - a failure of the job, whatever a library raises
        return Failed("broken", _text(error)), b""
    parts = [Part(each.name, each.content_type, len(each.content)) for each in job.artifacts]
    return Done(result, parts), b"".join(each.content for each in job.artifacts)


def _handler(job_type: str, image_folder: str | None, reserve: Reserve) -> Work:
    """Import the libraries of a type with its first order."""
    if job_type == "resize_image":
        from workqueue.services.worker.handlers.resize_image import ResizeImage

        return ResizeImage(image_folder, reserve)
    from workqueue.services.worker.handlers.generate_pdf import GeneratePdf

    return GeneratePdf(reserve)


def _end_with_worker(errors: int) -> None:
    """Let the kernel end us, by SIGIO, when the worker is gone: also where a library computes for long.

    The pipe is the one of our standard error, which the worker keeps open and does not read. One that is used would
    not do: the signal for what was written or read there may come later than the data. If the worker has gone by now,
    it is found out when we say that we are ready.
    """
    fcntl.fcntl(errors, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(errors, fcntl.F_SETFL, fcntl.fcntl(errors, fcntl.F_GETFL) | os.O_ASYNC)


def _read(count: int) -> bytes:
    """So many bytes; at the end of the pipe the process ends."""
    content = bytearray()
    while len(content) < count:
        piece = os.read(ORDERS, min(count - len(content), 1 << 20))
        if not piece:
            os._exit(0)
        content += piece
    return bytes(content)


def _send(answers: int, message: Message, body: bytes = b"") -> None:
    rest = memoryview(messages.frame(message, body))
    try:
        while rest:
            rest = rest[os.write(answers, rest) :]
    except BrokenPipeError:
        os._exit(0)


def _be_the_first_that_the_kernel_ends() -> None:
    """Let the kernel choose this process where memory runs out: it costs one job, not the worker."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _limit(which: int, most: int) -> None:
    """A system call filter may forbid it, and a lower limit may be set already."""
    with suppress(OSError, ValueError):
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _text(error: BaseException) -> str:
    """The class, the text, and the line where it was raised."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    where = f" ({os.path.basename(frames.tb_frame.f_code.co_filename)}:{frames.tb_lineno})" if frames else ""
    return f"{type(error).__name__}: {_bounded(str(error))}{where}"


def _bounded(text: str) -> str:
    """The text may have a payload in it, and characters that cannot be encoded."""
    return text[:TEXT_LENGTH_MAX].encode("utf-8", "replace").decode("utf-8")


if __name__ == "__main__":
    run()
