"""`python -m services.cli` is `workqueue`."""

from services.cli.main import main

main(prog_name="workqueue")
