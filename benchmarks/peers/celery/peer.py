"""Celery on Redis: late acknowledgement; PEER_MODE is the worker's pool."""

import time

from celery import Celery
from peering import CONCURRENCY, MODE, PAYLOAD, SLEEP_SECONDS, URL, Meter, become, program

meter = Meter()
app = Celery("peer", broker=URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,  # "64, or 128" for many short tasks, says its page on optimizing
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(payload):
    meter.done()


@app.task(name="sleep")
def sleep(payload):
    time.sleep(SLEEP_SECONDS)
    meter.done()


@app.task(name="stamp")
def stamp(payload):
    meter.started()


TASKS = {"noop": noop, "sleep": sleep, "stamp": stamp}


class Client:
    def connect(self):
        self.producer = app.amqp.Producer(app.connection_for_write())

    def one(self, kind):
        TASKS[kind].apply_async((PAYLOAD,))

    def many(self, kind, jobs):
        """One producer for all: what its documentation gives instead of a bulk call."""
        for _ in range(jobs):
            TASKS[kind].apply_async((PAYLOAD,), producer=self.producer)

    def close(self):
        self.producer.release()
        app.close()

    def work(self):
        pool = ("--pool", MODE, "--concurrency", str(CONCURRENCY))
        quiet = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")
        become(program("celery"), "--app", "peer", "worker", *pool, *quiet)
