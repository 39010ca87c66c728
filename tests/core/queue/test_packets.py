"""Several commands in one packet."""

import pytest
from redis.exceptions import ResponseError

from workqueue.core.queue.packets import together, transaction
from workqueue.core.queue.urls import client, target


@pytest.fixture
async def redis_client(bridge, redis_url, queue_name):
    """A pool of one connection: one that is not given back, or has an answer left on it, shows at once."""
    one = client(target(redis_url, queue_name), 1, seconds=1, read_seconds=5)
    yield one
    await bridge.run(one.aclose)


@pytest.mark.parametrize("send", [together, transaction])
async def test_the_answers_come_in_the_order_of_the_commands(bridge, redis_client, queue_name, send):
    commands = [["RPUSH", queue_name, "a", "b"], ["LLEN", queue_name], ["LPOP", queue_name], ["DEL", queue_name]]
    assert await bridge.run(send, redis_client, commands) == [2, 2, b"a", 1]


@pytest.mark.parametrize("send", [together, transaction])
async def test_an_error_among_the_answers_is_raised_with_its_command_and_the_connection_is_used_again(
    bridge, redis_client, queue_name, send
):
    for _ in range(3):
        with pytest.raises(ResponseError, match=rf"ZCARD {queue_name}.*WRONGTYPE"):
            await bridge.run(
                send, redis_client, [["RPUSH", queue_name, "a"], ["ZCARD", queue_name], ["DEL", queue_name]]
            )
        assert await bridge.run(send, redis_client, [["LLEN", queue_name]]) == [0]


async def test_a_command_that_cannot_be_queued_leaves_no_transaction_open(bridge, redis_client, queue_name):
    with pytest.raises(ResponseError, match="unknown command"):
        await bridge.run(transaction, redis_client, [["NONSENSE"], ["RPUSH", queue_name, "a"]])
    assert await bridge.run(redis_client.execute_command, "RPUSH", queue_name, "b") == 1, "not QUEUED, and no 'a'"
    assert await bridge.run(redis_client.execute_command, "DEL", queue_name) == 1
