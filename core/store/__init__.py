"""Job rows in Postgres. The only room that imports asyncpg."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workqueue.core.bridge import Bridge
from workqueue.core.store.actions import Acted, Action
from workqueue.core.store.audit import AuditRow
from workqueue.core.store.changes import OVERLAP_SECONDS, ChangedRow, Changes, ChangeStore, WatchedRow
from workqueue.core.store.jobs import (
    ArtifactHead,
    Checkpoint,
    Counter,
    Finish,
    JobStore,
    KeyHolder,
    NewJob,
    Requeue,
    RowStatus,
    Run,
)
from workqueue.core.store.limits import LimitStore
from workqueue.core.store.listing import LISTED_ERROR_MAX, LISTED_PAYLOAD_MAX, JobCount, JobPage
from workqueue.core.store.migrate import migrate
from workqueue.core.store.notifications import Notifications
from workqueue.core.store.pauses import PauseStore
from workqueue.core.store.pool import open_pool
from workqueue.core.store.reports import LogRow, ProgressRow
from workqueue.core.store.rows import JobRow
from workqueue.core.store.schedules import Firing, NewRun, ScheduleRow, ScheduleStore
from workqueue.core.store.stats import FailureGroup, StatsRow, StatsStore

__all__ = [
    "LISTED_ERROR_MAX",
    "LISTED_PAYLOAD_MAX",
    "OVERLAP_SECONDS",
    "Acted",
    "Action",
    "ArtifactHead",
    "AuditRow",
    "ChangeStore",
    "ChangedRow",
    "Changes",
    "Checkpoint",
    "Counter",
    "FailureGroup",
    "Finish",
    "Firing",
    "JobCount",
    "JobPage",
    "JobRow",
    "JobStore",
    "KeyHolder",
    "LimitStore",
    "LogRow",
    "NewJob",
    "NewRun",
    "Notifications",
    "PauseStore",
    "ProgressRow",
    "Requeue",
    "RowStatus",
    "Run",
    "ScheduleRow",
    "ScheduleStore",
    "StatsRow",
    "StatsStore",
    "WatchedRow",
    "migrate",
    "open_store",
]


@asynccontextmanager
async def open_store(bridge: Bridge, dsn: str, schema: str) -> AsyncIterator[JobStore]:
    """The job rows in `schema` of the database `dsn`. Connects with the first statement."""
    async with open_pool(bridge, dsn, schema) as pool:
        yield JobStore(pool, notifications=Notifications(bridge, dsn, schema))
