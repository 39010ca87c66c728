"""What is installed: `workqueue` and nothing else, beside an application with packages of our folders' names."""

import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import trio

from tests.cli.support import environ
from tests.support.wait import until_true
from tests.support.wheel import ROOT, run
from workqueue.core.queue import Queue
from workqueue.services.local.process import free_port

#: A Django project whose applications have the names that our folders have.
PROJECT = {
    "manage.py": "",
    "site_settings.py": """
from pathlib import Path

SECRET_KEY = "x"
INSTALLED_APPS = ["core"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db.sqlite3")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "core/__init__.py": "",
    "core/models.py": """
from django.db import models


class Order(models.Model):
    number = models.CharField(max_length=20)
""",
    "core/migrations/__init__.py": "",
    "core/jobs.py": """
import django

django.setup()

from core.models import Order
from services.billing import total
from tests import factor
from workqueue import Job, handler


@handler("bill")
def bill(job: Job) -> int:
    Order.objects.create(number=job.payload["number"])
    return total(Order.objects.count()) * factor
""",
    "services/__init__.py": "",
    "services/billing.py": "def total(orders: int) -> int:\n    return 100 * orders\n",
    "tests/__init__.py": "factor = 2\n",
}

#: What a user writes, under `mypy --strict`.
TYPED = """
from workqueue import Job, PermanentFailure, handler


@handler("resize", timeout=30)
async def resize(job: Job) -> dict[str, int]:
    if not isinstance(job.payload, dict):
        raise PermanentFailure("an object is needed")
    job.attach("a.txt", b"x", "text/plain")
    return {"attempt": job.attempt, "left": job.retries}


@handler("plain")
def plain(job: Job) -> None:
    reveal_type(job.id)
"""


def contents(wheel: Path) -> dict[str, int]:
    """File -> its checksum, but for the record of the wheel itself."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist() if not entry.filename.endswith("/RECORD")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A fresh environment with the wheel. What the wheel needs is that of ours, but for the checkout, which is not."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    target = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    Path(target, "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not followed
    return folder


def test_the_wheel_has_one_package(wheel: Path):
    top = {name.partition("/")[0] for name in contents(wheel)}
    assert {name for name in top if not name.endswith(".dist-info")} == {"workqueue"}
    assert {"workqueue/py.typed", "workqueue/core/queue/scripts/claim.lua", "workqueue/services/worker/main.py"} <= set(
        contents(wheel)
    )
    assert not [name for name in contents(wheel) if "__pycache__" in name]


def test_its_client_stands_alone(installed: Path, tmp_path: Path):
    imports = "from workqueue import Client, aio; print(Client.__module__, aio.Client.__module__)"
    assert run(installed / "bin/python", "-c", imports, cwd=tmp_path) == "workqueue.client.sync workqueue.aio\n"


def test_a_wheel_by_way_of_an_sdist_is_the_same(wheel: Path, tmp_path: Path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (sdist,) = tmp_path.glob("*.tar.gz")
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "wheel", *offline, "-w", tmp_path, sdist)
    (again,) = tmp_path.glob("*.whl")
    assert contents(again) == contents(wheel)


def test_the_tab_key_completes_the_commands_of_an_installation(installed: Path, tmp_path: Path):
    path = f"{installed / 'bin'}:{environ()['PATH']}"
    asks = (
        'eval "$(workqueue completion bash)"; COMP_WORDS=(workqueue st); COMP_CWORD=1; _workqueue_completion workqueue'
    )
    said = run("bash", "--norc", "-c", f'{asks}; echo "${{COMPREPLY[@]}}"', cwd=tmp_path, PATH=path)
    assert said == "status\n"


async def test_it_works_beside_an_application_with_our_folders_names(
    installed: Path, tmp_path: Path, redis_url: str, queue_name: str, queue: Queue
):
    """Its own `core`, `services` and `tests` are what it imports; its handler is found in the folder we are in."""
    for name, text in PROJECT.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    django = {"DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": str(tmp_path)}
    run(installed / "bin/python", "-m", "django", "makemigrations", "core", cwd=tmp_path, **django)
    run(installed / "bin/python", "-m", "django", "migrate", cwd=tmp_path, **django)
    variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "DJANGO_SETTINGS_MODULE": "site_settings"}
    port = free_port()
    await queue.push(
        [b'{"type": "bill", "payload": {"number": "A-1"}}', b'{"type": "bill", "payload": {"number": "A-2"}}']
    )
    process = await trio.lowlevel.open_process(
        [installed / "bin/workqueue", "worker"], cwd=tmp_path,
        env=environ(**variables, WORKER_HANDLERS="core.jobs", WORKER_PORT=str(port), WORKER_CONCURRENCY="1"),
    )  # fmt: skip
    asked = "from core.models import Order; print(*sorted(order.number for order in Order.objects.all()))"
    shell = ("-c", f"import django; django.setup(); {asked}")

    def is_done() -> bool:
        assert process.poll() is None, "the worker has ended"
        return run(installed / "bin/python", *shell, cwd=tmp_path, **django).split() == ["A-1", "A-2"]

    try:
        await until_true(is_done, seconds=30)
        assert (await queue.depths()).dead == 0
    finally:
        process.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(20):
            await process.wait()
    assert process.returncode == 0


def test_a_users_file_passes_strict_checks_against_it(installed: Path, tmp_path: Path):
    (tmp_path / "jobs.py").write_text(TYPED)
    said = run(
        sys.executable, "-m", "mypy", "--strict", "--python-executable", installed / "bin/python", "--cache-dir",
        tmp_path / "cache", "jobs.py", cwd=tmp_path,
    )  # fmt: skip
    assert 'Revealed type is "str"' in said or 'Revealed type is "builtins.str"' in said
    assert "Success: no issues found" in said
