"""`workqueue inspect`: what goes on inside of running jobs, over HTTP, as text for people or as it comes."""

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import groupby

import httpx
import msgspec
from msgspec import Struct

from workqueue.core.errors import WorkQueueError
from workqueue.services.cli.access import for_producer_async
from workqueue.services.job_tree import JobTree, TreeFrame, TreeNursery, TreeScope, TreeTask
from workqueue.services.logs import printable

ANSWER_SECONDS = 30.0
STEP = "  "
OF_TRIO = "/site-packages/trio/"  #: at the end of a stack: how a task waits, below the line that says for what


class NotInspected(WorkQueueError):
    """The producer did not answer, or what answered is none."""


class Inspected(Struct, frozen=True):
    """What the producer has answered for one job: `text` is its JSON, or why there is none."""

    job_id: str
    tree: JobTree | None
    text: str


async def inspect_jobs(url: str, ids: Sequence[str]) -> AsyncIterator[Inspected]:
    """Look inside each job, in order, through the producer at `url`. Raises NotInspected and NotAllowed."""
    async with httpx.AsyncClient(
        base_url=url.rstrip("/"), timeout=ANSWER_SECONDS, trust_env=False, **for_producer_async()
    ) as client:
        for job_id in ids:
            try:
                answer = await client.get(f"/api/jobs/{job_id}/tree")
                if answer.status_code != 200:
                    yield Inspected(job_id, None, f"{answer.text.strip()[:200]} ({answer.status_code})")
                    continue
                yield Inspected(job_id, msgspec.json.decode(answer.content, type=JobTree), answer.text)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                said = str(error) or type(error).__name__
                raise NotInspected(f"no answer from the producer at {url}: {said}") from error
            except msgspec.DecodeError as error:
                raise NotInspected(f"what answers at {url} is no producer of WorkQueue: {error}") from error


def lines_of(tree: JobTree, width: int | None = None) -> Iterator[str]:
    """The tree, indented. `width`: a line that is longer is cut, a path at its beginning."""
    state = ", is being cancelled" if tree.cancelling else ""
    ends = "" if tree.deadline is None else f", times out in {tree.deadline:.1f} s"
    yield _cut(f"{tree.job_id}  {tree.type}", width)
    yield _cut(f"run {tree.run} on {tree.worker}, for {tree.seconds:.1f} s{ends}{state}", width)
    yield from _task(tree.task, 1, STEP, width)


def _task(task: TreeTask, count: int, indent: str, width: int | None) -> Iterator[str]:
    alike = "" if count == 1 else f"  ({count} tasks that wait there)"
    yield _cut(f"{indent}{task.name}{alike}", width)
    inner = indent + STEP
    frames = _without_trio(task.frames)
    for number, frame in enumerate(frames):
        if task.frames_left_out and number == len(task.frames) // 2:
            yield f"{inner}... {task.frames_left_out} more"
        yield from _frame(frame, inner, width)
    if task.thread:
        yield f"{inner}in a thread"
        for frame in task.thread:
            yield from _frame(frame, inner + STEP, width)
    for scope in task.scopes:
        yield f"{inner}scope{_scope(scope)}"
    for nursery in task.nurseries:
        yield from _nursery(nursery, inner, width)


def _nursery(nursery: TreeNursery, indent: str, width: int | None) -> Iterator[str]:
    yield f"{indent}nursery{_scope(nursery.scope)}"
    for _, group in groupby(nursery.tasks, key=_same):
        first, *others = group
        yield from _task(first, 1 + len(others), indent + STEP, width)
    if nursery.tasks_left_out:
        yield f"{indent}{STEP}... {nursery.tasks_left_out} more tasks"


def _same(task: TreeTask) -> object:
    """Equal for tasks that are shown as one: they wait at the same line, and have none of their own."""
    if task.nurseries:
        return id(task)
    return task.name, [(frame.file, frame.line) for frame in [*task.frames, *task.thread]]


def _without_trio(frames: Sequence[TreeFrame]) -> Sequence[TreeFrame]:
    """Up to the line that calls Trio, where there is one."""
    end = len(frames)
    while end and OF_TRIO in frames[end - 1].file:
        end -= 1
    return frames[:end] or frames


def _frame(frame: TreeFrame, indent: str, width: int | None) -> Iterator[str]:
    where = f":{frame.line} in {frame.function.rpartition('.')[2]}"
    file = printable(frame.file)
    if width is not None and len(indent) + len(file) + len(where) > width:
        room = max(1, width - len(indent) - len(where) - 1)
        file = f"…{file[-room:]}"
    yield _cut(f"{indent}{file}{where}", width)
    if frame.source:
        yield _cut(f"{indent}{STEP}{frame.source}", width)


def _scope(scope: TreeScope) -> str:
    words = [] if scope.deadline is None else [f"ends in {scope.deadline:.1f} s"]
    words += ["cancelled"] if scope.cancelled else []
    words += ["shielded"] if scope.shield else []
    return f"  {', '.join(words)}" if words else ""


def _cut(line: str, width: int | None) -> str:
    line = printable(line)
    return line if width is None or len(line) <= width else line[: width - 1] + "…"
