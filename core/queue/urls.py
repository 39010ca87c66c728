"""Is a Redis URL one that redis-py understands? Asked at the start, before anything is opened."""

from redis.asyncio import BlockingConnectionPool

from core.errors import InvalidSettings


def check_url(url: str) -> None:
    """Raise InvalidSettings where no connection can be made from `url`, whatever runs there. Connects to nothing."""
    try:
        BlockingConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:  # a value that cannot be read; an option that does not exist
        fault = str(error).rpartition("() got an ")[2]  # of a TypeError, without the name of redis-py's method
        raise InvalidSettings([f"REDIS_URL=***: {fault}"]) from None
