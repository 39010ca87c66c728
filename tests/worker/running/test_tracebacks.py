"""Tracebacks say what Python's own module says, and put each line into words once."""

import traceback

import pytest

from workqueue.services.worker.running import tracebacks
from workqueue.services.worker.running.tracebacks import FRAMES_MAX, Tracebacks


class OwnError(Exception):
    """Of this module, so that its name is told with it."""


def fails(error: BaseException) -> None:
    raise error


def fails_in_the_middle_of_a_line(number: int) -> float:
    return 1 + (number / 0) + 2


def with_cause() -> None:
    try:
        fails(ValueError("inner"))
    except ValueError as error:
        raise OwnError("outer") from error


def in_handling() -> None:
    try:
        fails(ValueError("inner"))
    except ValueError:
        raise OwnError("outer")  # noqa: B904 - on purpose


def without_context() -> None:
    try:
        fails(ValueError("inner"))
    except ValueError:
        raise OwnError("outer") from None


def with_note() -> None:
    error = OwnError("noted")
    error.add_note("a note")
    raise error


def nested(depth: int) -> None:
    if depth == 0:
        raise OwnError("deep")
    nested(depth - 1)


CASES = {
    "builtin": lambda: fails(ValueError("no width")),
    "without text": lambda: fails(ValueError()),
    "of our own": lambda: fails(OwnError("two\nlines")),
    "anchors": lambda: fails_in_the_middle_of_a_line(1),
    "cause": with_cause,
    "context": in_handling,
    "suppressed context": without_context,
    "note": with_note,
    "group": lambda: fails(ExceptionGroup("many", [ValueError("a"), OwnError("b")])),
    "key": lambda: {"a": 1}["no such key"],
    "name": lambda: undefined_name,  # type: ignore[name-defined]  # noqa: F821
    "attribute": lambda: "".stripp(),  # type: ignore[attr-defined]
    "syntax": lambda: compile("1 +", "nowhere.py", "exec"),
    "exit": lambda: fails(SystemExit(3)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_text_is_that_of_python(case):
    kept = Tracebacks()
    for _ in range(2):  # the second time from what was kept
        with pytest.raises(BaseException) as caught:  # noqa: PT011
            case()
        error = caught.value
        assert kept.text(error, error.__traceback__) == "".join(traceback.format_exception(error))


def test_only_the_innermost_frames_are_told():
    with pytest.raises(OwnError) as caught:
        nested(200)
    text = Tracebacks().text(caught.value, caught.value.__traceback__)
    assert text.count("File ") == FRAMES_MAX
    assert text.endswith("OwnError: deep\n")


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(tracebacks, "FRAMES_KEPT_MAX", 3)
    kept = Tracebacks()
    for number in range(20):
        code = compile(f"\n\nraise ValueError({number})", f"file {number}", "exec")
        with pytest.raises(ValueError, match=str(number)) as caught:
            exec(code)
        assert f"file {number}" in kept.text(caught.value, caught.value.__traceback__)
        assert len(kept._frames) <= 3
