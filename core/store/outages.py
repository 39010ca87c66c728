"""Which of asyncpg's errors mean that Postgres cannot serve now, and which that it refused one statement's values."""

import asyncpg
from asyncpg import exceptions

from core.errors import StoreBusy, StoreRefused, StoreUnavailable, WorkQueueError

#: Nobody is there, or it cannot just now, or an operator has to mend it. Whether the statement took effect is unknown.
OUTAGES: tuple[type[BaseException], ...] = (
    exceptions.PostgresConnectionError,
    exceptions.OperatorInterventionError,  # shutdown, crash, query cancelled by statement_timeout
    exceptions.InsufficientResourcesError,  # disk full, out of memory, too many connections
    exceptions.InvalidAuthorizationSpecificationError,
    exceptions.InvalidCatalogNameError,
    exceptions.UndefinedObjectError,  # an option of DATABASE_URL that the server does not know
    exceptions.InsufficientPrivilegeError,
    exceptions.ReadOnlySQLTransactionError,
    exceptions.PostgresSystemError,  # I/O errors of the server
    exceptions.InternalServerError,
    exceptions.ProtocolViolationError,
    exceptions.UndefinedTableError,  # somebody dropped our schema, or it is not migrated yet
    exceptions.UndefinedColumnError,
    exceptions.InvalidSchemaNameError,
    exceptions.FeatureNotSupportedError,  # a cached plan whose table was changed
    exceptions.InterfaceError,  # the connection was closed under us
    exceptions.InternalClientError,  # the same, and asyncpg has heard the server's last words but not seen the end yet
    OSError,
    TimeoutError,
)

#: The statement was rolled back because of another one: repeat it.
BUSY: tuple[type[BaseException], ...] = (
    exceptions.LockNotAvailableError,
    exceptions.TransactionRollbackError,  # deadlock, serialization failure
)

REFUSALS: tuple[type[BaseException], ...] = (
    exceptions.DataError,
    exceptions.IntegrityConstraintViolationError,
    exceptions.ProgramLimitExceededError,
    UnicodeEncodeError,
)


def outage(error: Exception) -> WorkQueueError | None:
    """What `error` is in our terms; None: it is a bug and must stay what it is."""
    text = str(error).partition("\n")[0] or (
        "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    )
    if isinstance(error, BUSY):
        return StoreBusy(f"Postgres: {text}")
    if isinstance(error, REFUSALS) and not isinstance(error, asyncpg.InterfaceError):
        return StoreRefused(f"Postgres: {text}")
    if isinstance(error, exceptions.UndefinedTableError):
        return StoreUnavailable(f"Postgres: {text}; run `workqueue migrate`")
    if isinstance(error, OUTAGES):
        return StoreUnavailable(f"Postgres: {text}")
    if isinstance(error, asyncpg.DataError):  # asyncpg could not encode an argument
        return StoreRefused(f"Postgres: {text}")
    return None
