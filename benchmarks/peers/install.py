"""Each peer's environment: a venv or node_modules below .workqueue/bench-peers, made once for its pins."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import trio
from msgspec import Struct

from benchmarks.peers.catalog import Language, Peer

HERE = Path(__file__).parent
DRIVE = HERE / "shared" / "drive.py"
CACHE = HERE.parent.parent / ".workqueue" / "bench-peers"
INSTALL_SECONDS = 600.0
PYTHONS = ("python3.12", "python3.13")  #: looked for by peers that need a newer one than ours


class CannotInstall(Exception):
    """In one line: why."""


class Environment(Struct, frozen=True):
    """A peer that can be run."""

    command: tuple[str, ...]  #: its script, without a command of the script
    home: Path
    version: str


async def install(peer: Peer, python: str | None) -> Environment:
    """Install what is not there yet. `python`: an interpreter for peers that need a newer one. Raises CannotInstall."""
    scripts, home = HERE / peer.folder, CACHE / peer.name
    if peer.language is Language.OURS:
        return Environment((sys.executable, str(DRIVE)), home, version(peer.package))
    if peer.language is Language.PYTHON:
        manifest, pins = scripts / "requirements.txt", scripts / "requirements.txt"
        inside = home / "venv" / "bin" / "python"
        interpreter = await _interpreter(peer, python)
        steps = [
            [interpreter, "-m", "venv", "--clear", str(home / "venv")],
            [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(pins)],
        ]
        command = (str(inside), str(DRIVE))
        found = python_version_of(peer.package, manifest.read_text("utf-8"))
    else:
        manifest, pins = scripts / "package.json", scripts / "package-lock.json"
        npm, node = shutil.which("npm"), shutil.which("node")
        if npm is None or node is None:
            raise CannotInstall("there is no Node with npm here")
        interpreter = node
        steps = [[npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]]
        command = (node, str(scripts / "peer.mjs"))
        found = node_version_of(peer.package, manifest.read_text("utf-8"))
    state = hashlib.sha256(f"{interpreter}\n{pins.read_text('utf-8')}".encode()).hexdigest()
    stamp = home / "installed"
    if not stamp.exists() or stamp.read_text("ascii") != state:
        home.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        if peer.language is Language.NODE:
            shutil.copy(manifest, home)
            shutil.copy(pins, home)
        for step in steps:
            await _run(step, home)
        stamp.write_text(state, "ascii")
    return Environment(command, home, found)


async def _interpreter(peer: Peer, asked: str | None) -> str:
    if sys.version_info[:2] >= peer.python_min:
        return sys.executable
    for name in (asked, *PYTHONS):
        path = shutil.which(name) if name else None
        if path and await _minor(path) >= peer.python_min:
            return path
    wanted = ".".join(map(str, peer.python_min))
    raise CannotInstall(f"it needs Python {wanted} or newer: name one with --python")


async def _minor(python: str) -> tuple[int, ...]:
    code = "import sys; print(*sys.version_info[:2])"
    done = await trio.run_process([python, "-c", code], capture_stdout=True, capture_stderr=True, check=False)
    return tuple(int(part) for part in done.stdout.split()) if done.returncode == 0 else ()


async def _run(command: list[str], folder: Path) -> None:
    with trio.move_on_after(INSTALL_SECONDS):
        done = await trio.run_process(
            command,
            cwd=folder,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, "PIP_NO_INPUT": "1"},
        )
        if done.returncode == 0:
            return
        lines = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
        raise CannotInstall(f"{Path(command[0]).name}: {lines[-1][:200] if lines else done.returncode}")
    raise CannotInstall(f"{Path(command[0]).name} took longer than {INSTALL_SECONDS:g} s")


def python_version_of(package: str, requirements: str) -> str:
    """The pinned version of a package in a requirements file."""
    for line in requirements.splitlines():
        name, found, pin = line.partition("==")
        if found and name.strip() == package:
            return pin.strip()
    raise ValueError(f"{package} is not pinned")


def node_version_of(package: str, manifest: str) -> str:
    """The pinned version of a package in a package.json."""
    return str(json.loads(manifest)["dependencies"][package])
