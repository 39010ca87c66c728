"""The text of a traceback. The same line fails a thousand times, so its frames are put into words once.

traceback.format_exception takes 300 to 400 us, most of it to look up source lines: a job costs a thirtieth of that.
"""

import traceback
from types import CodeType, TracebackType

FRAMES_MAX = 50  #: the innermost ones
FRAMES_KEPT_MAX = 1000

#: Exceptions for which Python's traceback module adds suggestions, source or members of a group.
NEEDS_STDLIB_FORMAT = (AttributeError, ImportError, NameError, SyntaxError, BaseExceptionGroup)


class Tracebacks:
    """Mutable state: the text of each frame seen so far, by its code and the instruction that it stood at."""

    def __init__(self) -> None:
        self._frames: dict[tuple[CodeType, int], str] = {}

    def text(self, error: BaseException, frames: TracebackType | None) -> str:
        """As Python would print it, of `frames` on. Raises what the exception's own methods raise."""
        if (
            error.__cause__ is not None
            or (error.__context__ is not None and not error.__suppress_context__)
            or isinstance(error, NEEDS_STDLIB_FORMAT)
            or getattr(error, "__notes__", None)
        ):
            return "".join(traceback.format_exception(type(error), error, frames, limit=-FRAMES_MAX))
        lines = ["Traceback (most recent call last):\n"] if frames is not None else []
        first = len(lines)
        while frames is not None:
            lines.append(self._frame(frames))
            frames = frames.tb_next
        if len(lines) > first + FRAMES_MAX:
            del lines[first:-FRAMES_MAX]
        lines.append(_last_line(error))
        return "".join(lines)

    def _frame(self, frame: TracebackType) -> str:
        key = (frame.tb_frame.f_code, frame.tb_lasti)
        text = self._frames.get(key)
        if text is None:
            if len(self._frames) >= FRAMES_KEPT_MAX:
                self._frames.clear()
            text = self._frames[key] = "".join(traceback.extract_tb(frame, limit=1).format())
        return text


def _last_line(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in {"__main__", "builtins"}:
        name = f"{kind.__module__}.{name}"
    text = str(error)
    return f"{name}: {text}\n" if text else f"{name}\n"
