"""The one table from our errors to answers; contract.md 2 says these bodies letter by letter."""

from core.batching import BatchFailed
from core.errors import EnqueueFailed, InvalidTask, PersistFailed, RetriesNegative, TypeMissing
from services.http.answers import Table

ANSWERS: Table = {
    InvalidTask: (400, "invalid JSON body"),
    TypeMissing: (400, "type is required"),
    RetriesNegative: (400, "retries cannot be negative"),
    PersistFailed: (500, "failed to persist job"),
    EnqueueFailed: (500, "failed to enqueue task"),
    BatchFailed: (500, "internal error"),  # a bug, logged once for its whole batch
}
