"""`workqueue reconcile`."""

import trio

from workqueue.core.bridge import open_bridge
from workqueue.core.errors import InvalidSettings
from workqueue.core.queue import open_queue
from workqueue.core.settings import Settings
from workqueue.core.steps.installation import refusal
from workqueue.core.steps.reconcile import Reconcile, Reconciled
from workqueue.core.store import open_store
from workqueue.services.cli.progress import Progress

SHOWN_SECONDS = 0.2


async def reconcile_now(settings: Settings, *, dry_run: bool, progress: Progress) -> Reconciled:
    """Push what is pending and missing in Redis. Raises InvalidSettings, QueueUnavailable, StoreUnavailable."""
    if settings.database_url is None:
        raise InvalidSettings(["DATABASE_URL is not set: without rows there is nothing to compare Redis with"])
    async with (
        open_bridge() as bridge,
        open_queue(bridge, settings.redis_url, settings.queue_name) as queue,
        open_store(bridge, settings.database_url, settings.database_schema) as store,
        trio.open_nursery() as nursery,
    ):
        await queue.check()
        await store.check()
        mine = await store.installation()
        if (reason := refusal(queue, mine, await queue.installation(mine))) is not None:
            raise InvalidSettings([f"nothing is pushed: {reason}"])
        reconcile = Reconcile(queue, store)

        async def show() -> None:
            while True:
                counts = reconcile.counts
                progress(f"{counts.pending} pending rows, {counts.missing} missing in Redis")
                await trio.sleep(SHOWN_SECONDS)

        nursery.start_soon(show)
        done = await reconcile.run(dry_run=dry_run)
        nursery.cancel_scope.cancel()
    return done
