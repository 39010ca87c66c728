"""The files of a user's handler modules: what --handlers names must be there, and `workqueue up` watches it."""

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from itertools import islice
from pathlib import Path

import trio

from workqueue.core.errors import InvalidSettings

POLL_SECONDS = 0.3
FILES_MAX = 2000  #: of all modules together

Stamp = frozenset[tuple[str, int]]  #: path, and time of the last change in ns


def check_modules(modules: Sequence[str], folder: Path) -> None:
    """Raise InvalidSettings for a module of --handlers that is neither in `folder` nor installed. Imports nothing."""
    faults = []
    for module in modules:
        top = module.partition(".")[0]
        if (folder / module).is_file():
            name = module.removesuffix(".py").replace("/", ".").strip(".")
            faults.append(f"--handlers {module}: is a file: name its module, --handlers {name}")
        elif not top.isidentifier():
            faults.append(f"--handlers {module}: is no name of a module, such as myjobs or myproject.jobs")
        elif PathFinder.find_spec(top, [str(folder), *sys.path]) is None:
            faults.append(f"--handlers {module}: there is no {top}.py or {top}/ in {folder}, nor is {top} installed")
    if faults:
        raise InvalidSettings(faults)


def stamp(modules: Sequence[str], folder: Path) -> Stamp:
    """What the files of these modules below `folder` are now. Modules that lie elsewhere are not watched."""
    found: set[tuple[str, int]] = set()
    for name in {module.partition(".")[0] for module in modules}:
        file, package = folder / f"{name}.py", folder / name
        for path in [file, *islice(package.rglob("*.py"), FILES_MAX)]:
            try:
                found.add((str(path), path.stat().st_mtime_ns))
            except OSError:
                continue
    return frozenset(found)


async def wait_for_change(modules: Sequence[str], folder: Path) -> str:
    """Wait until a file of these modules is another one; its name, below `folder`."""
    before = stamp(modules, folder)
    while True:
        await trio.sleep(POLL_SECONDS)
        now = await trio.to_thread.run_sync(stamp, modules, folder)
        if now != before:
            changed = sorted(path for path, _ in now ^ before)
            return str(Path(changed[0]).relative_to(folder))
