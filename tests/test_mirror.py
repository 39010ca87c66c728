"""The tests of a module are found by its name: core/steps/claim.py has tests/core/steps/test_claim.py."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"

#: Modules that need no tests of their own, and why.
NONE_NEEDED = {
    "core/pauses.py": "a struct of two fields; core/steps/test_pauses.py",
    "core/protocol.py": "two numbers; e2e/test_rolling_deploy.py shows what they mean",
    "services/chaos/person.py": "chaos/test_run.py lets one act, chaos/test_verdict.py judges what follows",
    "services/cli/__main__.py": "one call; every test in cli/ goes through it",
    "services/local/errors.py": "one exception without logic",
    "services/http/messages.py": "names of types; every test of http/ goes through them",
    "services/producer/app.py": "the whole producer: every test in producer/ and e2e/ goes through it",
    "services/producer/overview.py": "producer/test_state.py and test_event_stream.py read it over HTTP",
    "services/producer/main.py": "a process: e2e/test_producer_process.py starts it",
    "services/worker/__main__.py": "a process: worker/test_main.py starts it",
    "services/worker/handlers/child.py": "a process of its own: worker/handlers/test_children.py runs it",
    "services/worker/handlers/messages.py": "what parent and child say: worker/handlers/test_children.py",
    "services/worker/running/context.py": "a struct of one field",
    "services/worker/running/runtimes.py": "worker/running/test_slot.py runs jobs in each of them",
    "core/store/matching.py": "one function; core/store/test_listing.py and test_actions.py",
    "core/store/schedules.py": "core/steps/test_schedules.py calls each of its statements",
    "core/steps/queues.py": "one method; producer/test_queues.py and worker/test_bell.py",
    "core/store/notifications.py": "core/steps/test_notified.py hears them",
    "core/store/rows.py": "core/store/test_listing.py and test_jobs.py read rows through it",
    "services/cli/bulk_acts.py": "cli/test_act_commands.py runs each of its functions against a producer",
    "core/queue/trips.py": "core/queue/test_client.py: Queue is made of them",
    "services/cli/dead_commands.py": "cli/test_dead.py runs each of them",
    "services/cli/producer.py": "cli/test_dead.py, test_workers.py and test_pauses.py ask through it",
    "services/local/mail_catcher.py": "a process of its own: local/test_mail.py runs it",
}

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
    "http/test_fuzz.py": "mangled connections",
    "worker/test_asyncio.py": "handlers of asyncio, in a worker",
    "worker/test_limits.py": "groups and limits, through workers",
    "worker/test_schedules.py": "schedules that the code declares, through workers that come and go",
    "producer/test_fuzz.py": "bodies against a model of the contract",
    "producer/test_idempotency.py": "one key, one job, over HTTP",
    "producer/test_installation.py": "a producer with the wrong database",
    "producer/test_logs.py": "what running jobs tell, over HTTP",
    "producer/test_roles.py": "each route with each token",
    "producer/test_options.py": "what a sender may choose, over HTTP",
    "producer/test_outages.py": "servers that go away under a producer",
    "worker/handlers/test_attacks.py": "payloads that ask for too much",
    "worker/handlers/test_examples.py": "the examples",
    "worker/running/test_broken_trio.py": "a handler that breaks Trio",
    "worker/test_options.py": "what a sender has chosen, as a worker keeps to it",
    "worker/test_counts.py": "what a thousand jobs cost",
    "worker/test_failover.py": "the master of Redis dies",
    "worker/test_hostile_jobs.py": "jobs that would never end",
    "worker/test_installation.py": "a worker with the wrong database",
    "worker/test_outages.py": "servers that go away under a worker",
    "worker/test_pauses.py": "types that are paused while a worker works",
    "worker/test_recovery.py": "workers that die",
    "worker/test_services.py": "the services of a running worker",
    "worker/test_shutdown.py": "SIGTERM at every moment",
    "worker/test_unique.py": "unique keys, through all that becomes of a job in a worker",
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
    missing = {module for module in modules() if not file_of(module).is_file()}
    assert missing == set(NONE_NEEDED), "a module without tests, or one that has them and is listed still"


def test_every_file_of_tests_belongs_to_a_module_or_is_listed_as_a_scenario():
    known = {file_of(module) for module in modules()}
    found = {path for folder in {path.parent for path in known} for path in folder.glob("test_*.py")}
    assert {path.relative_to(TESTS).as_posix() for path in found - known} == set(SCENARIOS)
