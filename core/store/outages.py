"""Which of asyncpg's errors refuse one statement's values, which are a mistake of ours, and what an operator does about
all the others: they wait, whatever they are."""

import asyncpg
from asyncpg import exceptions

from workqueue.core.errors import StoreBusy, StoreRefused, StoreUnavailable, WorkQueueError

#: The statement was rolled back because of another one: repeat it.
BUSY: tuple[type[BaseException], ...] = (
    exceptions.LockNotAvailableError,
    exceptions.TransactionRollbackError,  # deadlock, serialization failure
)

#: Of one value. What a table refuses that was changed (a column that must not be null, say) is none.
REFUSALS: tuple[type[BaseException], ...] = (
    exceptions.DataError,
    exceptions.CheckViolationError,
    exceptions.UniqueViolationError,
    exceptions.ProgramLimitExceededError,
    UnicodeEncodeError,
)

#: Statements that no server could run. Only a change of the code mends that.
BUGS: tuple[type[BaseException], ...] = (
    exceptions.PostgresSyntaxError,
    exceptions.AmbiguousColumnError,
    exceptions.AmbiguousParameterError,
    exceptions.DuplicateAliasError,
    exceptions.GroupingError,
    exceptions.IndeterminateDatatypeError,
    exceptions.UndefinedParameterError,
    exceptions.WindowingError,
)

#: No answer of a server: none is there, or the connection broke.
BROKEN: tuple[type[BaseException], ...] = (
    exceptions.InterfaceError,  # the connection was closed under us
    exceptions.InternalClientError,  # the same, and asyncpg has heard the server's last words but not seen the end yet
    OSError,
    TimeoutError,
)

#: Classes of SQLSTATE whose words say it all: no connection, no entry, no such database, an operator at work.
PASSING = {"08", "28", "3D", "57"}

#: What to do, for those where the words of Postgres do not say it.
REMEDIES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (exceptions.UndefinedTableError, "run `workqueue migrate`"),
    (
        exceptions.InsufficientPrivilegeError,
        "grant it to the user of DATABASE_URL (docs/deployment.md lists what is needed)",
    ),
    (exceptions.ReadOnlySQLTransactionError, "point DATABASE_URL to the primary"),
    (
        (exceptions.InvalidSQLStatementNameError, exceptions.DuplicatePreparedStatementError),
        "a pooler hands out other sessions: add ?statement_cache_size=0 to DATABASE_URL",
    ),
)


def outage(error: Exception) -> WorkQueueError | None:
    """What `error` is in our terms; None: it is a bug and must stay what it is."""
    if isinstance(error, BUGS):
        return None
    text = str(error).partition("\n")[0] or (
        "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    )
    if isinstance(error, BUSY):
        return StoreBusy(f"Postgres: {text}")
    if isinstance(error, REFUSALS):
        return StoreRefused(f"Postgres: {text}")
    if isinstance(error, asyncpg.PostgresError):
        remedy = next((remedy for kind, remedy in REMEDIES if isinstance(error, kind)), None)
        return StoreUnavailable(f"Postgres: {text}; {remedy}" if remedy else f"Postgres: {text}{_code(error)}")
    if isinstance(error, BROKEN):
        return StoreUnavailable(f"Postgres: {text}")
    return None


def is_passing(error: asyncpg.PostgresError) -> bool:
    """Is it the server that cannot serve now, whatever it is asked (08, 28, 3D, 57), or was it too slow this time?"""
    state: str | None = error.sqlstate
    return state is None or state[:2] in PASSING


def _code(error: asyncpg.PostgresError) -> str:
    """Its number in the manual, for answers that only say what they could not do."""
    state: str | None = error.sqlstate
    return f" (SQLSTATE {state})" if state and state[:2] not in PASSING else ""
