"""Somebody who reads README.md from the top and does what each block says, in terminals as theirs would be."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from tests.support.wait import until_true
from workqueue.services.local.process import free_port

ROOT = Path(__file__).parents[2]
PORTS = re.compile(r"\b80[89][01]\b")  #: the ports that README names
STEP_SECONDS = 150.0  #: pip builds a package on a machine that is busy
START_SECONDS = 120.0


class Block(NamedTuple):
    """A fenced block of README.md."""

    section: str
    kind: str  #: its info string
    text: str
    line: int

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]


def blocks() -> list[Block]:
    """All of README.md, in order. Raises ValueError for one that is not closed."""
    found: list[Block] = []
    section, begun = "", 0
    kind: str | None = None
    lines: list[str] = []
    for number, line in enumerate((ROOT / "README.md").read_text("utf-8").splitlines(), 1):
        if kind is not None:
            if line == "```":
                found.append(Block(section, kind, "\n".join(lines), begun))
                kind = None
            else:
                lines.append(line)
        elif line.startswith("```"):
            kind, begun, lines = line.removeprefix("```"), number, []
        elif line.startswith("## "):
            section = line.removeprefix("## ")
    if kind is not None:
        raise ValueError(f"README.md:{begun}: the block is not closed")
    return found


class Running:
    """A command that keeps a terminal of its own. Mutable state: what it has said."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said = ""

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for piece in self.process.stdout:
            self.said += piece.decode()

    async def says(self, text: str) -> None:
        await until_true(lambda: text in self.said or self.process.poll() is not None, seconds=START_SECONDS)
        assert text in self.said, self.said

    async def end(self) -> None:
        """Ctrl-C, which reaches every process of the terminal."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        with trio.move_on_after(STEP_SECONDS):
            await self.process.wait()
        assert self.process.poll() is not None, self.said


class Reader:
    """Goes through blocks, one call each; a block that no step asks for, or another one than expected, fails.

    One rule changes a text: each port that README names becomes a free one of this reader's, so that two of them and
    whatever else runs on the machine do not meet. `make up`, which names none, gets the same by its environment.

    Mutable state: the blocks left; the second terminal, a shell that remembers its folder and environment; and what
    runs in terminals of its own.
    """

    def __init__(self, to_read: Sequence[Block], folder: Path, environ: dict[str, str], nursery: trio.Nursery) -> None:
        self._left = list(to_read)
        self._environ = environ
        self._nursery = nursery
        self._ports = {port: str(free_port()) for port in ("8080", "8081", "8090", "8091")}
        self._scratch = Path(environ["HOME"])
        self._shell: trio.Process | None = None
        self._heard = b""
        self.folder = folder
        self.running: list[Running] = []

    def ported(self, text: str) -> str:
        return PORTS.sub(lambda match: self._ports[match[0]], text)

    def _next(self, kind: str, first: str) -> str:
        assert self._left, f"README has no block after the last one, and should have {first!r}"
        block = self._left.pop(0)
        assert (block.kind, block.first) == (kind, first), f"README.md:{block.line}: no step of this test is for it"
        return self.ported(block.text)

    def answer(self) -> str:
        """The next block, which shows an answer."""
        return self._next("json", self._left[0].first if self._left else "an answer")

    def save(self, name: str) -> None:
        """The next block is a file, and says its name in its first line."""
        (self.folder / name).write_text(self._next("python", f"# {name}") + "\n")

    def mend(self, name: str, first: str) -> None:
        """The next block is a change of that file: lines that go, and lines that come."""
        lines = self._next("diff", first).splitlines()
        gone = "\n".join(line[1:] for line in lines if line.startswith("-"))
        come = "\n".join(line[1:] for line in lines if line.startswith("+"))
        text = (self.folder / name).read_text()
        assert gone in text, f"{name} has no such lines: {gone}"
        (self.folder / name).write_text(text.replace(gone, come))

    async def run(self, first: str) -> str:
        """Run the next block in the second terminal; what it printed. Each command of it must succeed."""
        return await self.type(self._next("sh", first))

    async def type(self, text: str) -> str:
        """Run these lines in the second terminal, which stays where they leave it."""
        script, errors = self._scratch / ".block.sh", self._scratch / ".errors"
        script.write_text(text + "\n")
        if self._shell is None:
            self._shell = await trio.lowlevel.open_process(
                ["bash", "--norc"], cwd=self.folder, env=self._environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        lines = (
            "set -E -o pipefail; failed=; trap 'failed=${failed:-$BASH_COMMAND}' ERR",
            f". '{script}' </dev/null 2>'{errors}'",
            'trap - ERR; printf \'\\0%s\\0%s\\0\' "$failed" "$PWD"',
        )
        await self._shell.stdin.send_all("\n".join([*lines, ""]).encode())
        with trio.fail_after(STEP_SECONDS):
            while self._heard.count(b"\0") < 3:
                piece = await self._shell.stdout.receive_some()
                assert piece, f"the shell has ended: {text}"
                self._heard += piece
        said, failed, folder, _ = self._heard.decode().split("\0")
        self._heard = b""
        self.folder = Path(folder)
        assert not failed, f"{failed}: {said}{errors.read_text()}"
        return said

    async def start(self, first: str) -> Running:
        """Run the next block in a terminal of its own, where nothing but the folder is as in the second one."""
        text = self._next("sh", first)
        ports = {"PRODUCER_PORT": self._ports["8080"], "WORKER_PORT": self._ports["8081"]}
        process = await trio.lowlevel.open_process(
            ["bash", "--norc", "-c", text], cwd=self.folder,
            env=self._environ | (ports if text.startswith("make up") else {}), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        running = Running(process)
        self.running.append(running)
        self._nursery.start_soon(running.listen)
        return running

    async def close(self) -> None:
        for running in reversed(self.running):
            await running.end()
        if self._shell is not None and self._shell.stdin is not None:
            await self._shell.stdin.aclose()
            await self._shell.wait()

    def has_read_all(self) -> None:
        assert not self._left, f"README.md:{self._left[0].line}: no step of this test is for it"


@asynccontextmanager
async def reading(to_read: Sequence[Block], folder: Path, environ: dict[str, str]) -> AsyncIterator[Reader]:
    """A reader who stands in `folder`; what they have started is ended, as by Ctrl-C. Fails for blocks left over."""
    async with trio.open_nursery() as nursery:
        reader = Reader(to_read, folder, environ, nursery)
        try:
            yield reader
        finally:
            with trio.CancelScope(shield=True):
                await reader.close()
        reader.has_read_all()


def newcomers_environ(folder: Path) -> dict[str, str]:
    """Of a person who has nothing of ours: an empty home and no `workqueue` on PATH.

    curl fails where the answer is an error, which a reader would see. pip downloads nothing: see `dependencies`.
    """
    home, programs = folder / "home", folder / "programs"
    home.mkdir()
    programs.mkdir()
    (home / ".curlrc").write_text("fail-with-body\n")
    base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    (programs / "python3").symlink_to(base)
    needed = {found.parent for name in ("make", "git", "curl", "node", "npm", "bash") if (found := _program(name))}
    path = [programs, *sorted(needed), Path("/usr/bin"), Path("/bin")]
    environ = {
        "HOME": str(home),
        "PATH": os.pathsep.join(dict.fromkeys(map(str, path))),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say yes here
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    assert shutil.which("workqueue", path=environ["PATH"]) is None
    return environ


def _program(name: str) -> Path | None:
    found = shutil.which(name)
    return None if found is None or Path(found).is_relative_to(sys.prefix) else Path(found)


def dependencies() -> str:
    """The folder of what WorkQueue needs, without WorkQueue itself: as PYTHONPATH, pip finds everything installed."""
    return sysconfig.get_path("purelib")


def clone(folder: Path) -> Path:
    """`git clone` into `folder`/workqueue, with what is not committed yet, so that README is the one here."""
    target = folder / "workqueue"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(target)], check=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in _changed(listed.stdout.split("\0"), target):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    return target


def _changed(names: Sequence[str], target: Path) -> Iterator[str]:
    for name in filter(None, names):
        ours, theirs = ROOT / name, target / name
        if ours.is_symlink():
            continue
        if not ours.exists():
            theirs.unlink(missing_ok=True)
        elif not theirs.exists() or theirs.read_bytes() != ours.read_bytes():
            yield name


def set_up_quickly(target: Path) -> None:
    """The clone finds the packages and the page of this checkout, and installs nothing but itself.

    `make up` looks at the stamps in .setup: those of steps whose inputs are the same are copied, so that it does the
    others (an environment without them does all of it, which takes a minute).
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target / ".venv")], check=True)
    python = target / ".venv/bin/python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    place = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    Path(place, "needed.pth").write_text(dependencies() + "\n")  # its own .pth files are not followed
    stamps, modules, page = target / ".setup", ROOT / "web/node_modules", "services/producer/static"
    stamps.mkdir()
    for name in ("lock-test", "lock-up", "npm", "page"):
        if (ROOT / ".setup" / name).exists():
            shutil.copyfile(ROOT / ".setup" / name, stamps / name)
    if modules.exists():
        (target / "web/node_modules").symlink_to(modules)
    if (ROOT / page).exists():
        shutil.copytree(ROOT / page, target / page)
