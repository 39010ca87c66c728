"""The one table from our errors to answers; clients rely on these bodies letter by letter."""

from workqueue.core.errors import (
    BatchFailed,
    EnqueueFailed,
    InvalidKey,
    InvalidTask,
    KeyReused,
    PersistFailed,
    RetriesNegative,
    TypeMissing,
)
from workqueue.services.http.answers import Table

ANSWERS: Table = {
    InvalidTask: (400, "invalid JSON body"),
    TypeMissing: (400, "type is required"),
    RetriesNegative: (400, "retries cannot be negative"),
    InvalidKey: (400, "Idempotency-Key must be 1 to 255 visible ASCII characters, given once"),
    KeyReused: (422, "idempotency key reused with another body"),
    PersistFailed: (500, "failed to persist job"),
    EnqueueFailed: (500, "failed to enqueue task"),
    BatchFailed: (500, "internal error"),  # a bug, logged once for its whole batch
}
