"""The queue in Redis. The only room that imports redis-py."""

from core.queue.client import Depths, Queue, open_queue
from core.queue.keys import Keys
from core.queue.lease_connection import LeaseConnection

__all__ = ["Depths", "Keys", "LeaseConnection", "Queue", "open_queue"]
