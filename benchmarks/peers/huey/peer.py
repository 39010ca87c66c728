"""Huey on Redis: BRPOP, so a job is gone from Redis before it runs; PEER_MODE is the kind of its workers."""

import time

from huey import RedisHuey
from peering import CONCURRENCY, MODE, PAYLOAD, SLEEP_SECONDS, URL, Meter, become, program

meter = Meter()
huey = RedisHuey("peer", url=f"{URL}?max_connections={CONCURRENCY + 100}", results=False)  # a connection a worker


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
        command = (program("huey_consumer"), "peer.huey", "--quiet", "--no-periodic", *workers)
        if MODE == "greenlet":  # gevent has to come before everything else
            command = (program("python"), "-m", "gevent.monkey", *command)
        become(*command)
