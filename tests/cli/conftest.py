import pytest

from tests.producer.serving import serving


@pytest.fixture
async def url(store, redis_url, postgres_dsn, queue_name, database_schema):
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
    }
    async with serving(environ) as client:
        yield str(client.base_url)
