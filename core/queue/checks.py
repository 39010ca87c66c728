"""Is this Redis fit for a queue? What it is asked each second, and what its answers mean to an operator."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import MovedError, OutOfMemoryError, ReadOnlyError, ResponseError

from workqueue.core.errors import KeyOfAnotherType, NeedsOperator
from workqueue.core.queue.commands import to_queue
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.outages import (
    NO_COMMAND,
    UNKNOWN,
    knows_no,
    outage,
    plain,
    refusal,
    refuses,
)
from workqueue.core.queue.packets import connection_of, exchange

NAMES = {"list": "a list", "zset": "a sorted set", "hash": "a hash", "set": "a set", "string": "a string"}


class Answer(Struct, frozen=True):
    """Each reply, or the error that stood in its place."""

    types: list[Any]
    memory: Any  #: of INFO
    replication: Any
    multi: Any
    queued: Mapping[str, Any]  #: command -> what Redis said when it was queued; empty: there are no transactions


def kinds(keys: Keys, lease: UUID | None) -> dict[str, str]:
    """Key -> the type that it has where it is there."""
    types = {
        keys.ready: "list", keys.front: "list", keys.leases: "zset", keys.workers: "hash", keys.scheduled: "zset",
        keys.dead: "list", keys.gone: "list", keys.checkpoint: "string", keys.rows: "string", keys.pauses: "hash",
        keys.parked_counts: "hash", keys.queues: "set", keys.bell: "list", keys.limits: "hash",
        keys.group_limits: "hash", keys.lanes: "set", keys.grouped: "hash", keys.running: "hash",
        keys.holders: "set", keys.behind: "zset",
    }  # fmt: skip
    if lease is not None:
        types |= {keys.flight(lease): "hash", keys.suspect_starts(lease): "set"}
    return types


async def ask(redis: "Redis", keys: Keys, types: Mapping[str, str], *, produces: bool) -> Answer:
    """Two trips on one connection. Nothing is changed: what is queued is discarded (commands.py says why it is)."""
    async with connection_of(redis) as connection:
        *first, multi, exec_ = await exchange(
            connection,
            [*(["TYPE", key] for key in types), ["INFO", "memory"], ["INFO", "replication"], ["MULTI"], ["EXEC"]],
        )
        queued: dict[str, Any] = {}
        if multi == b"OK" and exec_ != []:
            await connection.disconnect(nowait=True)  # the transaction is still open
            multi = exec_
        elif multi == b"OK":
            commands = to_queue(keys, produces=produces)
            replies = await exchange(connection, [["MULTI"], *commands, ["DISCARD"]])
            if replies[-1] != b"OK":
                await connection.disconnect(nowait=True)  # or the next command would be queued as well
                multi = replies[-1]
            queued = {command[0]: reply for command, reply in zip(commands, replies[1:-1], strict=True)}
    *kinds_found, memory, replication = first
    for reply in (*first, multi, *queued.values()):
        if isinstance(reply, MovedError):
            raise reply
    return Answer(kinds_found, memory, replication, multi, queued)


def is_replica(answer: Answer) -> bool:
    if any(isinstance(reply, ReadOnlyError) for reply in answer.queued.values()):
        return True
    return _info(answer.replication).get("role", "master") != "master"


def done_without(answer: Answer) -> str | None:
    """Why INFO has no answer, where it has none."""
    return refusal(answer.memory, "INFO") if isinstance(answer.memory, ResponseError) else None


def judge(answer: Answer, types: Mapping[str, str], *, room: bool) -> None:
    """Raise what an operator should be told first."""
    for reply in (*answer.types, answer.multi):
        _raise(reply, "TYPE, MULTI, EXEC or DISCARD")
    if is_replica(answer):
        raise NeedsOperator("Redis: this server is a read-only replica; point REDIS_URL to its master")
    _judge_types(answer, types)
    _judge_rights(answer)
    memory = _info(answer.memory)
    if room and any(isinstance(reply, OutOfMemoryError) for reply in answer.queued.values()):
        limit = f" (maxmemory is {memory['maxmemory']} bytes)" if "maxmemory" in memory else ""
        raise NeedsOperator(
            f"Redis: its memory is full{limit}: it takes no new tasks until workers have done some. "
            "Raise maxmemory, or start more workers"
        )
    if (policy := memory.get("maxmemory_policy", "noeviction")) != "noeviction":
        raise NeedsOperator(
            f"Redis: maxmemory-policy is {policy}: it may drop tasks. Set it to noeviction on the server"
        )
    for command, reply in answer.queued.items():
        if not isinstance(reply, OutOfMemoryError):
            _raise(reply, command)


def _judge_types(answer: Answer, types: Mapping[str, str]) -> None:
    wrong: list[str] = []
    for (key, wanted), found in zip(types.items(), answer.types, strict=True):
        if (kind := found.decode(errors="replace")) not in {wanted, "none"}:
            wrong.append(f"the key {key} holds another type, {NAMES.get(kind, kind)} instead of {NAMES[wanted]}")
    if wrong:
        it = "it" if len(wrong) == 1 else "them"
        raise KeyOfAnotherType(f"Redis: {'; '.join(wrong)}; rename {it} or change QUEUE_NAME")


def _judge_rights(answer: Answer) -> None:
    """All that is refused in one sentence: an operator wants to mend it once."""
    refused = {command: reply for command, reply in answer.queued.items() if isinstance(reply, ResponseError)}
    forbidden = [command for command, reply in refused.items() if NO_COMMAND.search(plain(reply))]
    if forbidden:
        raise NeedsOperator(refuses(forbidden))
    if unknown := [command for command, reply in refused.items() if UNKNOWN.search(plain(reply))]:
        raise NeedsOperator(knows_no(unknown))
    for command, reply in refused.items():
        if (sentence := refusal(reply, command)) is not None:
            raise NeedsOperator(sentence)


def _raise(reply: Any, asked: str) -> None:
    if isinstance(reply, Exception):
        raise outage(reply, asked) or reply


def _info(reply: Any) -> dict[str, str]:
    """The fields of a section of INFO; none where it is refused."""
    if not isinstance(reply, bytes):
        return {}
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in lines}
