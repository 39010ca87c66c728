"""What the machine could not give: a thread or a process for a job. That is no fault of the job's.

Threads, processes and descriptors run out for a host, a user or a container, not for one job: the next one would fare
the same. So the worker starts no job until a test shows that it could, and reports that meanwhile.
"""

import logging
import os
import threading

import trio

log = logging.getLogger(__name__)

PROBE_SECONDS = 1.0
PROBE_DESCRIPTORS = 8
REMEDY = "Raise the limit of threads, processes (ulimit -u, TasksMax=, pids) or descriptors (ulimit -n, LimitNOFILE=)"


class Environment:
    """Mutable state: what is lacking, set by `lacks`, cleared by `watch`."""

    def __init__(self) -> None:
        self.fault: str | None = None  #: in words, with what to do
        self._missed = trio.Event()

    def lacks(self, what: str) -> None:
        """A job could not be started for want of `what`; it has gone back."""
        if self.fault is None:
            self.fault = f"the machine does not give what jobs need: {what}. {REMEDY}"
            log.error("no job is started here for now: %s", self.fault)
            self._missed.set()

    async def watch(self) -> None:
        """Find out when jobs can be started again, until cancelled."""
        while True:
            await self._missed.wait()
            began = trio.current_time()
            await trio.sleep(PROBE_SECONDS)
            while not _has_room():  # noqa: ASYNC110 - the kernel tells of no change
                await trio.sleep(PROBE_SECONDS)
            self._missed = trio.Event()
            self.fault = None
            log.info("jobs are started again after %.1f s", trio.current_time() - began)


def _has_room() -> bool:
    """Can a thread be started and a few descriptors be had?"""
    descriptors: list[int] = []
    try:
        for _ in range(PROBE_DESCRIPTORS):
            descriptors.append(os.dup(2))
        thread = threading.Thread(target=int)
        thread.start()
    except (OSError, RuntimeError):
        return False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    thread.join()
    return True
