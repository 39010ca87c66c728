"""Types of jobs as contracts: what a producer imports instead of worker code."""

from __future__ import annotations

import builtins
from typing import Any, Generic, TypeVar, Unpack, overload

import msgspec

from workqueue.client.jobs import Options, Task

P = TypeVar("P")
R = TypeVar("R")


class JobType(msgspec.Struct, Generic[P, R], frozen=True):
    """A type of jobs with the types of their payloads and results. Called, it makes a task."""

    type: str
    payload: builtins.type[P]
    result: builtins.type[R] | None = None

    def __call__(self, payload: P, **options: Unpack[Options]) -> Task:
        """The task with this payload: `client.enqueue(invoice(Invoice(order=4711), retries=3))`."""
        return Task(self.type, payload, options)


@overload
def declare(job_type: str, payload: type[P]) -> JobType[P, Any]: ...


@overload
def declare(job_type: str, payload: type[P], result: type[R]) -> JobType[P, R]: ...


def declare(job_type: str, payload: type[Any], result: type[Any] | None = None) -> JobType[Any, Any]:
    """Declare a type of jobs in a module that both sides import: `invoice = declare("invoice", Invoice, Receipt)`.

    A producer calls it for a task, and waits with `client.wait(job, type=Receipt)`; a worker registers its handler with
    `@handler(invoice)`, which then takes a `Job[Invoice]`.
    """
    return JobType(job_type, payload, result)
