"""Every command that is sent to the server of a queue, and what a user has to be allowed. docs/deployment.md lists it.

Sentinels are asked `SENTINEL GET-MASTER-ADDR-BY-NAME`, nodes of a Cluster `CLUSTER SLOTS` besides (master.py).
"""

from workqueue.core.queue import scripts
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.scripts import Script

#: What producers send, and what their scripts do.
PRODUCER_DIRECT = frozenset({
    "DISCARD", "EVAL", "EVALSHA", "EXEC", "GET", "HGETALL", "LLEN", "LRANGE", "LTRIM",
    "HGET", "MULTI", "PING", "PUBLISH", "RPUSH",
    "SELECT", "SET", "SMEMBERS", "TIME", "TYPE", "ZCARD", "ZRANGE",
})  # fmt: skip
PRODUCER_SCRIPTS: tuple[Script, ...] = (
    scripts.SUBMIT_ONCE, scripts.READ_CHECKPOINT, scripts.SET_CHECKPOINT, scripts.SCHEDULE, scripts.NEXT_TASK,
    scripts.READ_DEAD, scripts.UNBURY, scripts.SET_PAUSED, scripts.PUSH, scripts.ADD_QUEUE, scripts.DEPTHS,
    scripts.HEADS, scripts.SUBMIT_UNIQUE, scripts.SET_LIMITS, scripts.ROUSE,
)  # fmt: skip

#: What workers and `workqueue reconcile` send besides.
WORKER_DIRECT = frozenset({
    "BLMOVE", "BLPOP", "HGET", "HKEYS", "HMGET", "HVALS", "LRANGE", "SMEMBERS", "SUBSCRIBE", "UNSUBSCRIBE", "ZSCORE",
})  # fmt: skip

#: What is done without where it is refused; docs/deployment.md says what is lost then.
OPTIONAL = frozenset({"INFO", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"})

#: What `workqueue bench` and `workqueue chaos` send besides, to measure and to clear up.
TOOLS = frozenset({"SCAN"})

PRODUCER_OPTIONAL = frozenset({"INFO", "PUBLISH"})  #: the part of it that producers send

PRODUCER = PRODUCER_DIRECT.union(*(script.commands for script in PRODUCER_SCRIPTS)) - OPTIONAL
ALL = PRODUCER.union(WORKER_DIRECT, *(script.commands for script in scripts.ALL)) - OPTIONAL

#: Command -> arguments with which it can be queued in a transaction. KEY is a key that nothing else uses.
_ARGUMENTS = {
    "BLMOVE": "KEY KEY LEFT RIGHT 0.01", "BLPOP": "KEY 0.01",
    "DEL": "KEY", "EVAL": "return KEY 1 KEY", "EVALSHA": "0 1 KEY", "GET": "KEY",
    "EXISTS": "KEY", "HDEL": "KEY f", "HEXISTS": "KEY f", "HGET": "KEY f", "HGETALL": "KEY", "HINCRBY": "KEY f 1",
    "HKEYS": "KEY", "HLEN": "KEY", "HSETNX": "KEY f v", "HVALS": "KEY", "LPOP": "KEY", "SREM": "KEY v",
    "HMGET": "KEY f", "HSET": "KEY f v", "LINSERT": "KEY BEFORE v w",
    "LLEN": "KEY", "LPUSH": "KEY v", "LRANGE": "KEY 0 0", "LREM": "KEY 0 v",
    "LTRIM": "KEY 0 -1", "PERSIST": "KEY", "PEXPIRE": "KEY 1000",
    "RPUSH": "KEY v", "SADD": "KEY v", "SET": "KEY v", "SCARD": "KEY", "SMEMBERS": "KEY",
    "TIME": "", "ZADD": "KEY 1 v", "ZCARD": "KEY", "ZRANGE": "KEY 0 0", "ZRANGEBYSCORE": "KEY 0 0", "ZREM": "KEY v",
    "ZREMRANGEBYRANK": "KEY 1 0", "ZSCORE": "KEY v",
}  # fmt: skip

#: Sent by the question itself, or by each connection before it.
_NOT_QUEUED = frozenset({"DISCARD", "EXEC", "MULTI", "PING", "SELECT", "TYPE"})


def to_queue(keys: Keys, *, produces: bool) -> list[list[str]]:
    """A command of each kind that is needed, to be queued in a transaction that is discarded.

    Redis judges a command when it is queued: whether it knows it, whether this user may run it, whether it would do it
    now. The key is one that nothing else uses, so that nothing could come of it even if one were carried out.
    """
    needed = sorted((PRODUCER if produces else ALL) - _NOT_QUEUED)
    return [[name, *(keys.unused if part == "KEY" else part for part in _ARGUMENTS[name].split())] for name in needed]
