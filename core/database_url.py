"""DATABASE_URL as libpq reads it: what stands in it, or one sentence about what is wrong, without its secrets."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

SCHEMES = ("postgresql://", "postgres://")
DEFAULT_PORT = 5432
SWITCH = ("0", "1")
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
VERIFIED = ("require", "verify-ca", "verify-full")

#: Parameters, and what each may be: one of some words, a whole number (None), or any text ("").
PARAMETERS: dict[str, tuple[str, ...] | str | None] = {
    "host": "", "port": "", "user": "", "password": "", "dbname": "", "passfile": "",
    "application_name": "", "fallback_application_name": "", "options": "", "client_encoding": "",
    "connect_timeout": None, "statement_cache_size": None,
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
    "sslmode": ("disable", "allow", "prefer", *VERIFIED),
    "sslnegotiation": ("postgres", "direct"),
    "sslrootcert": "", "sslcert": "", "sslkey": "", "sslpassword": "", "sslcrl": "",
    "ssl_min_protocol_version": TLS_VERSIONS, "ssl_max_protocol_version": TLS_VERSIONS,
    "sslcompression": SWITCH, "sslsni": SWITCH,
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer"), "gssdelegation": SWITCH, "gsslib": ("gssapi", "sspi"), "krbsrvname": "",
    "keepalives": SWITCH, "keepalives_idle": None, "keepalives_interval": None, "keepalives_count": None,
    "tcp_user_timeout": None,
}  # fmt: skip

#: What libpq takes from the environment where the URL does not say it.
VARIABLES = {
    "PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname",
    "PGPASSFILE": "passfile", "PGSSLMODE": "sslmode", "PGSSLROOTCERT": "sslrootcert", "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey", "PGSSLCRL": "sslcrl", "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version", "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGTARGETSESSIONATTRS": "target_session_attrs", "PGCONNECT_TIMEOUT": "connect_timeout", "PGAPPNAME":
    "application_name", "PGOPTIONS": "options", "PGCHANNELBINDING": "channel_binding", "PGGSSENCMODE": "gssencmode",
}  # fmt: skip

SECRET = {"password", "sslpassword"}


class Host(Struct, frozen=True):
    """A server, or the folder of its socket."""

    name: str
    port: int = DEFAULT_PORT


class DatabaseUrl(Struct, frozen=True):
    """What a URL says, checked."""

    hosts: tuple[Host, ...]  #: none: the socket of this machine
    parameters: dict[str, str]  #: user, password and dbname too, wherever they stood


def parse(url: str) -> DatabaseUrl:
    """Raise ValueError with a sentence in which nothing secret stands."""
    scheme = next((scheme for scheme in SCHEMES if url.startswith(scheme)), None)
    if scheme is None:
        raise ValueError("must start with postgres:// or postgresql://")
    if "#" in url:
        raise ValueError("has a #, which ends a URL's address; in a password or a path write it as %23")
    if (odd := re.search(r"[\0-\x20\x7f\ud800-\udfff]", url)) is not None:
        raise ValueError(f"character {odd.start() + 1} may stand in no URL; write it percent-encoded")
    match = re.fullmatch(r"([^/?]*)(/[^?]*)?(\?.*)?", url[len(scheme) :], re.DOTALL)
    assert match  # noqa: S101 - it matches any text
    authority, path, query = match[1], (match[2] or "")[1:], (match[3] or "")[1:]
    credentials, _, addresses = authority.rpartition("@")
    if "@" in credentials:
        raise ValueError("has more than one @ before its host; in a user or a password write it as %40")
    if "@" in path + query:  # a password with one of these: the rest of it would be shown as the database
        raise ValueError("has an @ behind a / or a ?; in a user or a password write / as %2F, ? as %3F and @ as %40")
    parameters: dict[str, str] = {}
    user, _, password = credentials.partition(":")
    for name, text in (("user", user), ("password", password), ("dbname", path)):
        if text:
            parameters[name] = _decode(text, f"the {'database' if name == 'dbname' else name}")
    parameters |= _read_query(query)
    for name, value in parameters.items():
        if (fault := fault_of(name, value)) is not None:
            raise ValueError(fault)
    if addresses and "host" not in parameters:
        hosts = tuple(_host(address, parameters.get("port")) for address in addresses.split(","))
    else:
        hosts = _hosts(parameters.get("host", ""), parameters.get("port", ""))
    _check_tls(parameters)
    return DatabaseUrl(hosts, parameters)


def with_variables(url: str, environ: Mapping[str, str]) -> str:
    """`url`, and what libpq's variables say of what it leaves open. Raise ValueError with the variable's name."""
    said = parse(url)
    more: dict[str, str] = {}
    for variable, name in VARIABLES.items():
        value = environ.get(variable)
        if not value or name in said.parameters or (name in {"host", "port"} and said.hosts):
            continue
        if (fault := fault_of(name, value)) is not None:
            raise ValueError(f"{variable}: {fault}")
        more[name] = value
    if not more:
        return url
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in more.items())
    url = f"{url}{'&' if '?' in url else '?'}{query}"
    try:
        parse(url)
    except ValueError as error:
        names = ", ".join(variable for variable, name in VARIABLES.items() if name in more)
        raise ValueError(f"together with {names}: {error}") from None
    return url


def fault_of(name: str, value: str) -> str | None:
    """What is wrong with a parameter."""
    if name not in PARAMETERS:
        return f"there is no parameter {name!r}; docs/deployment.md lists those that there are"
    allowed = PARAMETERS[name]
    if "\0" in value:
        return f"{name} has a character that cannot stand there"
    if allowed is None:
        return None if re.fullmatch(r"-?[0-9]{1,9}", value) else f"{name} must be a whole number"
    if allowed and value not in allowed:
        shown = f"{name}={value!r}" if re.fullmatch(r"[\w.-]{1,40}", value) else name
        return f"{shown} must be one of {', '.join(allowed)}"
    return None


def _read_query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        name = _decode(name, "the name of a parameter")
        if not equals or not re.fullmatch(r"[A-Za-z_]{1,60}", name):
            raise ValueError("what stands behind the ? must be name=value&name=value...")
        if name == "ssl" and value == "true":  # as JDBC has it; libpq takes it too
            name, value = "sslmode", "require"
        if name == "database":  # as asyncpg has it
            name = "dbname"
        found[name] = _decode(value, name)
    return found


def _decode(text: str, what: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"{what} has a % that begins no percent-encoded character; write it as %25")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8 once it is decoded") from None
    if "\0" in decoded:
        raise ValueError(f"{what} has a character that cannot stand there")
    return decoded


def _host(address: str, port: str | None) -> Host:
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?", address)
    if match is None:
        raise ValueError("cannot be parsed as a URL; must be postgresql://host:port..., an IPv6 address in brackets")
    return Host(_name(_decode(match[1], "the host")), _port(match[2] or port or ""))


def _hosts(names: str, ports: str) -> tuple[Host, ...]:
    """Those of the parameters `host` and `port`."""
    if not names:
        return (Host("", _port(ports)),) if ports else ()
    hosts, given = names.split(","), ports.split(",")
    if len(given) not in {1, len(hosts)}:
        raise ValueError(f"port has {len(given)} numbers for {len(hosts)} hosts")
    given = given * len(hosts) if len(given) == 1 else given
    return tuple(Host(_name(name), _port(port)) for name, port in zip(hosts, given, strict=True))


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError("cannot be parsed as a URL; must be postgresql://host:port..., a port from 1 to 65535")
    return int(text)


def _name(host: str) -> str:
    """The host as asyncpg takes it. Raise ValueError where no server can have that name."""
    if host.startswith("/"):  # the folder of a socket
        return host
    try:
        if host.startswith("["):
            address, _, zone = host[1:-1].partition("%")
            ipaddress.IPv6Address(address)
            return f"{address}%{zone}" if zone else address
        if ":" in host:  # as the parameter has it
            return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError("the host is no IPv6 address") from None
    try:
        encoded = host.removesuffix(".").encode("idna").decode("ascii")  # an empty label, or one that is too long
    except UnicodeError:
        encoded = ""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", encoded):
        raise ValueError("a host is missing, or no server can have its name")
    return host


def _check_tls(parameters: Mapping[str, str]) -> None:
    mode = parameters.get("sslmode")
    if parameters.get("sslrootcert") == "system" and mode not in {None, "verify-full"}:
        raise ValueError("sslrootcert=system needs sslmode=verify-full")
    if parameters.get("sslnegotiation") == "direct" and mode not in VERIFIED:
        raise ValueError(f"sslnegotiation=direct needs sslmode to be one of {', '.join(VERIFIED)}")
