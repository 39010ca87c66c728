"""Pauses: the types and queues whose jobs are not run for now, as Postgres, Redis and each worker know them. Pure."""

from msgspec import Struct

PAUSED_TYPES_MAX = 100  #: and as many queues; each claim brings all of them


class Paused(Struct, frozen=True):
    """What is paused. Of two the one with the greater version is true; 0: nothing was ever paused."""

    version: int = 0
    types: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()


NOTHING = Paused()
