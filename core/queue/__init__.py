"""The queue in Redis. The only room that imports redis-py."""

from workqueue.core.queue.client import PROMOTE_MAX, PUSH_BYTES_MAX, Depths, Inspection, Queue, open_queue
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.lease_connection import LeaseConnection

__all__ = ["PROMOTE_MAX", "PUSH_BYTES_MAX", "Depths", "Inspection", "Keys", "LeaseConnection", "Queue", "open_queue"]
