"""Installs Debian's packages for tests that need one, where that is possible, and says so; run by `make test`."""

import os
import shutil
import subprocess
from typing import NamedTuple


class Package(NamedTuple):
    """A program that some tests need."""

    name: str
    programs: tuple[str, ...]  #: any of them will do
    tests: str
    is_service: bool = False  #: Debian starts it with the machine; the tests start one of their own

    @property
    def remedy(self) -> str:
        return f"apt-get install -y {self.name}"

    @property
    def is_there(self) -> bool:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin"  # Debian puts servers where only root looks
        return any(shutil.which(program, path=path) for program in self.programs)


CHROMIUM = Package("chromium", ("chromium", "chromium-browser", "google-chrome"), "the browser tests")
PGBOUNCER = Package("pgbouncer", ("pgbouncer",), "the tests through a pooler", is_service=True)


def main() -> None:
    prefix = _root()
    for package in (CHROMIUM, PGBOUNCER):
        if package.is_there:
            continue
        if prefix is None:
            _say(package, f"there is none, so {package.tests} are skipped. To have them: {package.remedy}")
            continue
        _say(package, f"installing Debian's package for {package.tests} ...")
        if (fault := _install(package, prefix)) is not None:
            _say(package, f"could not be installed ({fault}): {package.tests} are skipped. By hand: {package.remedy}")


def _root() -> list[str] | None:
    """What stands before a command of root's; None: there is no way."""
    if shutil.which("apt-get"):
        if os.geteuid() == 0:
            return []
        if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
            return ["sudo", "-n"]
    return None


def _install(package: Package, prefix: list[str]) -> str | None:
    """What went wrong; None: it is there."""
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package.name]):
        done = subprocess.run([*prefix, "apt-get", *command], env=environ, capture_output=True, text=True)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if package.is_service and shutil.which("systemctl"):
        subprocess.run([*prefix, "systemctl", "disable", "--now", package.name], capture_output=True)
    return None


def _say(package: Package, text: str) -> None:
    print(f"{package.name}: {text}", flush=True)


if __name__ == "__main__":
    main()
