"""The state of Redis and Postgres: asked for each second, logged once when one goes away and once when it is back."""

import logging
from collections.abc import Awaitable, Callable

import trio
from msgspec import Struct

from workqueue.core.errors import NeedsOperator, QueueUnavailable, StoreUnavailable
from workqueue.core.settings import Settings, without_password

EVERY_SECONDS = 1.0
ANSWER_SECONDS = 2.0  #: without an answer by then a server counts as away
REPORTED_MAX = 20
QUIET_SECONDS = 60.0  #: a failure that did not occur for so long is logged again

OUTAGES = (QueueUnavailable, StoreUnavailable)

log = logging.getLogger(__name__)


def remedy(variable: str, url: str) -> str:
    """What to do when the server at `url`, which `variable` names, does not answer; a password is not shown.

    A newcomer whose `workqueue up` runs elsewhere, or not yet, gets the default without having chosen it.
    """
    is_chosen = url != Settings().redis_url
    up = "" if is_chosen else ", or run this beside a `workqueue up` in its folder"
    return f"Start it{up}, or point {variable} (now {without_password(url)}) to one that runs"


class DependencyHealth(Struct, frozen=True):
    """As GET /api/overview shows it."""

    ok: bool
    ms: float | None  #: how long the last answer took
    error: str | None


class Dependency:
    """Redis or Postgres, as this process sees it.

    Mutable state: the result of the last look, set by `watch` and, before the first look, by `lost`; and the last
    failure that `failed` has logged.
    """

    def __init__(self, name: str, remedy: str) -> None:
        self.name = name
        self._remedy = remedy
        self._kind = "unknown"  #: unknown | ok | unfit (it answers, and needs an operator) | away
        self._error: str | None = f"{name}: not reached yet"
        self._ms: float | None = None
        self._since = trio.current_time()
        self._reported: set[str] = set()  #: complaints that were logged since it became unfit
        self._complaint = ""
        self._met_at = float("-inf")

    @property
    def is_away(self) -> bool:
        """It is known not to answer: a request need not try."""
        return self._kind == "away"

    @property
    def health(self) -> DependencyHealth:
        return DependencyHealth(self._kind == "ok", self._ms, self.error)

    @property
    def error(self) -> str | None:
        """What is wrong, with the remedy; None: nothing."""
        if self._error is None or self._kind == "unfit":  # a complaint names its own remedy
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
                except OUTAGES as error:  # `check` looks closer, so its text says more
                    await _complaint(reach)  # raises where the server went away in between
                    complaint = str(error)
        except trio.TooSlowError:
            self._change("away", f"{self.name}: no answer within {ANSWER_SECONDS:g} s")
        except OUTAGES as error:
            self._change("away", str(error))
        else:
            self._change("unfit" if complaint else "ok", complaint, milliseconds)

    def lost(self, error: Exception) -> None:
        """A start that needs the server has found it away."""
        self._change("away", str(error))

    def failed(self, error: Exception, what: str = "a request failed") -> None:
        """Log a failure that a caller met: each text once, again after QUIET_SECONDS without it, and never while
        the watch reports an outage.
        """
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
            self._reported.clear()
        if kind == "unfit" and error is not None and error not in self._reported and len(self._reported) < REPORTED_MAX:
            self._reported.add(error)
            if kind == before:  # another complaint: the server may get one after the other
                log.warning("%s", self.error)
        if before == kind:
            return
        now = trio.current_time()
        if kind != "ok":
            log.warning("%s", self.error)
        elif before == "unknown":
            log.info("%s answers", self.name)
        else:
            log.info("%s is back after %.1f s", self.name, now - self._since)
        self._since = now


async def _complaint(reach: Callable[[], Awaitable[object]]) -> str | None:
    """The error that the server answers with, None: it answers well; raises where it is away."""
    try:
        await reach()
    except NeedsOperator as error:  # each caller gets the same answer
        return str(error)
    return None
