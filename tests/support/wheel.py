"""The wheel of this checkout, built as pip builds it."""

import subprocess
import sys
from pathlib import Path

from tests.cli.support import environ

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environ(**variables), capture_output=True, text=True,
                          check=False, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Of the files that git knows and the page, as `pip install` of a checkout or of a git address builds it."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built
