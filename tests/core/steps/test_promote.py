"""Promote moves what is due, in pieces."""

from workqueue.core.queue import PROMOTE_MAX
from workqueue.core.steps.promote import Promote


async def test_a_full_piece_says_that_there_may_be_more(queue):
    await queue.schedule([(b"+-1", b"%d" % number) for number in range(PROMOTE_MAX + 1)])
    await queue.schedule([(b"+3600000", b"in an hour")])
    promote = Promote(queue)
    assert await promote.run_once()
    assert not await promote.run_once()
    depths = await queue.depths()
    assert (depths.ready, depths.scheduled) == (PROMOTE_MAX + 1, 1)
