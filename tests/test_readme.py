"""README.md, done word for word: from a fresh clone, and with what is installed in an empty folder."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support.reader import (
    ROOT,
    Block,
    Reader,
    blocks,
    clone,
    dependencies,
    newcomers_environ,
    reading,
    set_up_quickly,
)
from tests.support.wait import until, until_true
from workqueue.services.local.process import free_port, is_free

OWN_PROJECT = "In a project of your own"
BATCH = """printf '%s\\n' '{"type": "generate_pdf", "payload": {"title": "One"}}' '{"type": "generate_pdf", "payload": {"title": "Two"}}' |"""  # noqa: E501
KINDS = {"sh", "python", "diff", "json", "text"}  #: text: pictures, which are not typed


def steps(*, of_own_project: bool) -> list[Block]:
    """Each block belongs to one of the two tests below."""
    return [block for block in blocks() if block.kind != "text" and (block.section == OWN_PROJECT) == of_own_project]


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, check=False).returncode != 0:
        pytest.skip("this is no git checkout")
    tmp_path.chmod(0o711)  # root's Postgres runs as another user
    return clone(tmp_path)


async def jobs(reader: Reader, port: str, job_type: str) -> list[dict[str, object]]:
    base = reader.ported(f"http://127.0.0.1:{port}")
    listed = json.loads(await reader.type(f"curl -s '{base}/api/jobs?type={job_type}'"))
    return [json.loads(await reader.type(f"curl -s '{base}/api/jobs/{job['id']}'")) for job in listed]


async def completes(reader: Reader, port: str, job_type: str, count: int = 1) -> list[dict[str, object]]:
    """Wait until so many jobs of this type are completed; all of them."""

    async def are() -> bool:
        return [job["status"] for job in await jobs(reader, port, job_type)] == ["completed"] * count

    await until(are, seconds=60)
    return await jobs(reader, port, job_type)


def is_like(shown: str, printed: str) -> bool:
    """Is this the answer? `...` stands for what differs each time."""
    return re.fullmatch(re.escape(shown).replace(re.escape("..."), r"[^\"]+"), printed.strip()) is not None


@pytest.mark.slow
@pytest.mark.timeout(600)  # three starts of everything, on a machine that may be busy
async def test_every_block_works_in_a_fresh_clone(cloned: Path, tmp_path: Path):
    set_up_quickly(cloned)
    async with reading(steps(of_own_project=False), cloned, newcomers_environ(tmp_path)) as reader:
        up = await reader.start("make up")
        await up.says("WorkQueue runs.")
        printed = await reader.run("curl -X POST http://127.0.0.1:8080/enqueue \\")
        assert is_like(reader.answer(), printed), printed
        await completes(reader, "8080", "send_email")
        caught = re.search(r"caught in (\S+)", up.said)
        assert caught is not None, up.said
        assert "Welcome!" in "".join(mail.read_text() for mail in Path(caught[1]).iterdir())
        taken = await reader.type(f"make up PRODUCER_PORT={reader.ported('8080')} 2>&1 || true")
        assert f"port {reader.ported('8080')} for the producer is in use" in taken

        reader.save("myjobs.py")
        await up.end()
        up = await reader.start("make up HANDLERS=myjobs")
        await up.says("WorkQueue runs.")
        await reader.run(". .venv/bin/activate")

        look = "curl -s 'http://127.0.0.1:8080/api/jobs?type=greet&limit=1' | python -m json.tool"
        seen = [await reader.run(look)]

        async def looks(status: str, error: str | None) -> bool:
            (job,) = json.loads(seen.pop())
            seen.append(await reader.type(reader.ported(look)))
            return (job["status"], job["error_message"]) == (status, error)

        await until(lambda: looks("pending", "KeyError: 'nmae'"), seconds=60)
        reader.mend("myjobs.py", """-    return {"greeting": "Hello " + job.payload["nmae"], "run": job.attempt}""")
        await up.says("myjobs.py has changed")
        await until(lambda: looks("completed", None), seconds=100)
        (greeted,) = await jobs(reader, "8080", "greet")
        runs = greeted["runs"]
        assert isinstance(runs, list)
        assert [run["outcome"] for run in runs] == ["failed"] * (len(runs) - 1) + ["completed"]
        assert "myjobs.py" in runs[0]["traceback"]
        assert greeted["result"] == {"greeting": "Hello Ada", "run": len(runs)}

        worker = await reader.start(".venv/bin/workqueue worker --handlers examples.handlers")
        await worker.says("takes jobs from workqueue:jobs")
        await reader.run("""workqueue enqueue checksum --payload '{"text": "hello"}'""")
        (summed,) = await completes(reader, "8080", "checksum")
        assert str(summed["result"]).startswith("{'sha256': '2cf24dba5fb0a30e")
        await worker.end()
        assert worker.process.returncode == 0, worker.said

        reader.save("signup.py")
        printed = await reader.run("python signup.py")
        assert is_like(reader.answer(), printed), printed

        answers = (await reader.run(BATCH)).splitlines()
        assert ["job_id" in json.loads(line) for line in answers] == [True, True], answers
        await completes(reader, "8080", "generate_pdf", 2)
        await reader.run("curl -X POST http://127.0.0.1:8080/enqueue -H 'Idempotency-Key: order-4711' \\")
        await completes(reader, "8080", "send_email", 2)

        reader.save("push.py")
        await reader.run('REDIS_URL="$(workqueue env REDIS_URL)" python push.py')
        assert await reader.type("workqueue env DATABASE_URL")
        await completes(reader, "8080", "generate_pdf", 3)
        await up.end()
        assert "everything has ended" in up.said


@pytest.mark.slow
@pytest.mark.timeout(600)  # three starts of everything, on a machine that may be busy
async def test_every_block_works_with_what_is_installed_in_an_empty_folder(cloned: Path, tmp_path: Path):
    environ = newcomers_environ(tmp_path) | {"PYTHONPATH": dependencies()}
    async with reading(steps(of_own_project=True), cloned, environ) as reader:
        await reader.run("mkdir ../myproject && cd ../myproject")
        assert reader.folder == tmp_path / "myproject"
        place = await reader.type("python -c 'import workqueue; print(workqueue.__file__)'")
        assert place.startswith(str(reader.folder)), "the clone is used, and not what was installed"
        reader.save("shop.py")
        up = await reader.start("PRODUCER_PORT=8090 WORKER_PORT=8091 .venv/bin/workqueue up --handlers shop")
        await up.says("WorkQueue runs.")
        await reader.type("deactivate")
        await reader.run(". .venv/bin/activate")
        (job,) = await completes(reader, "8090", "invoice")
        assert job["result"] == {"invoiced": 4711}
        assert (reader.folder / ".workqueue").is_dir()


@asynccontextmanager
async def served(cloned: Path, folder: Path) -> AsyncIterator[str]:
    """The address of the repository, over HTTP: pip takes no file's address after an extra."""
    await trio.run_process(["git", "clone", "--quiet", "--bare", "--no-local", str(cloned), str(folder)])
    await trio.run_process(["git", "-C", str(folder), "update-server-info"])
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), str(port)]
    server = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await until_true(lambda: not is_free("127.0.0.1", port), seconds=20)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.kill()
        with trio.CancelScope(shield=True):
            await server.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)  # three starts of everything, on a machine that may be busy
@pytest.mark.parametrize("way", ["a wheel", "a git address"])
async def test_the_other_ways_of_an_installation_work_too(cloned: Path, tmp_path: Path, wheel: Path, way: str):
    """Those that README names in its text; the path of a clone is in the block above."""
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.search(r"`pip install '\./(workqueue-[0-9.]+-py3-none-any\.whl)\[local\]'`", text)
    assert found is not None
    assert found[1] == wheel.name, "README names the wheel of another version"
    assert "`pip install 'workqueue[local] @ git+URL'`" in text
    environ = newcomers_environ(tmp_path) | {"PYTHONPATH": dependencies()}
    async with reading([], tmp_path, environ) as reader, served(cloned, tmp_path / "served") as url:
        what = f"{wheel}[local]" if way == "a wheel" else f"workqueue[local] @ git+{url}"
        await reader.type("python3 -m venv .venv && . .venv/bin/activate")
        await reader.type(f"pip install --quiet '{what}'")
        assert (await reader.type("command -v workqueue")).startswith(str(tmp_path))
        place = await reader.type("python -c 'import workqueue.services; print(*workqueue.services.__path__)'")
        assert place.startswith(str(tmp_path / ".venv"))
        has_page = Path(place.strip(), "producer/static/index.html").exists()
        assert has_page == (way == "a wheel" and (ROOT / "services/producer/static/index.html").exists())


def test_every_block_is_fenced_and_of_a_kind_that_these_tests_do():
    assert {block.kind for block in blocks()} <= KINDS
    assert len(steps(of_own_project=False)) + len(steps(of_own_project=True)) > 12
    outside = re.sub(r"(?ms)^```.*?^```$", "", (ROOT / "README.md").read_text("utf-8"))
    assert not re.findall(r"(?m)^\n {4,}\S.*", outside), "an indented block is run by no test"
