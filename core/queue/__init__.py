"""The queue in Redis. The only room that imports redis-py."""

from core.queue.client import Depths, Inspection, Queue, open_queue
from core.queue.keys import Keys
from core.queue.lease_connection import LeaseConnection
from core.queue.urls import check_url

__all__ = ["Depths", "Inspection", "Keys", "LeaseConnection", "Queue", "check_url", "open_queue"]
