"""Audit of acts in Redis: the row is there before the act."""

import logging

import pytest

from workqueue.core.audit import AuditEntry, all_target
from workqueue.core.errors import StoreUnavailable
from workqueue.core.steps.audit import Audit
from workqueue.core.store import JobStore

ENTRY = AuditEntry("ops", "dead delete", all_target())


async def test_the_row_is_there_before_the_act_and_has_its_number_after_it(store: JobStore):
    async with Audit("q", store).of(ENTRY) as act:
        [row] = await store.audit.page("q", before=None, limit=9)
        assert (row.who, row.act, row.count) == ("ops", "dead delete", None)
        act.count = 7
    assert [row.count for row in await store.audit.page("q", before=None, limit=9)] == [7]


async def test_an_act_that_breaks_off_leaves_a_row_that_has_begun(store: JobStore):
    with pytest.raises(ZeroDivisionError):
        async with Audit("q", store).of(ENTRY):
            raise ZeroDivisionError
    assert [row.count for row in await store.audit.page("q", before=None, limit=9)] == [None]


async def test_without_its_row_nothing_is_done(store: JobStore, psql):
    await psql("ALTER TABLE audit RENAME TO gone")
    with pytest.raises(StoreUnavailable):
        async with Audit("q", store).of(ENTRY):
            pytest.fail("it is done")


@pytest.mark.parametrize(("who", "named"), [("ops", "token ops"), (None, "a caller without a token")])
async def test_without_rows_it_is_a_line_of_the_log(who, named, caplog):
    with caplog.at_level(logging.INFO):
        async with Audit("q", None).of(AuditEntry(who, "dead retry", all_target())) as act:
            act.count = 2
    assert caplog.messages == [f'dead retry by {named}: 2 of {{"all":true}}']
