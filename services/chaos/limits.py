"""Limits in a chaos run: which ones held when, and whether more ran at once than one allowed. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from workqueue.services.chaos.ledger import Run

GROUPS = "groups"
UNIQUE, UNIQUE_SCOPE = "unique keys", "unique:"  #: no two jobs under one run at once
NAPS_RUNNING = 40  #: naps at once, on all workers (handlers.py)


class LimitSet(Struct, frozen=True):
    """A limit of what runs at once. It certainly held from `begun` (its answer) until `ended` (another was sent)."""

    scope: str  #: as the API has it
    running: int
    begun: float  #: monotonic clock
    ended: float = float("inf")


#: Those that no one changes.
ALWAYS = (LimitSet("type:chaos.naps", NAPS_RUNNING, 0.0), LimitSet(UNIQUE, 1, 0.0))


def overruns(
    limit: LimitSet,
    scopes: Mapping[int, frozenset[str]],
    runs: Iterable[Run],
    is_explained: Callable[[Run, float], bool],
    *,
    grace_seconds: float,
) -> Iterator[Run]:
    """Runs that began while as many others of their scope went on as the limit allows.

    `scopes`: of each job. `is_explained`: whether a run that went on at a moment may have counted no more, because its
    worker was taken for dead. `grace_seconds`: after `begun`, what had its permit before may still begin.
    """
    going: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda each: each.begun):
        for scope in scopes.get(run.n, ()):
            if not _is_of(scope, limit.scope):
                continue
            others = [each for each in going.get(scope, ()) if each.ended is not None and each.ended > run.begun]
            going[scope] = [*others, run]
            if not limit.begun + grace_seconds < run.begun < limit.ended or len(others) < limit.running:
                continue
            if not any(is_explained(each, run.begun) for each in going[scope]):
                yield run


def _is_of(scope: str, limited: str) -> bool:
    kind = {GROUPS: "group:", UNIQUE: UNIQUE_SCOPE}.get(limited)
    return scope == limited if kind is None else scope.startswith(kind)
