"""Limits in a worker: which of the claimed tasks may run, and what runs already when its type becomes limited.

Redis counts; what it counts by are the limits that Postgres has (Redis only: what the handlers declare). Tasks in lanes
get their permits with the claim itself (core/queue/scripts/_lanes.lua). Those of a list, which no script may
decode, are looked at here: one trip more for a claim that has any of a limited type.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from uuid import UUID

from workqueue.core.limits import NONE, Limit, Limits
from workqueue.core.options import DEFAULTS
from workqueue.core.queue import Admitted, Queue
from workqueue.core.steps.lease import ClaimedTask, Permit
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import LimitStore

TYPE = "type:"


def group_of(claimed: ClaimedTask) -> str:
    """As Redis has it: empty where there is none."""
    return claimed.task.options.group or ""


def limited_types(limits: Limits) -> frozenset[str]:
    """The types that have a limit."""
    return frozenset(scope[len(TYPE) :] for scope in limits.effective if scope.startswith(TYPE))


def _needs_permit(claimed: ClaimedTask, types: Collection[str]) -> bool:
    return claimed.task.options.group is not None or claimed.task.type in types


class Limiting:
    """What one process knows of the limits of a queue. Mutable state: the newest that it knows, and what
    the last claim was like."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.known: Limits = NONE
        self.last_had_permits = False  #: whether the last claim had a task that needs a permit
        self.on_use: Callable[[], None] = lambda: None  #: called for each claim with a task that needs a permit

    def learn(self, limits: Limits) -> None:
        """The limits, as Postgres or the handlers say; older ones than those that are known are passed over."""
        if limits.version > self.known.version:
            self.known = limits

    async def admit(self, lease: UUID, items: list[ClaimedTask], until_answered: UntilAnswered) -> list[ClaimedTask]:
        """Those of `items`, claimed just now, that may run; the others wait in their lanes.

        A Redis that has lost its data gets back first what is known, and what came from its lanes goes back to be
        counted. Cancelled: a task has its permit, lies in its lane, or is in the flight and goes back with the audit.
        """
        with_permits, types = self._queue.with_permits, self._queue.limited.types
        if self._queue.limited.version < self.known.version:
            await until_answered(partial(self._queue.set_limits, self.known))
            types |= limited_types(self.known)
            items = await self._give_back(lease, items, with_permits, until_answered)
        if types or with_permits:
            asked = [each for each in items if each.number not in with_permits and _needs_permit(each, types)]
            for claimed in items:
                if claimed.number in with_permits:
                    claimed.permit = Permit.TYPE if claimed.task.type in types else Permit.GROUP
        else:  # nearly always: a foreign task may have a group
            asked = [
                each for each in items if each.task.options is not DEFAULTS and each.task.options.group is not None
            ]
        self.last_had_permits = bool(with_permits or asked)
        if self.last_had_permits:
            self.on_use()
        if not asked:
            return items
        rows = [(claimed.number, claimed.task.options.queue, group_of(claimed), claimed.task.type) for claimed in asked]
        answers = await until_answered(partial(self._queue.admit, lease, rows))
        refused: set[int] = set()
        for claimed in asked:
            answer = answers[claimed.number]
            claimed.permit = Permit.TYPE if answer is Admitted.COUNTED else Permit.GROUP
            if answer is Admitted.NO:
                refused.add(claimed.number)
        return [claimed for claimed in items if claimed.number not in refused] if refused else items

    async def _give_back(
        self,
        lease: UUID,
        items: list[ClaimedTask],
        with_permits: frozenset[int],
        until_answered: UntilAnswered,
    ) -> list[ClaimedTask]:
        """Those that came from lanes, of which Redis did not know the limits."""
        if not with_permits:
            return items
        back = [(claimed.number, 0, b"") for claimed in items if claimed.number in with_permits]
        await until_answered(partial(self._queue.give_back, lease, back))
        return [claimed for claimed in items if claimed.number not in with_permits]


class KeepLimits:
    """Keeps Redis as it should be, and counts what runs. Each worker does it, several at once too."""

    def __init__(self, queue: Queue, limiting: Limiting, held: Callable[[], Iterable[ClaimedTask]]) -> None:
        """`held`: what this worker has claimed and not settled."""
        self._queue = queue
        self._limiting = limiting
        self._held = held

    async def run_once(self) -> None:
        """Raises QueueUnavailable. Cancelled: it may be repeated."""
        known = self._limiting.known
        if known.version and await self._queue.limits_version() < known.version:
            await self._queue.set_limits(known)
        types = limited_types(known)
        if types:
            await self._hold(
                [each for each in self._held() if each.task.type in types and each.permit is not Permit.TYPE]
            )

    async def _hold(self, running: Sequence[ClaimedTask]) -> None:
        """What was claimed before its type had a limit counts, too."""
        leases: dict[UUID, list[ClaimedTask]] = {}
        for claimed in running:
            leases.setdefault(claimed.lease.id, []).append(claimed)
        for lease, items in leases.items():
            await self._queue.hold(lease, [(each.number, group_of(each), each.task.type) for each in items])
            for each in items:
                each.permit = Permit.TYPE


class LookAtLimits:
    """Learns what Postgres has. Mutable state: none but what it teaches."""

    def __init__(self, queue: Queue, store: LimitStore, limiting: Limiting) -> None:
        self._queue = queue
        self._store = store
        self._limiting = limiting

    async def run_once(self) -> None:
        """Raises QueueUnavailable, StoreUnavailable. Cancelled: it may be repeated."""
        name, known = self._queue.name, self._limiting.known
        stored = await self._store.version(name)
        there = await self._queue.limits_version() if stored or known.version else 0
        newest = max(known.version, there)
        if stored < newest:  # the database was set back
            self._limiting.learn(await self._store.outrun(name, newest))
        elif stored > known.version:
            self._limiting.learn(await self._store.read(name))

    async def declare(self, declared: Mapping[str, Limit], types: Collection[str]) -> None:
        """Note what the code of this worker declares for its types. Raises QueueUnavailable, StoreUnavailable."""
        self._limiting.learn(await self._store.declare(self._queue.name, declared, types))
        if (
            there := await self._queue.limits_version()
        ) > self._limiting.known.version:  # of a database before this one
            self._limiting.learn(await self._store.outrun(self._queue.name, there))


class SweepPermits:
    """Releases permits whose tasks are in no flight: a worker of another release gives tasks back without them. One for
    each worker."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def run_once(self) -> None:
        """Raises QueueUnavailable."""
        await self._queue.sweep_permits()
