"""The queue in Redis. The only room that imports redis-py."""

from workqueue.core.queue.client import Depths, Inspection, Queue, open_queue
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.lease_connection import LeaseConnection
from workqueue.core.queue.urls import check_url

__all__ = ["Depths", "Inspection", "Keys", "LeaseConnection", "Queue", "check_url", "open_queue"]
