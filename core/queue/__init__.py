"""The queue in Redis. The only room that imports redis-py."""

from workqueue.core.queue.client import (
    DEAD_READ_MAX,
    PROMOTE_MAX,
    PUSH_BYTES_MAX,
    WAIT_SECONDS,
    DeadPage,
    Depths,
    DueSchedule,
    Inspection,
    Queue,
    UniqueTask,
    open_queue,
)
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.lanes import AHEAD_MAX, Admitted, lane_of
from workqueue.core.queue.lease_connection import LeaseConnection

__all__ = [
    "AHEAD_MAX", "DEAD_READ_MAX", "PROMOTE_MAX", "PUSH_BYTES_MAX", "WAIT_SECONDS", "Admitted", "DeadPage", "Depths",
    "DueSchedule", "Inspection", "Keys", "LeaseConnection", "Queue", "UniqueTask", "lane_of", "open_queue",
]  # fmt: skip
