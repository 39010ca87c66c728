"""The files of a user's handler modules: `workqueue up --handlers` starts the worker anew when one has changed."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import trio

POLL_SECONDS = 0.3
FILES_MAX = 2000  #: of all modules together

Stamp = frozenset[tuple[str, int]]  #: path, and time of the last change in ns


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
