"""What the documents say is true."""

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from workqueue.core.settings import Settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_OWN = {"producer_port", "worker_port", "redis_url"}  # shown as PORT, and put together from REDIS_ADDR


def test_every_setting_is_in_the_readme_with_its_default():
    text = (ROOT / "README.md").read_text("utf-8")
    table = text[text.index("## Settings") : text.index("## Commands")]
    rows: dict[str, str] = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            names, defaults = [cell.strip() for cell in line.strip("|").split("|")[:2]]
            found = re.findall(r"`([A-Z_]+)`", names)
            values = (
                [value.strip().strip("`") for value in defaults.split(",")] if len(found) > 1 else [defaults.strip("`")]
            )
            rows |= dict(zip(found, values, strict=False))
    for field in msgspec.structs.fields(Settings):
        if field.name in NOT_OWN:
            continue
        assert field.name.upper() in rows, f"README's table lacks {field.name.upper()}"
        default = "" if field.default is None else field.default
        if isinstance(default, bool | float):
            default = f"{default:g}"
        assert rows[field.name.upper()] == str(default), field.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_every_make_target_of_the_documents_exists():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", document.read_text("utf-8"), re.MULTILINE)
        assert {one or other for one, other in named} <= targets, document.name


def test_no_registrys_host_name_and_no_machines_path_stands_in_a_file():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org"]
    for name in listed.stdout.splitlines():
        file = ROOT / name
        if file.suffix in {".png", ".woff2"} or not file.is_file():
            continue
        text = file.read_text("utf-8", errors="replace")
        assert not [host for host in hosts if host in text], name


@pytest.mark.parametrize(("page", "least"), [("reliability", 60), ("security", 20)])
def test_every_test_that_a_page_names_exists(page, least):
    text = (ROOT / f"docs/{page}.md").read_text("utf-8")
    named = re.findall(r"`((?:[a-z0-9_]+/)*test_[a-z0-9_]+\.py)(?:::(\w+))?`", text)
    assert len(named) > least
    for file, name in named:
        path = ROOT / "tests" / file
        assert path.exists(), file
        assert not name or f"def test_{name}(" in path.read_text("utf-8"), f"{file}::{name}"
