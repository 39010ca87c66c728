"""Huey on Redis: BRPOP, so a job is gone from Redis before it runs; PEER_MODE is the kind of its workers."""

import time

from huey import RedisHuey
from peering import CONCURRENCY, MODE, PAYLOAD, SLEEP_SECONDS, URL, Meter, become

meter = Meter()
huey = RedisHuey("peer", url=URL, results=False)


@huey.task()
def noop(payload):
    meter.done()


@huey.task()
def sleep(payload):
    time.sleep(SLEEP_SECONDS)
    meter.done()


@huey.task()
def stamp(payload):
    meter.started()


TASKS = {"noop": noop, "sleep": sleep, "stamp": stamp}


class Client:
    def connect(self):
        pass

    def one(self, kind):
        TASKS[kind](PAYLOAD)

    def many(self, kind, jobs):
        for _ in range(jobs):
            self.one(kind)

    def close(self):
        huey.storage.close()

    def work(self):
        workers = ("-k", MODE, "-w", str(CONCURRENCY), "--graceful-signal", "TERM")
        become("huey_consumer", "peer.huey", "--quiet", "--no-periodic", *workers)
