"""What one command carries is bounded, in bytes as well as in number."""

from workqueue.core.queue.client import PUSH_BYTES_MAX, _parts

MIB = 1 << 20


def test_parts_are_bounded_in_bytes():
    rows = [(number, 0, b"x" * MIB) for number in range(12)]
    parts = _parts(rows, 3)
    assert [row for part in parts for row in part] == rows
    assert max(sum(len(row[2]) for row in part) for part in parts) <= PUSH_BYTES_MAX


async def test_promote_moves_no_more_bytes_at_once_than_a_push(queue):
    size, count = 20_000, 400
    await queue.schedule([(-1, b"%04d" % number + b"x" * size) for number in range(count)])
    moved = [await queue.promote()]
    assert 0 < moved[0] < count  # the script looks at the bytes after each hundred
    while moved[-1]:
        moved.append(await queue.promote())
    assert sum(moved) == count
