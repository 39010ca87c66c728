"""What a worker says of a running job, on its way to the producer."""

from uuid import UUID

from workqueue.services.job_tree import (
    BYTES_MAX,
    JobTree,
    TreeAnswer,
    TreeFrame,
    TreeNursery,
    TreeScope,
    TreeTask,
    read_answer,
    write_answer,
)

LEAF = TreeTask("leaf", [TreeFrame("/a.py", 3, "leaf", "await x")], 0, [], [], [])
ROOT = TreeTask(
    "root", [], 2, [TreeScope(1.5, False, True)], [], [TreeNursery(TreeScope(None, True, False), [LEAF], 7)]
)
TREE = JobTree(UUID(int=1), "a", 2, "host.1", 3.5, None, False, ROOT)


def test_it_is_read_as_it_was_written():
    assert read_answer(write_answer(TreeAnswer(TREE))) == TreeAnswer(TREE)
    assert read_answer(write_answer(TreeAnswer())) == TreeAnswer() == read_answer(b"{}")


def test_what_another_version_adds_is_passed_over_and_what_is_none_of_ours_is_none():
    text = write_answer(TreeAnswer(TREE))
    assert read_answer(text.replace(b'"type":', b'"more":[1],"type":')) == TreeAnswer(TREE)
    for odd in (b"", b"[]", b'{"tree":1}', b'{"tree":{}}', b"\xff", b"[" * 10_000, text + b" " * BYTES_MAX):
        assert read_answer(odd) is None, odd[:20]
