"""Idempotency keys that have expired, and acts that were done long ago."""

from workqueue.core.steps.expiry import AUDIT_SECONDS, PRUNE_MAX, PruneAudit, PruneKeys


async def test_old_keys_are_pruned_in_pieces(store, psql):
    await psql(
        "INSERT INTO idempotency SELECT 'q', sha256(n::text::bytea), '', gen_random_uuid(),"
        " now() + (n - 600.5) * interval '1 h' FROM generate_series(1, 610) n"
    )
    prune = PruneKeys(store)
    assert await prune.run_once()
    assert not await prune.run_once()
    assert await psql.value("SELECT count(*) FROM idempotency") == 10
    assert PRUNE_MAX == 500


async def test_what_was_done_is_known_for_ninety_days(store, psql):
    await psql(
        "INSERT INTO audit (queue, act, target, at)"
        " SELECT 'q', 'cancel', '{}', now() - (610 - n) * interval '1 day' FROM generate_series(1, 610) n"
    )
    prune = PruneAudit(store)
    assert await prune.run_once()
    assert not await prune.run_once()
    assert await psql.value("SELECT max(now() - at) < interval '90 days' FROM audit")
    assert await psql.value("SELECT count(*) FROM audit") == 90
    assert AUDIT_SECONDS == 90 * 86_400
