"""Dramatiq on its Redis broker: threads; a message is acknowledged when its actor has ended."""

import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from peering import CONCURRENCY, PAYLOAD, SLEEP_SECONDS, URL, Meter, become, program

meter = Meter()
broker = RedisBroker(url=f"{URL}?max_connections={CONCURRENCY + 100}")  # redis-py's pool ends at 100
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(payload):
    meter.done()


@dramatiq.actor
def sleep(payload):
    time.sleep(SLEEP_SECONDS)
    meter.done()


@dramatiq.actor
def stamp(payload):
    meter.started()


ACTORS = {"noop": noop, "sleep": sleep, "stamp": stamp}


class Client:
    def connect(self):
        pass

    def one(self, kind):
        ACTORS[kind].send(PAYLOAD)

    def many(self, kind, jobs):
        for _ in range(jobs):
            self.one(kind)

    def close(self):
        broker.close()

    def work(self):
        become(program("dramatiq"), "peer:broker", "--processes", "1", "--threads", str(CONCURRENCY), "--skip-logging")
