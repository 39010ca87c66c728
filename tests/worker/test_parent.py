"""What one of several worker processes shares with its parent."""

import os
import socket
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from workqueue.services.worker.parent import open_socket, wait_for_parents_end


async def test_the_end_of_the_parent_is_the_end_of_standard_input_and_nothing_else(nursery):
    reading, writing = os.pipe()
    ended = trio.Event()

    async def wait() -> None:
        await wait_for_parents_end(reading)
        ended.set()

    nursery.start_soon(wait)
    os.write(writing, b"x" * 1000)
    await wait_all_tasks_blocked()
    assert not ended.is_set()
    os.close(writing)
    with trio.fail_after(30):
        await ended.wait()


def test_a_child_listens_on_a_socket_in_the_folder(tmp_path: Path):
    with open_socket(str(tmp_path / "1")), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "1"))
