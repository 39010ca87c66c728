"""The invariants, looked at when everything has come to rest. What can be seen at once is checked in `truth.py`."""

from __future__ import annotations

from collections import Counter

from tests.protocol_model.held import Lease
from tests.protocol_model.postgres_model import Postgres
from tests.protocol_model.rows_model import TERMINAL
from tests.protocol_model.scheduling import check_schedules, is_done
from tests.protocol_model.settling import RETRIES
from tests.protocol_model.truth import Truth
from tests.protocol_model.unique_model import is_free
from tests.protocol_model.world import World

SPIN = 12  # claims of one task before it is due; a clock that jumps explains a few


def is_quiet(world: World, leases: set[str]) -> bool:
    """Nothing is on its way any more."""
    redis, truth = world.redis, world.truth
    if world.engine.late_trips or redis.jobs_in_lists() or set(redis.leases) != leases:
        return False
    if _left_in_lanes(world):
        return False
    if world.postgres is None:
        return True
    rows = world.postgres.rows.items()
    if world.firing and not is_done(world.schedules):
        return False
    if world.postgres.outbox or world.postgres.claimed:
        return False
    return all(row.state in TERMINAL or job in truth.popped for job, row in rows)


def check_at_rest(world: World, leases: set[str]) -> list[str]:
    bad = list(world.truth.violations)
    bad += _leftovers(world, leases)
    if world.postgres is None:
        bad += _check_redis_only(world) if not world.truth.losses else []
    else:
        bad += _check_rows(world, world.postgres, leases)
        bad += _check_promises(world.truth, world.postgres)
        bad += check_schedules(world.schedules) if world.firing else []
    return bad


def _leftovers(world: World, leases: set[str]) -> list[str]:
    redis = world.redis
    bad = [f"left over: lease {lease}" for lease in sorted(set(redis.leases) ^ leases)]
    owned = redis.workers | set(redis.flights) | set(redis.started)
    bad += [f"left over: keys of {lease}" for lease in sorted(owned - leases)]
    bad += [f"left over: task {job or 'without id'} in Redis" for job in sorted(redis.jobs_in_lists())]
    return bad + _left_in_lanes(world)


def _left_in_lanes(world: World) -> list[str]:
    """Of a lane with tasks the tasks tell."""
    if (lanes := world.redis.lanes) is None:
        return []
    bad = [f"left over: {count} permits of {scope}" for scope, count in lanes.running.items() if count]
    bad += [f"left over: permit of {lease}" for lease in lanes.permits]
    bad += [f"left over: lanes wait for {scope}" for scope in lanes.blocked]
    if world.postgres is not None and lanes.limits != world.postgres.limits:
        bad.append(f"Redis keeps limits {lanes.limits.version}, those in Postgres are {world.postgres.limits.version}")
    return bad


def _check_rows(world: World, sql: Postgres, leases: set[str]) -> list[str]:
    """The sentence under the table of rows; at rest every row is also terminal."""
    bad = [f"left over: mark {batch}" for batch in sql.outbox]
    bad += [f"left over: claim {token} of {claimed.owner}" for token, claimed in sql.claimed.items()]
    for key, held in sql.unique.items():
        if not is_free(sql, held) and not held.free_at and held.job not in world.truth.popped:
            bad.append(f"{key} is held by {held.job} for ever")
    truth, in_lists = world.truth, world.redis.jobs_in_lists()
    for job, row in sql.rows.items():
        if row.state == "pending" and job not in truth.popped:
            bad.append(f"{job} is pending and {'waits for ever' if job in in_lists else 'nowhere'}")
        if row.state == "processing":
            owner = sql.claimed[row.token].owner if row.token in sql.claimed else ""
            whose = "without an owner" if not owner else "owner lives" if owner in leases else "owner is gone"
            bad.append(f"{job} is processing for ever, {whose}")
        if row.runs != set(range(1, row.last_run + 1)):
            bad.append(f"{job} has runs {sorted(row.runs)}, and its counters say {row.last_run}")
        if truth.early[job] > SPIN + world.redis.pushes[job]:  # each task that was pushed may come early once
            bad.append(f"{job} was claimed {truth.early[job]} times before it was due")
        bad += _check_counters(truth, sql, job)
        if row.recoveries and not world.engine.somebody_was_away:
            bad.append(f"{job} was blamed although no worker was away")
    return bad


def _check_counters(truth: Truth, sql: Postgres, job: str) -> list[str]:
    row = sql.rows[job]
    expected = min(truth.failures.get(job, 0), RETRIES + 1)
    if row.state == "completed" and row.attempts != expected:
        return [f"{job} completed with {row.attempts} failures, it had {expected}"]
    if row.state == "failed" and row.recoveries < 3 and row.attempts != expected:
        return [f"{job} failed with {row.attempts} failures, it had {expected}"]
    # A killer that a person retries is unsuspected again: its next death is its neighbours' as well.
    killers = set() if truth.killers & truth.wishes.retried else truth.killers
    if killers and row.state == "failed" and row.recoveries >= 3 and job not in killers:
        return [f"{job} was blamed for the deaths that another job caused"]
    return []


def _check_promises(truth: Truth, sql: Postgres) -> list[str]:
    bad = []
    for job in sorted(truth.accepted - truth.popped):
        row = sql.rows.get(job)
        if job in truth.wishes.deleted:
            continue  # it had ended, or could not have been deleted
        if row is None:
            if not (truth.losses and job.startswith("f")):
                bad.append(f"{job} was accepted and has no row")
        elif row.state == "cancelled" and job not in truth.wishes.cancelled:
            bad.append(f"{job} was accepted and is cancelled")
        elif row.state == "completed" and not truth.runs[job]:
            bad.append(f"{job} is completed and never ran")
    bad += [f"{job} was refused and ran" for job in sorted(truth.refused - truth.wishes.retried) if truth.runs[job]]
    bad += [f"{job} completed {count} times" for job, count in truth.wishes.completions.items() if count > 1]
    if not truth.losses:
        rows = Counter(truth.named[job] for job in truth.wishes.born if job in truth.named)
        expected = truth.unnamed - truth.popped
        bad += [f"{origin} became {rows[origin]} rows" for origin in sorted(expected) if rows[origin] != 1]
    return bad


def _check_redis_only(world: World) -> list[str]:
    truth, bad = world.truth, []
    buried = {task.job for task, _ in world.redis.dead}
    for job in sorted(truth.accepted - truth.popped):
        if not truth.finished[job] and job not in buried:
            bad.append(f"{job} was accepted and never finished")
    bad += [f"{job} was finished {count} times" for job, count in truth.finished.items() if count > 1]
    if truth.killers:
        blamed = {task.job for task, reason in world.redis.dead if reason == "worker died"} - truth.killers
        bad += [f"{job} was blamed for the deaths that another job caused" for job in sorted(blamed)]
    return bad


__all__ = ["Lease", "check_at_rest", "is_quiet"]
