"""The one table from our errors to responses; clients rely on these bodies letter by letter."""

from workqueue.core.errors import (
    BatchFailed,
    EnqueueFailed,
    InvalidKey,
    InvalidOption,
    InvalidTask,
    JobsNotStored,
    KeyReused,
    PersistFailed,
    RetriesNegative,
    TypeMissing,
)
from workqueue.services.http.responses import ErrorResponses

ONLY_WITH_DATABASE = "jobs are stored only with DATABASE_URL"

ERROR_RESPONSES: ErrorResponses = {
    InvalidTask: (400, "invalid JSON body"),
    InvalidOption: (400, None),
    TypeMissing: (400, "type is required"),
    RetriesNegative: (400, "retries cannot be negative"),
    InvalidKey: (400, "Idempotency-Key must be 1 to 255 visible ASCII characters, given once"),
    KeyReused: (422, "idempotency key reused with another body"),
    JobsNotStored: (404, ONLY_WITH_DATABASE),
    PersistFailed: (500, "failed to persist job"),
    EnqueueFailed: (500, "failed to enqueue task"),
    BatchFailed: (500, "internal error"),  # a bug, logged once for its whole batch
}
