"""The processes that make documents and pictures for one worker: started when needed, killed on cancellation.

A cold one takes 0.2 s, so it stays for the jobs to come, and ends when none does for a while. It dies with its worker:
the kernel tells it when our ends of its pipes are closed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import trio
from trio.lowlevel import FdStream

from workqueue.core.errors import ArtifactRefused, CannotStart, PermanentFailure, WorkQueueError
from workqueue.core.job import Job
from workqueue.services.worker.handlers import messages
from workqueue.services.worker.handlers.messages import Done, Failed, Message, Needs, Ready

CHILDREN_MAX = 8  #: of one worker; further jobs wait for their turn
MEMORY_BYTES = 512 * 1024 * 1024  #: for the documents of all of them together; each process has some 50 MiB besides
IDLE_SECONDS = 30.0
END_SECONDS = 5.0  #: for the kernel to end a process that was killed
LAST_WORDS_MAX = 4096
COMMAND = (
    sys.executable,
    "-P",
    "-m",
    "workqueue.services.worker.handlers.child",
)  #: -P: no imports from the current folder

#: Variables that Python may need to start. The rest of the environment has secrets, and is kept from the children.
HANDED_ON = ("LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")


class ChildDied(WorkQueueError):
    """The process ended in the middle of a job."""


class ChildFailed(WorkQueueError):
    """The handler raised an unexpected error in its process."""


class Memory:
    """The memory for all jobs together, given in the order of the requests.

    Mutable state: how much is free, and the event of the job that waits for more.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.free = total
        self._turn = trio.StrictFIFOLock()
        self._freed = trio.Event()

    @asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """Wait for `count` bytes, at most all of them, and keep them while the block lasts."""
        count = min(count, self._total)
        async with self._turn:
            while self.free < count:
                self._freed = trio.Event()
                await self._freed.wait()
            self.free -= count
        try:
            yield
        finally:
            self.free += count
            self._freed.set()


class Children:
    """Runs jobs of the built-in types in processes, `count` of them at most.

    Mutable state: the processes that wait for a job, those that waited longest first.
    """

    def __init__(self, count: int, image_folder: str | None = None) -> None:
        self._image_folder = image_folder
        self._places = trio.CapacityLimiter(min(count, CHILDREN_MAX))
        self._memory = Memory(MEMORY_BYTES)
        self._idle: list[tuple[Child, float]] = []

    async def run(self, job: Job) -> object:
        """Run the handler of the job's type and return its result. Cancelled: its process is killed.

        Raises what the handler raised; CannotStart where no process could be had, and ChildDied where it ended.
        """
        order = messages.order(job, self._image_folder)
        async with self._places:
            child = self._waiting() or await Child.start()
            try:
                answer, body = await child.ask(order, self._memory)
            except BaseException:
                await child.kill()
                raise
            if isinstance(answer, Failed) and answer.kind in {"broken", "unable"}:
                await child.kill()
            else:
                self._idle.append((child, trio.current_time()))
        return _outcome(job, answer, body)

    def _waiting(self) -> "Child | None":
        while self._idle:
            child, _ = self._idle.pop()
            if child.lives:
                return child
            child.close()
        return None

    async def end_idle(self) -> None:
        """End processes that were idle for a while, until cancelled."""
        while True:
            await trio.sleep(IDLE_SECONDS / 2)
            while self._idle and self._idle[0][1] <= trio.current_time() - IDLE_SECONDS:
                child, _ = self._idle.pop(0)
                await child.kill()

    async def end(self) -> None:
        """End all processes. No job may run."""
        while self._idle:
            child, _ = self._idle.pop()
            await child.kill()


class Child:
    """One process, and the pipes to it."""

    def __init__(self, process: trio.Process) -> None:
        """With pipes for all three of its streams."""
        self._process = process
        self._orders = cast("FdStream", process.stdin)
        self._answers = cast("FdStream", process.stdout)
        self._errors = cast("FdStream", process.stderr)

    @classmethod
    async def start(cls) -> "Child":
        """Raises CannotStart."""
        try:
            process = await trio.lowlevel.open_process(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,  # for why it cannot start; after that, for its end with ours
                env=_environ(),
                start_new_session=True,  # a Ctrl-C reaches us alone
            )
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread to start it from
            raise CannotStart(f"a process to work in: {error}") from error
        child = cls(process)
        try:
            try:
                ready, _ = await child._receive()
            except (EOFError, trio.BrokenResourceError):
                raise CannotStart(await child._why_not()) from None
            if not isinstance(ready, Ready):
                raise CannotStart("a process to work in: its first message is not that it is ready")
        except BaseException:
            await child.kill()
            raise
        return child

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    async def ask(self, order: bytes, memory: Memory) -> tuple[Done | Failed, bytes]:
        """The answer, and the content of the artifacts. After an exception the process cannot be used again."""
        try:
            await self._orders.send_all(order)
            answer, body = await self._receive()
            if isinstance(answer, Needs):
                async with memory.taken(answer.memory_bytes):
                    await self._orders.send_all(messages.GO)
                    answer, body = await self._receive()
        except (EOFError, ValueError, trio.BrokenResourceError) as error:
            raise ChildDied(await self._how_it_ended(error)) from None
        if not isinstance(answer, Done | Failed):
            raise ChildDied("the process of this job sent a message that cannot be read: it was ended")
        return answer, body

    async def kill(self) -> None:
        """Kill it. It has ended when this returns, unless the kernel takes longer than END_SECONDS."""
        with trio.move_on_after(END_SECONDS, shield=True):
            self._process.kill()
            await self._process.wait()
        self.close()

    def close(self) -> None:
        """Close our ends of its pipes."""
        self._orders.close()
        self._answers.close()
        self._errors.close()

    async def _receive(self) -> tuple[Message, bytes]:
        """Raises EOFError at the end of the pipe, ValueError for bytes that are no message."""
        head, body = messages.lengths(await self._read(messages.LENGTHS.size))
        return messages.message_of(await self._read(head)), await self._read(body)

    async def _read(self, count: int) -> bytes:
        content = bytearray()
        while len(content) < count:
            piece = await self._answers.receive_some(count - len(content))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    async def _how_it_ended(self, error: Exception) -> str:
        if isinstance(error, ValueError):
            return f"the process of this job sent a message that cannot be read: it was ended ({error})"
        with trio.move_on_after(END_SECONDS):
            await self._process.wait()
        status = self._process.returncode
        if status is None or status >= 0:
            return f"the process of this job ended by itself (status {status})"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return f"the process of this job was ended by {name}{HINTS.get(name, '')}"

    async def _why_not(self) -> str:
        with trio.move_on_after(END_SECONDS):
            await self._process.wait()
        said = b""
        with trio.move_on_after(END_SECONDS), suppress(trio.BrokenResourceError):
            said = await self._errors.receive_some(LAST_WORDS_MAX)
        last = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"a process to work in: it ended at its start (status {self._process.returncode}): {last}"


HINTS = {
    "SIGKILL": ": by a person, or by the kernel for want of memory",
    "SIGXCPU": ": it computed for too long",
    "SIGSEGV": ": a fault of a library that it works with",
}


def _environ() -> dict[str, str]:
    """With the module path of this process."""
    handed_on = {name: os.environ[name] for name in HANDED_ON if name in os.environ}  # noqa: TID251 - no setting
    return handed_on | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def _outcome(job: Job, answer: Done | Failed, body: bytes) -> object:
    """Repeat here what the handler did: attach, return or raise."""
    if isinstance(answer, Done):
        begin = 0
        for part in answer.artifacts:
            job.attach(part.name, body[begin : begin + part.length], part.content_type)
            begin += part.length
        return answer.result
    match answer.kind:
        case "permanent":
            raise PermanentFailure(answer.text)
        case "artifact":
            raise ArtifactRefused(answer.text)
        case "unable":
            raise CannotStart(f"what {job.type} needs: {answer.text}")
        case "broken":
            raise ChildFailed(answer.text)


@asynccontextmanager
async def open_children(count: int, image_folder: str | None = None) -> AsyncIterator[Children]:
    """Children for as long as the block lasts; all have ended after it."""
    children = Children(count, image_folder)
    try:
        yield children
    finally:
        await children.end()
