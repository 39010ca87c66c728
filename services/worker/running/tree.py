"""The tree of a running job: its Trio tasks, where each waits, their nurseries and scopes, the threads they wait for.

Read with what Trio and sys offer for it, and bounded, because nothing else of the worker runs meanwhile: 8 ms for 500
tasks. stackscope 0.2.2 was tried. It finds the line of each scope besides, but takes 0.5 to 1.5 s for the same tasks;
reads the interpreter's own frames through ctypes, where a frame that ends meanwhile in another thread leaves it with a
dangling pointer; and knows no Python above 3.12 (on 3.13 its scopes have no lines, and its import warns).
"""

import inspect
import linecache
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from types import CodeType, FrameType

import msgspec
import trio
from msgspec import Struct
from trio.lowlevel import Task

from workqueue.services.job_tree import JobTree, TreeFrame, TreeNursery, TreeScope, TreeTask
from workqueue.services.worker.running.attempt import MACHINERY, Attempt

TASKS_MAX = 500
BYTES_MAX = 1024 * 1024  #: of all that is told, about, without the text of lines
DEPTH_MAX = 50  #: tasks in tasks: readers of JSON have limits of their own
SCOPES_MAX = 50  #: of one task
FRAMES_MAX = 40  #: of one task: half of them the outermost, half the innermost
STACK_MAX = 2000  #: frames that are walked along
THREADS_MAX = 1000
SECONDS_MAX = 0.05  #: of this thread's own time; what is not read by then is left out
TEXT_MAX = 300  #: characters of a name, a file, a line
FILES_MAX = 50  #: whose lines are read
FRAME_BYTES = 80  #: of JSON around the values of a frame

_TO_THREAD = inspect.unwrap(trio.to_thread.run_sync).__code__.co_filename
_TRAPS = inspect.unwrap(trio.lowlevel.wait_task_rescheduled).__code__.co_filename  #: at the end of every task's stack
_OWN = MACHINERY | {str(Path(__file__).with_name("consumers.py"))}


class _Stack(Struct):
    """Frames, and how many were left out."""

    frames: list[TreeFrame]
    left_out: int = 0


class _Found(Struct, eq=False):
    """A task whose children are to be read. Mutable: `nurseries`, filled by `_Reader`."""

    task: Task
    depth: int
    name: str
    stack: _Stack
    scopes: list[TreeScope]
    thread: list[TreeFrame]
    nurseries: list[tuple[trio.Nursery, list["_Found"], int]]


class _Limits:
    """Mutable state: how many tasks and bytes may follow, and the codes of frames that were met, in words."""

    def __init__(self) -> None:
        self._until = time.thread_time() + SECONDS_MAX
        self._codes: dict[CodeType, tuple[str, str, int]] = {}
        self.tasks = TASKS_MAX
        self.bytes = BYTES_MAX

    @property
    def reached(self) -> bool:
        return self.tasks <= 0 or self.bytes <= 0 or time.thread_time() > self._until

    def frame(self, frame: FrameType) -> TreeFrame:
        """Where a frame stands. Most tasks of a job stand in the same few functions."""
        code = frame.f_code
        if (words := self._codes.get(code)) is None:
            file, function = _text(code.co_filename[-TEXT_MAX:]), _text(code.co_qualname)
            words = self._codes[code] = file, function, len(file) + len(function) + FRAME_BYTES
        self.bytes -= words[2]
        return TreeFrame(words[0], frame.f_lineno or code.co_firstlineno, words[1])  # None: between two lines


def job_tree(task: Task, slot_scope: trio.CancelScope, attempt: Attempt, worker: str) -> JobTree:
    """The tree of `attempt`, which `task` runs inside of `slot_scope`. Plain, and to be called on the Trio thread.

    Lines have no text yet (`with_source`). What is of the worker itself is left out, above the handler's first frame.
    """
    now = trio.current_time()
    deadline = attempt.deadline
    limits = _Limits()
    threads = _threads()
    name = _name(attempt.handler.function)
    root = _found(task, 0, name, slot_scope, threads, limits, is_root=True)
    waiting = deque([root])
    while waiting and not limits.reached:  # the upper tasks first: what is left out lies deepest
        found = waiting.popleft()
        for nursery in islice(found.task.child_nurseries, SCOPES_MAX):
            children: list[_Found] = []
            tasks = nursery.child_tasks
            if found.depth < DEPTH_MAX:
                for child in sorted(tasks, key=_by_name):
                    if limits.reached:
                        break
                    inside = _found(child, found.depth + 1, child.name, nursery.cancel_scope, threads, limits)
                    children.append(inside)
                    waiting.append(inside)
            found.nurseries.append((nursery, children, len(tasks) - len(children)))
    for found in waiting:  # their nurseries were not come to
        found.nurseries = [(nursery, [], len(nursery.child_tasks)) for nursery in found.task.child_nurseries]
    return JobTree(
        job_id=attempt.claimed.job_id,
        type=attempt.job.type,
        run=attempt.job.attempt,
        worker=worker,
        seconds=round(now - attempt.started_at, 3),
        deadline=None if deadline is None else round(deadline - now, 3),
        cancelling=attempt.give_up_at is not None,
        task=_task(root, now),
    )


def with_source(tree: JobTree) -> JobTree:
    """The same with the text of each line. Reads files: to be called in a thread."""
    files = _Files()
    return msgspec.structs.replace(tree, task=files.task(tree.task))


class _Files:
    """Mutable state: the files that were asked for."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def task(self, task: TreeTask) -> TreeTask:
        nurseries = [
            msgspec.structs.replace(nursery, tasks=[self.task(child) for child in nursery.tasks])
            for nursery in task.nurseries
        ]
        frames, thread = self._frames(task.frames), self._frames(task.thread)
        return msgspec.structs.replace(task, frames=frames, thread=thread, nurseries=nurseries)

    def _frames(self, frames: Sequence[TreeFrame]) -> list[TreeFrame]:
        return [msgspec.structs.replace(frame, source=self._line(frame)) for frame in frames]

    def _line(self, frame: TreeFrame) -> str:
        if frame.file not in self._names:
            if len(self._names) >= FILES_MAX:
                return ""
            self._names.add(frame.file)
            linecache.checkcache(frame.file)
        return _text(linecache.getline(frame.file, frame.line).strip())


def _found(
    task: Task,
    depth: int,
    name: str,
    below: trio.CancelScope,
    threads: Mapping[Task, FrameType],
    limits: _Limits,
    *,
    is_root: bool = False,
) -> _Found:
    frames = (frame for frame, _ in task.iter_await_frames())
    stack = _stack(frames, limits, own=is_root)
    thread = _stack(_from_outermost(threads[task]), limits, own=True).frames if task in threads else []
    limits.tasks -= 1
    limits.bytes -= 200 + len(name)
    return _Found(task, depth, _text(name), stack, _scopes(task, below), thread, [])


def _task(found: _Found, now: float) -> TreeTask:
    return TreeTask(
        name=found.name,
        frames=found.stack.frames,
        frames_left_out=found.stack.left_out,
        scopes=found.scopes,
        thread=found.thread,
        nurseries=[
            TreeNursery(_scope(nursery.cancel_scope, now), [_task(child, now) for child in children], left_out)
            for nursery, children, left_out in found.nurseries
        ],
    )


# --- frames


def _stack(frames: Iterator[FrameType], limits: _Limits, *, own: bool) -> _Stack:
    """`own`: leave out the frames of the worker that come before the handler's."""
    found: list[FrameType] = []
    for frame in islice(frames, STACK_MAX):
        file = frame.f_code.co_filename
        if file == _TRAPS or (own and file in _OWN):
            continue
        own = False
        found.append(frame)
    left_out = max(0, len(found) - FRAMES_MAX)
    if left_out:
        half = FRAMES_MAX // 2
        found = [*found[:half], *found[-half:]]
    return _Stack([limits.frame(frame) for frame in found], left_out)


def _threads() -> dict[Task, FrameType]:
    """Task -> the innermost frame of the thread of trio.to_thread.run_sync that it waits for.

    Trio does not tell which thread a task waits for. The function that Trio runs in the thread knows: one variable of
    it, and no other is looked at. With a Trio that names it otherwise, threads are not shown.
    """
    found: dict[Task, FrameType] = {}
    for innermost in islice(sys._current_frames().values(), THREADS_MAX):
        if (frame := next(filter(_is_of_trio, _outwards(innermost)), None)) is not None:
            register = frame.f_locals.get("task_register")
            if register and isinstance(register[0], Task):  # None: the task was cancelled, and does not wait
                found[register[0]] = innermost
    return found


def _is_of_trio(frame: FrameType) -> bool:
    """Is it the function that Trio runs in a thread, around that of the caller?"""
    return frame.f_code.co_name == "worker_fn" and frame.f_code.co_filename == _TO_THREAD


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(STACK_MAX):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _from_outermost(innermost: FrameType) -> Iterator[FrameType]:
    """The frames of a thread's function, and not those of the thread itself."""
    inside: list[FrameType] = []
    for frame in _outwards(innermost):
        if _is_of_trio(frame):
            break
        inside.append(frame)
    return reversed(inside)


# --- scopes


def _scopes(task: Task, below: trio.CancelScope) -> list[TreeScope]:
    """The scopes that the task itself has entered inside of `below`, which are no nursery's.

    Trio does not offer them (its issue on introspection is open). Where it has renamed what is read here, none is shown
    but those of nurseries.
    """
    now = trio.current_time()
    of_nurseries = {id(nursery.cancel_scope) for nursery in task.child_nurseries}
    found: list[TreeScope] = []
    status = getattr(task, "_cancel_status", None)
    for _ in range(SCOPES_MAX):
        scope = getattr(status, "_scope", None)
        if scope is None or scope is below:
            break
        if id(scope) not in of_nurseries:
            found.append(_scope(scope, now))
        status = getattr(status, "_parent", None)
    return found[::-1]


def _scope(scope: trio.CancelScope, now: float) -> TreeScope:
    deadline = round(scope.deadline - now, 3) if isfinite(scope.deadline) else None
    # `cancel_called` looks at the clock and cancels a scope whose time is over: Trio would a moment later.
    return TreeScope(deadline, scope.cancel_called, scope.shield)


# --- names


def _text(text: str) -> str:
    """Bounded, and such that it can be written as JSON: names of files may have lone surrogates."""
    text = text[:TEXT_MAX]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _by_name(task: Task) -> str:
    return task.name


def _name(function: object) -> str:
    """As Trio names a task."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return ".".join(part for part in (module, name) if isinstance(part, str)) or type(function).__name__
