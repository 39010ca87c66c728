"""The command line of the model; the package says what may be asked."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from multiprocessing import Pool
from multiprocessing.pool import Pool as PoolType

from tests.protocol_model.explore import DISASTERS, Result, explore
from tests.protocol_model.mechanisms import MECHANISMS, Options

FIND_STEP = 24


def run_many(seeds: range, options: Options, processes: int) -> list[Result]:
    with Pool(processes) as pool:
        return pool.map(partial(explore, options=options), seeds, chunksize=10)


def kind_of(violation: str) -> str:
    """The violation without its job and numbers, to be counted."""
    return " ".join(word for word in violation.split() if not any(letter.isdigit() for letter in word))


def report(title: str, results: list[Result], show: int) -> int:
    bad = [result for result in results if result.violations]
    jobs, runs = sum(result.jobs for result in results), sum(result.runs for result in results)
    print(f"{title:32} {len(results)} schedules, {jobs} jobs, {runs} runs: {len(bad)} bad", flush=True)
    for kind, count in Counter(kind_of(text) for result in bad for text in result.violations).most_common(show):
        print(f"    {count:5} x {kind}")
    if bad:
        print(f"    seeds {' '.join(str(result.seed) for result in bad[:12])}", flush=True)
    return len(bad)


def find(pool: PoolType, name: str, seeds: range, options: Options) -> None:
    """Say the first of `seeds` that is bad, and what it shows."""
    for begin in range(0, len(seeds), FIND_STEP):
        for result in pool.map(partial(explore, options=options), seeds[begin : begin + FIND_STEP], chunksize=1):
            if result.violations:
                print(f"{name:20} {result.seed:6} {kind_of(result.violations[0])}", flush=True)
                return
    print(f"{name:20}        does not show", flush=True)


def print_trace(seed: int, options: Options) -> int:
    result = explore(seed, options, tracing=True)
    print("\n".join(result.trace))
    print("\n".join(["", *result.violations]) if result.violations else "\nnothing is wrong")
    return len(result.violations)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests.protocol_model", description="Explore the protocol at random, under faults."
    )
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--redis-only", action="store_true", help="without Postgres (and without loss of Redis)")
    parser.add_argument("--no-losses", action="store_true", help="Redis keeps its data")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=MECHANISMS,
        metavar="MECHANISM",
        help="switch one off; may be repeated",
    )
    parser.add_argument("--ablate", action="store_true", help="switch each mechanism off, one at a time")
    parser.add_argument(
        "--focus", action="append", default=[], metavar="TRIP", help="disturb this trip far more; may be repeated"
    )
    parser.add_argument("--disaster", default="", choices=(*DISASTERS, "killer", "long outage"), help="certainly this")
    parser.add_argument("--person", action="store_true", help="certainly a person who acts on jobs, and retention")
    parser.add_argument("--pausing", action="store_true", help="certainly a person who pauses and resumes a type")
    parser.add_argument("--timed", action="store_true", help="jobs choose when they run")
    parser.add_argument("--firing", action="store_true", help="schedules make jobs")
    parser.add_argument("--unique", action="store_true", help="jobs are submitted under unique keys")
    parser.add_argument("--grouped", action="store_true", help="jobs have groups, and a person changes limits")
    parser.add_argument("--find", action="store_true", help="the first bad schedule without each mechanism")
    parser.add_argument("--trace", action="store_true", help="print the schedule of --seed, or the first bad one")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="list the mechanisms")
    arguments = parser.parse_args()
    if arguments.list:
        for name, mechanism in MECHANISMS.items():
            print(f"{name:20} {mechanism.says}" + (f"\n{'':20} ({mechanism.why})" if mechanism.why else ""))
        return 0
    losses = not (arguments.no_losses or arguments.redis_only)
    off = frozenset(arguments.without)
    focus = frozenset(arguments.focus)
    options = Options(
        arguments.redis_only,
        losses,
        off,
        focus,
        arguments.disaster,
        arguments.person,
        arguments.pausing,
        arguments.timed,
        arguments.firing,
        arguments.unique,
        arguments.grouped,
    )
    seeds = range(arguments.seed, arguments.seed + arguments.schedules)
    if arguments.ablate:
        for name in MECHANISMS:
            ablated = replace(options, off=off | {name})
            report(f"without {name}", run_many(seeds, ablated, arguments.processes), show=2)
        return 0
    if arguments.find:
        with Pool(arguments.processes) as pool:
            for name, mechanism in MECHANISMS.items():
                if name in off or (not off and not mechanism.why):
                    find(pool, name, seeds, mechanism.without(name))
        return 0
    if arguments.trace and arguments.schedules == 1:
        return 1 if print_trace(arguments.seed, options) else 0
    results = run_many(seeds, options, arguments.processes)
    bad = report("without " + ", ".join(sorted(off)) if off else "as it stands", results, show=10)
    if arguments.trace and bad:
        print_trace(next(result.seed for result in results if result.violations), options)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
