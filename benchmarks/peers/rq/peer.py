"""RQ: one job after another; PEER_MODE tells which worker, the one that forks for each job or the simple one."""

import logging
import time

from peering import MODE, PAYLOAD, SLEEP_SECONDS, URL, Meter
from redis import Redis
from rq import Queue, SimpleWorker, Worker

meter = Meter()


def noop(payload):
    meter.done()


def sleep(payload):
    time.sleep(SLEEP_SECONDS)
    meter.done()


def stamp(payload):
    meter.started()


class Client:
    def connect(self):
        self.redis = Redis.from_url(URL)
        self.queue = Queue(connection=self.redis)

    def one(self, kind):
        self.queue.enqueue(f"peer.{kind}", PAYLOAD, result_ttl=0)

    def many(self, kind, jobs):
        self.queue.enqueue_many([Queue.prepare_data(f"peer.{kind}", (PAYLOAD,), result_ttl=0) for _ in range(jobs)])

    def close(self):
        self.redis.close()

    def work(self):
        """A script of one's own, as RQ advises for speed: what the jobs import is imported before the fork."""
        self.connect()
        worker = (SimpleWorker if MODE == "simple" else Worker)([self.queue], connection=self.redis)
        worker.work(logging_level=logging.WARNING)
