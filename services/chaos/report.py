"""What a run has shown, in words. Pure."""

from collections.abc import Iterator

from workqueue.services.chaos.run import Outcome
from workqueue.services.chaos.verdict import Kind

SHOWN_MAX = 20  #: jobs that are told of one by one


def summary(outcome: Outcome) -> list[tuple[str, str]]:
    """The figures of a run, as (what, how many)."""
    told = [*outcome.evidence.told.values()]
    foreign = [*outcome.evidence.foreign.values()]
    counts, verdict = outcome.evidence.history.counts, outcome.verdict

    def struck(*words: str) -> str:
        return f"{sum(count for kind, count in counts.items() if kind.split()[0] in words):,}"

    def answered(*answers: str) -> str:
        return f"{sum(one.answer in answers for one in told):,}"

    return [
        ("jobs over HTTP", f"{len(told):,}"),
        ("  accepted", answered("accepted")),
        ("  duplicates, unique keys", answered("duplicate")),
        ("  refused", answered("failed to enqueue task", "failed to persist job")),
        ("  no answer", answered("unknown")),
        ("tasks by RPUSH", f"{sum(one.answer == 'accepted' for one in foreign):,}"),
        ("runs", f"{verdict.runs:,}"),
        ("kills (-9)", struck("kill")),
        ("stops", struck("stop")),
        ("restarts", struck("restart")),
        ("cuts, delays, lost answers", struck("cut", "swallow", "black", "delay", "refuse")),
        *((f"{act} by a person", f"{count:,}") for act, count in sorted(outcome.evidence.acted.items())),
        ("losses of Redis", struck("flush", "replace")),
        ("lost", f"{verdict.count(Kind.LOST):,}"),
        ("  by RPUSH, with Redis", f"{verdict.foreign_lost:,}"),
        ("duplicates, explained", f"{sum(verdict.explained.values()):,}"),
        *((f"  {cause}", f"{count:,}") for cause, count in sorted(verdict.explained.items())),
        ("duplicates, unexplained", f"{verdict.count(Kind.DUPLICATE):,}"),
        ("not as told", f"{verdict.count(Kind.LIE):,}"),
        ("over a limit", f"{verdict.count(Kind.OVERRUN):,}"),
        ("worker died too often", f"{verdict.poisoned:,}"),
        ("seed", str(outcome.options.seed)),
        ("seconds", f"{outcome.seconds:.0f}"),
    ]


def complaints(outcome: Outcome) -> Iterator[str]:
    """What is wrong, with what is known of each job; nothing when the verdict is good."""
    evidence = outcome.evidence
    yield from outcome.verdict.violations[:SHOWN_MAX]
    for fault in outcome.verdict.faults[:SHOWN_MAX]:
        n = fault.n
        yield f"job {n}: {fault.kind}: {fault.text}"
        told = evidence.told.get(n) or evidence.foreign.get(n)
        if told is not None:
            yield f"    told {told.answer!r} by {told.producer or 'Redis'}, {told.sent:.3f} to {told.answered:.3f}"
        yield from (f"    {act}" for act in evidence.acts.get(n, []))
        yield from (f"    {row}" for row in (evidence.rows or {}).get(n, []))
        yield from (f"    {run}" for run in evidence.ledger.runs.get(n, []))
    more = len(outcome.verdict.faults) + len(outcome.verdict.violations) - 2 * SHOWN_MAX
    if more > 0:
        yield f"... and more: {more}"
