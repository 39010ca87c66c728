"""`workqueue migrate`."""

from workqueue.core.bridge import open_bridge
from workqueue.core.errors import InvalidSettings
from workqueue.core.settings import Settings
from workqueue.core.store import migrate


async def migrate_now(settings: Settings) -> list[str]:
    """Bring the tables up to date; returns what was done. Raises InvalidSettings, StoreUnavailable."""
    if settings.database_url is None:
        raise InvalidSettings(["DATABASE_URL is not set: it must be postgresql://user:password@host:port/database"])
    async with open_bridge() as bridge:
        return await migrate(bridge, settings.database_url, settings.database_schema)
