"""The contents of both servers after the run: the rows, the dead letters, and what is left over."""

import contextlib
from collections.abc import Collection
from uuid import UUID

import msgspec
import trio

from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.queue import Queue
from workqueue.core.store.pool import Pool
from workqueue.services.chaos import schedules, sql
from workqueue.services.chaos.invariants import check_rows, left_over
from workqueue.services.chaos.verdict import Row
from workqueue.services.published import read_published

ROWS_MAX = 5000  #: read at a time
REMOVE_SECONDS = 30.0


class Aftermath:
    """Looks at one queue, and at its rows where there are any, from outside and not through any proxy."""

    def __init__(self, queue: Queue, pool: Pool | None, schema: str) -> None:
        self._queue = queue
        self._pool = pool
        self._schema = schema

    async def workers(self) -> list[int]:
        """The pids of the workers that hold a lease."""
        return [worker.pid for said, _ in (await self._queue.workers()).values() if (worker := read_published(said))]

    async def unsettled(self, workers: Collection[int | None]) -> str:
        """What has not come to its end while `workers` (their pids) run; empty: nothing.

        Raises QueueUnavailable, StoreUnavailable.
        """
        counts: dict[str, int] = {}
        if self._pool is not None:
            [row] = await self._pool.fetch(sql.UNSETTLED, self._queue.name)
            counts |= {"rows without an end": row["waiting"], "marks": row["outbox"], "claims": row["claimed"]}
        tasks = await self._queue.count_tasks()
        leases = set(await self._queue.lease_scores()) | await self._queue.published_leases()
        without = len(set(workers) - set(await self.workers()))
        counts |= {
            "tasks in Redis": tasks,
            "workers without a lease": without,
            "leases without a worker": len(leases) - len(workers) + without,
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    async def check_rows(self) -> list[str]:
        """What is wrong under protocol's table of rows."""
        return [] if self._pool is None else await check_rows(self._queue, self._pool.fetch)

    async def left(self) -> list[str]:
        """What is left after all workers have ended."""
        found = [f"the key {key} is left" for key in sorted(await left_over(self._queue, dead=self._pool is None))]
        if self._pool is not None:
            [row] = await self._pool.fetch(sql.UNSETTLED, self._queue.name)
            found += [f"{row[name]} {name} are left" for name in ("waiting", "outbox", "claimed") if row[name]]
        return found

    async def rows(self) -> dict[int, list[Row]] | None:
        """Job -> its rows, one if all is well; None without Postgres."""
        if self._pool is None:
            return None
        rows: dict[int, list[Row]] = {}
        after: UUID | None = None
        while piece := await self._pool.fetch(sql.ROWS, self._queue.name, after, ROWS_MAX):
            for found in piece:
                row = Row(
                    found["n"], str(found["id"]), found["state"], found["attempts"], found["recoveries"],
                    found["interruptions"], found["retries"], found["error_message"], found["earlier_runs"],
                )  # fmt: skip
                rows.setdefault(row.n, []).append(row)
            after = piece[-1]["id"]
        return rows

    async def due_times(self) -> list[str]:
        """What is wrong with the due times of the schedule."""
        if self._pool is None:
            return []
        rows = await self._pool.fetch(sql.DUE_TIMES, self._queue.name, schedules.NAME)
        return schedules.judge_due_times([(row["due_at"], row["count"]) for row in rows])

    async def dead(self) -> tuple[dict[int, int], list[str]]:
        """Job -> how often it lies in the dead letters; and what should not lie there."""
        dead: dict[int, int] = {}
        strange: list[str] = []
        async for letters in self._queue.dead_letters():
            for letter in letters:
                try:
                    n = int(msgspec.json.decode(msgspec.json.decode(letter)["task"])["payload"]["n"])
                except (KeyError, ValueError, TypeError, msgspec.DecodeError):
                    strange.append(f"a dead letter is none of ours: {letter[:200]!r}")
                    continue
                dead[n] = dead.get(n, 0) + 1
                if self._pool is not None:
                    strange.append(f"job {n} has a row, and lies in the dead letters: {letter[:300]!r}")
        return dead, strange

    async def remove(self) -> None:
        """Remove all keys and tables: others may use the servers. Shielded, bounded; skips a server that is away."""
        with trio.move_on_after(REMOVE_SECONDS, shield=True):
            with contextlib.suppress(QueueUnavailable):
                await self._queue.remove()
            if self._pool is not None:
                with contextlib.suppress(StoreUnavailable):
                    await self._pool.fetch(f'DROP SCHEMA "{self._schema}" CASCADE', seconds=REMOVE_SECONDS)
