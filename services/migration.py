"""Brings the tables up to date at a start, as soon as Postgres lets us."""

import logging
from collections.abc import Callable

import trio

from workqueue.core.bridge import Bridge
from workqueue.core.errors import StoreUnavailable
from workqueue.core.retry import Pauses
from workqueue.core.store import migrate

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0


async def migrate_until_done(
    bridge: Bridge, database_url: str, schema: str, *, on_outage: Callable[[StoreUnavailable], None]
) -> None:
    """Try until Postgres has answered; `on_outage` gets each failure. Cancelled: a migration is whole or not there."""
    pauses = Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    while True:
        try:
            done = await migrate(bridge, database_url, schema)
        except StoreUnavailable as error:
            on_outage(error)
            await trio.sleep(pauses.next())
        else:
            if done:
                log.info("migrated schema %s: %s", schema, ", ".join(done))
            return
