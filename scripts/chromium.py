"""Installs Debian's Chromium for the browser tests where that is possible, and says so; run by `make test`."""

import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome")
REMEDY = "apt-get install -y chromium"


def main() -> None:
    if any(shutil.which(name) for name in NAMES):
        return
    prefix: list[str] | None = None
    if shutil.which("apt-get"):
        if os.geteuid() == 0:
            prefix = []
        elif shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
            prefix = ["sudo", "-n"]
    if prefix is None:
        print(f"chromium: there is none, so the browser tests are skipped. To have them: {REMEDY}", flush=True)
        return
    print("chromium: installing Debian's package for the browser tests ...", flush=True)
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        done = subprocess.run([*prefix, "apt-get", *command], env=environ, capture_output=True, text=True)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            print(
                f"chromium: could not be installed ({said}): the browser tests are skipped. By hand: {REMEDY}",
                flush=True,
            )
            return


if __name__ == "__main__":
    main()
