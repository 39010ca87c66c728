"""From a database URL to a connection."""

import asyncio
import getpass
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncpg
from asyncpg import exceptions
from msgspec import Struct

from workqueue.core.database_url import parse
from workqueue.core.errors import InvalidSettings, StoreUnavailable
from workqueue.core.store import sql

STATEMENTS_KEPT = 100  #: prepared ones, in a session of our own
CONNECT_SECONDS = 5.0
APPLICATION_NAME = "workqueue"
OLDEST_VERSION = 13
UNCERTAIN = (None, "prefer", "allow")  #: modes in which TLS is welcome, and none is asked for


class Connection(asyncpg.Connection):  # not generic at run time
    """A connection that carries no state from one user to the next, so giving it back costs no round trip."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.prepares = False

    @property
    def prepares(self) -> bool:
        """Does it keep statements prepared? Behind a pooler the next transaction may meet a session without them."""
        return bool(self._stmt_cache_enabled)  # private: a test tells when another version has it no longer

    @prepares.setter
    def prepares(self, value: bool) -> None:
        self._stmt_cache_enabled = value

    def get_reset_query(self) -> str:
        return ""


class Target(Struct, frozen=True):
    """What a URL leads to."""

    options: dict[str, Any]  #: of asyncpg.connect
    is_certain: bool  #: TLS, or none: nothing has to be tried
    prepares: bool | None  #: None: where the session is ours alone


def target(url: str) -> Target:
    """Raise InvalidSettings where `url` cannot be read. Everything is said to asyncpg, so that it need not look."""
    try:
        said = parse(url)
    except ValueError as error:
        raise InvalidSettings([f"DATABASE_URL=***: {error}"]) from None
    given = said.parameters
    settings = {"application_name": given.get("application_name", APPLICATION_NAME)}
    if "options" in given:
        settings["options"] = given["options"]
    kept = given.get("statement_cache_size")
    seconds = int(given.get("connect_timeout", 0))
    options: dict[str, Any] = {
        "user": given.get("user") or _os_user(),
        "password": given.get("password"),
        "passfile": given.get("passfile"),
        "database": given.get("dbname") or given.get("user") or _os_user(),
        "server_settings": settings,
        "target_session_attrs": given.get("target_session_attrs", "any"),
        "statement_cache_size": STATEMENTS_KEPT if kept is None else max(0, int(kept)),
        "timeout": min(seconds, CONNECT_SECONDS) if seconds > 0 else CONNECT_SECONDS,
        "krbsrvname": given.get("krbsrvname"),
        "gsslib": given.get("gsslib"),
    }
    if said.hosts:
        options["port"] = [host.port for host in said.hosts]
        if names := [host.name for host in said.hosts if host.name]:
            options["host"] = names
        else:
            options["port"] = options["port"][0]
    tls = {
        name: value
        for name, value in given.items()
        if name.startswith("ssl") and name not in {"sslsni", "sslcompression"}
    }
    if given.get("sslrootcert") == "system":
        context = ssl.create_default_context()
        context.set_alpn_protocols(["postgresql"])
        options |= {"ssl": context, "direct_tls": given.get("sslnegotiation") == "direct"}
    elif tls:
        options["dsn"] = f"postgresql:///?{urlencode(tls)}"
    is_certain = bool(tls.keys() - {"sslmode"}) or given.get("sslmode") not in UNCERTAIN
    return Target(options, is_certain, None if kept is None else int(kept) > 0)


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as containers have it
        raise InvalidSettings(["DATABASE_URL=***: names no user, and this process has none of its own"]) from None


async def connect(at: Target) -> Connection:
    """A connection to a database that we can work with, bounded. Raises what asyncpg does, and StoreUnavailable."""
    if at.is_certain or not _is_home_closed():
        connection: Connection = await asyncpg.connect(**at.options, connection_class=Connection)
    else:
        connection = await _connect_without_home(at)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            is_pooled = await _greet(connection)
    except BaseException:
        connection.terminate()
        raise
    connection.prepares = not is_pooled if at.prepares is None else at.prepares
    return connection


def _is_home_closed() -> bool:
    """asyncpg looks for certificates there, and fails where it may not, though none is asked for."""
    try:
        (Path.home() / ".postgresql" / "postgresql.key").stat()
    except PermissionError:
        return True
    except (OSError, RuntimeError):
        pass
    return False


async def _connect_without_home(at: Target) -> Connection:
    """TLS where the server has it, without certificates of ours; without it where it has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options = {name: value for name, value in at.options.items() if name != "dsn"}
    try:
        return await asyncpg.connect(**options, ssl=context, connection_class=Connection)
    except (ConnectionError, ssl.SSLError, exceptions.InvalidAuthorizationSpecificationError):
        return await asyncpg.connect(**options, ssl=False, connection_class=Connection)


async def _greet(connection: Connection) -> bool:
    """Is the session shared with others? If not it has our limits now. Raises StoreUnavailable for a database that we
    cannot work with."""
    if (version := connection.get_server_version().major) < OLDEST_VERSION:
        raise StoreUnavailable(f"Postgres: version {version} is too old: {OLDEST_VERSION} or newer is needed")
    [(is_pooled, encoding)] = await connection.fetch(*sql.GREET.bind(pid=connection.get_server_pid()))
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"Postgres: the database has the encoding {encoding}, which cannot hold every text. Make one with UTF8 "
            "(CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0) and point DATABASE_URL to it"
        )
    return bool(is_pooled)
