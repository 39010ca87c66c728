"""Rows of the audit: begun and ended, newest first, forgotten after a time. Who leaves them: producer/test_audit.py."""

from workqueue.core.audit import AuditEntry, all_target, ids_target
from workqueue.core.store import JobStore


async def test_an_act_is_begun_and_gets_its_number_at_its_end(store: JobStore):
    audit_id = await store.audit.begin("q", AuditEntry("ops", "dead delete", all_target()))
    [row] = await store.audit.page("q", before=None, limit=9)
    assert (row.id, row.who, row.act, row.target, row.count) == (audit_id, "ops", "dead delete", '{"all":true}', None)
    await store.audit.end(audit_id, 3)
    [row] = await store.audit.page("q", before=None, limit=9)
    assert row.count == 3
    assert await store.audit.page("another", before=None, limit=9) == []


async def test_the_newest_come_first_and_old_ones_are_forgotten_in_pieces(store: JobStore, psql):
    ids = [await store.audit.begin("q", AuditEntry(None, "cancel", ids_target([n]))) for n in range(5)]
    assert [row.id for row in await store.audit.page("q", before=None, limit=2)] == [ids[4], ids[3]]
    assert [row.id for row in await store.audit.page("q", before=ids[3], limit=9)] == [ids[2], ids[1], ids[0]]
    await psql(f"UPDATE audit SET at = '2020-01-01Z' WHERE id <= {ids[2]}")
    assert await store.audit.prune(keep_seconds=60, limit=2) == 2
    assert await store.audit.prune(keep_seconds=60, limit=2) == 1
    assert await store.audit.prune(keep_seconds=60, limit=2) == 0
    assert [row.id for row in await store.audit.page("q", before=None, limit=9)] == [ids[4], ids[3]]
