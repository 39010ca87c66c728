"""`python -m workqueue.services.worker`: an entry point, so the environment is read here.

In a checkout `python -m services.worker` is the same.
"""

import os
import sys

from workqueue.services.early import end_at_signals, ignore_signals


def run() -> int:
    """Run a worker; returns the exit status: 2 for a wrong setting."""
    end_at_signals()
    import trio

    from workqueue.core.errors import InvalidSettings, WorkQueueError
    from workqueue.core.settings import load_settings
    from workqueue.services.logs import configure_logging
    from workqueue.services.systemd import Notifier
    from workqueue.services.worker.main import main

    try:
        settings = load_settings(os.environ)
        configure_logging(settings)
        trio.run(main, settings, Notifier.from_environ(os.environ))
        ignore_signals()
    except InvalidSettings as error:
        print("\n".join(f"workqueue: {fault}" for fault in error.faults), file=sys.stderr)  # noqa: T201
        return 2
    except WorkQueueError as error:
        print(f"workqueue: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run())
