"""What is known of Redis and Postgres: asked each second, told once when it goes and once when it comes back."""

import logging
from collections.abc import Awaitable, Callable

import trio
from msgspec import Struct

from workqueue.core.errors import NeedsOperator, QueueUnavailable, StoreUnavailable

EVERY_SECONDS = 1.0
ANSWER_SECONDS = 2.0  #: without an answer by then it counts as away
TOLD_MAX = 20
QUIET_SECONDS = 60.0  #: what was not met for so long is told again

OUTAGES = (QueueUnavailable, StoreUnavailable)

log = logging.getLogger(__name__)


class DependencyHealth(Struct, frozen=True):
    """As GET /api/overview shows it."""

    ok: bool
    ms: float | None  #: how long the last answer took
    error: str | None


class Dependency:
    """Redis or Postgres, as this process sees it.

    Mutable state: what the last look said, changed by `watch` and, before the first look, by `lost`; and what `failed`
    told last.
    """

    def __init__(self, name: str, remedy: str) -> None:
        self.name = name
        self._remedy = remedy
        self._kind = "unknown"  #: unknown | ok | unfit (it answers, and an operator should mend it) | away
        self._error: str | None = f"{name}: not reached yet"
        self._ms: float | None = None
        self._since = trio.current_time()
        self._told: set[str] = set()  #: of what makes it unfit, since it became so
        self._complaint = ""
        self._met_at = float("-inf")

    @property
    def is_away(self) -> bool:
        """Known not to answer: asking it again would only take time."""
        return self._kind == "away"

    @property
    def health(self) -> DependencyHealth:
        return DependencyHealth(self._kind == "ok", self._ms, self.error)

    @property
    def error(self) -> str | None:
        """What is wrong and what to do; None: nothing."""
        if self._error is None or self._kind == "unfit":  # what is unfit says itself what to do
            return self._error
        return f"{self._error.rstrip('.')}. {self._remedy}"

    async def watch(self, reach: Callable[[], Awaitable[object]], check: Callable[[], Awaitable[object]]) -> None:
        """Look each second, until cancelled. `reach` raises when it is away, `check` when it answers but is unfit."""
        while True:
            await self.look(reach, check)
            await trio.sleep(EVERY_SECONDS)

    async def look(self, reach: Callable[[], Awaitable[object]], check: Callable[[], Awaitable[object]]) -> None:
        """Ask once."""
        try:
            with trio.fail_after(ANSWER_SECONDS):
                began = trio.current_time()
                complaint = await _complaint(reach)
                milliseconds = None if complaint else (trio.current_time() - began) * 1000
                try:
                    await check()
                except OUTAGES as error:  # it has looked closer, so its sentence says more
                    await _complaint(reach)  # or has it gone in between?
                    complaint = str(error)
        except trio.TooSlowError:
            self._change("away", f"{self.name}: no answer within {ANSWER_SECONDS:g} s")
        except OUTAGES as error:
            self._change("away", str(error))
        else:
            self._change("unfit" if complaint else "ok", complaint, milliseconds)

    def lost(self, error: Exception) -> None:
        """It is away, as somebody has seen who needs it to begin at all."""
        self._change("away", str(error))

    def failed(self, error: Exception, what: str = "a request failed") -> None:
        """Somebody met this. Told once, not each time; and not at all where the watch has told of an outage already."""
        now, text = trio.current_time(), str(error)
        is_new = text != self._complaint or now > self._met_at + QUIET_SECONDS
        if self._kind in ("away", "unfit") or (is_new and now < self._met_at + EVERY_SECONDS):
            return
        self._complaint, self._met_at = text, now
        if is_new:
            log.warning("%s: %s", what, text)

    def _change(self, kind: str, error: str | None, milliseconds: float | None = None) -> None:
        before, self._kind = self._kind, kind
        self._error, self._ms = error, milliseconds and round(milliseconds, 2)
        if kind != before:
            self._told.clear()
        if kind == "unfit" and error is not None and error not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(error)
            if kind == before:  # another one: it may have lost one right after the other
                log.warning("%s", self.error)
        if before == kind:
            return
        now = trio.current_time()
        if kind != "ok":
            log.warning("%s", self.error)
        elif before == "unknown":
            log.info("%s answers", self.name)
        else:
            log.info("%s is well again after %.1f s", self.name, now - self._since)
        self._since = now


async def _complaint(reach: Callable[[], Awaitable[object]]) -> str | None:
    """What it says instead of an answer, when it is there; raises when it is not."""
    try:
        await reach()
    except NeedsOperator as error:  # it will say so to whatever asks it
        return str(error)
    return None
