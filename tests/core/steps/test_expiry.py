"""Idempotency keys that have expired."""

from workqueue.core.steps.expiry import PRUNE_MAX, PruneKeys


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
