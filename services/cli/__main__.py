"""`python -m workqueue.services.cli` is `workqueue`."""

from workqueue.services.cli.main import main

main(prog_name="workqueue")
