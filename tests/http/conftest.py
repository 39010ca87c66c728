"""What services/http does is seen on the producer's app, which uses all of it."""

from tests.producer.conftest import redis_only, tasks

__all__ = ["redis_only", "tasks"]
