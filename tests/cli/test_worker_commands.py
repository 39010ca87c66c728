"""Which commands there are; tests/cli/test_workers.py runs them against a producer."""

from tests.cli.support import workqueue


def test_each_command_says_what_it_does():
    said = workqueue("workers", "--help").stdout
    for name in ("quiet", "resume", "stop"):
        assert f"\n  {name} " in said
        assert workqueue("workers", name, "--help").returncode == 0
