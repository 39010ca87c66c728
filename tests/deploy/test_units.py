"""What the deployment files promise fits the settings' defaults, and the tools that read them have no complaint."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.worker.handlers.support import PROCESS_MIB, WORKER_MIB
from workqueue.core.settings import Settings
from workqueue.services.worker import claiming
from workqueue.services.worker.handlers.children import CHILDREN_MAX, MEMORY_BYTES
from workqueue.services.worker.worker import FLUSH_SECONDS, UNWIND_SECONDS

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
DEFAULTS = Settings()
STOP_SECONDS = DEFAULTS.shutdown_grace + claiming.STOP_SECONDS + UNWIND_SECONDS + 2 * FLUSH_SECONDS


def setting(unit: Path, name: str) -> str:
    found = re.findall(rf"^{name}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)
    assert len(found) == 1, f"{unit.name}: {name}"
    return str(found[0])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_fits_the_defaults(unit: Path):
    assert setting(unit, "Type") == "notify"
    assert float(setting(unit, "WatchdogSec")) == DEFAULTS.stall_limit + 15
    assert setting(unit, "KillSignal") == "SIGTERM"
    assert setting(unit, "Restart") == "on-failure"
    assert setting(unit, "NoNewPrivileges") == "yes"
    if "worker" in unit.name:
        assert float(setting(unit, "TimeoutStopSec")) > STOP_SECONDS
    else:
        assert float(setting(unit, "TimeoutStopSec")) > 10


def test_a_worker_has_the_memory_that_its_jobs_may_take():
    places = DEFAULTS.worker_concurrency
    needed = WORKER_MIB + places * PROCESS_MIB + (MEMORY_BYTES >> 20)
    most = WORKER_MIB + CHILDREN_MAX * PROCESS_MIB + (MEMORY_BYTES >> 20)
    unit = ROOT / "deploy/systemd/workqueue-worker.service"
    assert needed <= int(setting(unit, "MemoryHigh").removesuffix("M")) <= int(setting(unit, "MemoryMax")[:-1])
    assert most <= int(setting(unit, "MemoryMax").removesuffix("M"))
    assert setting(unit, "OOMPolicy") == "continue"  # or a job's process that is ended would end the worker
    limits = [int(found) for found in re.findall(r"mem_limit: (\d+)m", (ROOT / "compose.yaml").read_text("utf-8"))]
    assert len(limits) == 2
    assert max(limits) >= most
    text = (ROOT / "docs/deployment.md").read_text("utf-8")
    assert f"{WORKER_MIB} MiB + min(WORKER_CONCURRENCY, {CHILDREN_MAX}) x {PROCESS_MIB} MiB + 512 MiB" in text
    assert f"{needed:,} MiB for two places and {most:,} MiB for eight" in text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze: apt-get install systemd")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_no_complaint(unit: Path, tmp_path: Path):
    copy = tmp_path / unit.name
    text = unit.read_text("utf-8").replace("/opt/workqueue/bin/workqueue", "/bin/true")
    copy.write_text(text, "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert said == []
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_containers_stop_as_late_as_the_units():
    text = (ROOT / "compose.yaml").read_text("utf-8")
    graces = [int(found) for found in re.findall(r"stop_grace_period: (\d+)s", text)]
    assert len(graces) == 2
    assert max(graces) > STOP_SECONDS
    assert "noeviction" in text
    assert "--appendonly" in text
    assert "  init: true" in text  # or a SIGTERM in the first second is lost, as Python would be process 1
    assert '"pg_isready", "--host"' in text  # the socket answers while the image prepares an empty volume
    assert all(port.startswith("127.0.0.1:") for port in re.findall(r'ports: \["([^"]*)"\]', text))


@pytest.mark.skipif(not shutil.which("docker"), reason="there is no docker command")
def test_compose_reads_its_file():
    command = ["docker", "compose", "-f", str(ROOT / "compose.yaml"), "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "is not a docker command" in done.stderr or "unknown" in done.stderr:
        pytest.skip("docker has no compose plugin")
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"redis", "postgres", "producer", "worker"}
    assert all("healthcheck" in service for service in services.values())


def test_the_image_runs_without_a_shell_and_without_rights():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert 'ENTRYPOINT ["workqueue"]' in text
    assert "USER workqueue" in text
    assert "--require-hashes" in text
