"""The tests of a module are found by its name: core/steps/claim.py has tests/core/steps/test_claim.py."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"

#: Modules that need no tests of their own, and why.
NONE_NEEDED = {
    "core/protocol.py": "two numbers; e2e/test_rolling_deploy.py shows what they mean",
    "services/cli/__main__.py": "one call; every test in cli/ goes through it",
    "services/local/errors.py": "one exception without logic",
    "services/local/mail_catcher.py": "a process of its own: local/test_mail.py runs it",
}

#: Folders whose tests have not been sorted yet.
LATER = ("services/worker/", "services/producer/", "services/http/")

#: Files with scenarios: they cross modules, or run against a model.
SCENARIOS = {
    "cli/test_mistakes.py": "what a newcomer does wrong",
    "core/queue/test_model.py": "the queue against a model of plain lists",
    "core/queue/test_scripts.py": "every script with keys that are absent, of another type, and without memory",
    "core/steps/test_chaos.py": "steps under random faults",
    "core/steps/test_deaths.py": "workers that die between two trips",
    "core/steps/test_frozen_formats.py": "what releases share",
    "core/steps/test_late.py": "statements that arrive late",
    "core/store/test_keys_model.py": "idempotency keys against a model",
    "core/store/test_operators.py": "what operators do to a database",
    "core/store/test_pooler.py": "behind PgBouncer",
    "core/store/test_schema.py": "the schema as it was reviewed",
    "core/store/test_silence.py": "statements that answer nothing",
    "core/store/test_waiting_model.py": "pages of pending jobs against a model",
    "core/store/test_waiting_pages.py": "pages of pending jobs, and their cost",
}


def modules() -> set[str]:
    """Every module with logic, `__init__.py` aside."""
    found = [path.relative_to(ROOT) for top in ("core", "services") for path in (ROOT / top).rglob("*.py")]
    return {path.as_posix() for path in found if path.name != "__init__.py"}


def file_of(module: str) -> Path:
    """tests/core/steps/test_claim.py; the folders of services/ are folders of tests/."""
    folder, _, name = module.rpartition("/")
    folder = folder.removeprefix("services/")
    return TESTS / folder / f"test_{name}"


def test_every_module_has_its_tests():
    missing = {module for module in modules() if not module.startswith(LATER) and not file_of(module).is_file()}
    assert missing == set(NONE_NEEDED), "a module without tests, or one that has them and is listed still"


def test_every_file_of_tests_belongs_to_a_module_or_is_listed_as_a_scenario():
    known = {file_of(module) for module in modules()}
    folders = {path.parent for path in known if not path.parent.is_relative_to(TESTS / "worker")}
    found = {path for folder in folders for path in folder.glob("test_*.py")} - set(TESTS.glob("*.py"))
    later = tuple(str(TESTS / folder.removeprefix("services/")) for folder in LATER)
    strange = {path.relative_to(TESTS).as_posix() for path in found - known if not str(path).startswith(later)}
    assert strange == set(SCENARIOS)
