"""The files of a user's handler modules, and when they change."""

import os

import pytest
import trio

from tests.cli.support import workqueue
from workqueue.core.errors import InvalidSettings
from workqueue.services.cli.sources import check_modules, stamp, wait_for_change


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "one.py").write_text("")
    (tmp_path / "two" / "deep").mkdir(parents=True)
    (tmp_path / "two" / "deep" / "part.py").write_text("")
    (tmp_path / "other.py").write_text("")
    return tmp_path


def test_a_module_is_a_file_or_a_folder_with_all_that_is_in_it(folder):
    found = stamp(["one", "two.deep.part", "os"], folder)
    assert {os.path.relpath(path, folder) for path, _ in found} == {"one.py", "two/deep/part.py"}


@pytest.mark.parametrize("how", ["written", "removed", "new"])
async def test_a_change_is_named_and_one_of_another_module_is_none(folder, how):
    part = folder / "two" / "deep" / "part.py"
    async with trio.open_nursery() as nursery:
        changed: list[str] = []

        async def wait() -> None:
            changed.append(await wait_for_change(["one", "two.deep"], folder))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.05)
        os.utime(folder / "other.py", ns=(1, 1))
        if how == "written":
            os.utime(part, ns=(1, 1))
        elif how == "removed":
            part.unlink()
        else:
            (folder / "two" / "new.py").write_text("")
    assert changed == ["two/new.py" if how == "new" else "two/deep/part.py"]


def test_a_module_that_is_there_or_installed_is_taken(folder):
    check_modules(["one", "two.deep.part", "trio", "json.tool"], folder)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("nope", "--handlers nope: there is no nope.py or nope/ in {}, nor is nope installed"),
        ("nope.jobs", "--handlers nope.jobs: there is no nope.py or nope/ in {}, nor is nope installed"),
        ("one.py", "--handlers one.py: is a file: name its module, --handlers one"),
        ("two/deep/part.py", "--handlers two/deep/part.py: is a file: name its module, --handlers two.deep.part"),
        ("my-jobs", "--handlers my-jobs: is no name of a module, such as myjobs or myproject.jobs"),
    ],
)
def test_a_module_that_is_none_is_told_before_anything_starts(folder, module, said):
    with pytest.raises(InvalidSettings) as caught:
        check_modules([module, "one"], folder)
    assert caught.value.faults == [said.format(folder)]


@pytest.mark.parametrize("command", ["up", "worker"])
def test_a_command_says_it_in_one_line(command):
    done = workqueue(command, "--handlers", "nope", REDIS_URL="redis://a")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("workqueue: --handlers nope: there is no nope.py or nope/ in ")
    assert done.stderr.count("\n") == 1
