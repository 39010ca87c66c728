"""The grammar of REDIS_URL: one server, a Unix socket, a Sentinel set or a Cluster. Connects to nothing.

core/settings.py asks here for faults, and core/queue/urls.py for the parts.
"""

import re
import ssl
from ipaddress import IPv6Address
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379}

#: The options that REDIS_URL may have behind a `?`, with a pattern for the value of each. Other options of redis-py
#: change what answers mean, or the limits of time that the queue counts on: a job's answer would be lost.
_TEXT, _YES_NO = r"(?s).+", "(?i)true|false|yes|no|1|0"
OPTIONS = {
    "client_name": "[!-~]+", "db": "[0-9]{1,9}", "password": _TEXT, "username": _TEXT, "ssl_ca_certs": _TEXT,
    "ssl_ca_data": _TEXT, "ssl_ca_path": _TEXT, "ssl_cert_reqs": "none|optional|required", "ssl_certfile": _TEXT,
    "ssl_check_hostname": _YES_NO, "ssl_ciphers": _TEXT, "ssl_keyfile": _TEXT, "ssl_password": _TEXT,
    "sentinel_password": _TEXT, "sentinel_username": _TEXT,
}  # fmt: skip
#: Refused by name. Any other text behind the `?` may be a piece of a password, and is not shown.
_REFUSED_OPTIONS = frozenset({
    "connection_class", "credential_provider", "decode_responses", "driver_info", "encoder_class", "encoding",
    "encoding_errors", "health_check_interval", "host", "legacy_responses", "lib_name", "lib_version",
    "maint_notifications_config", "max_connections", "parser_class", "path", "port", "protocol", "redis_connect_func",
    "retry", "retry_on_error", "retry_on_timeout", "single_connection_client", "socket_connect_timeout",
    "socket_keepalive", "socket_keepalive_options", "socket_read_size", "socket_timeout", "socket_type",
    "ssl_exclude_verify_flags", "ssl_include_verify_flags", "ssl_min_version", "ssl_validate_ocsp", "timeout",
})  # fmt: skip
SOCKET_PATH_MAX = 107  #: bytes


class Parts(Struct, frozen=True):
    """A URL that has no fault, taken apart."""

    plain: str  #: a URL that redis-py understands: the server, or the first node
    unix: bool
    tls: bool
    topology: str = ""  #: "sentinel", "cluster", or "" for one server
    nodes: tuple[tuple[str, int], ...] = ()  #: host and port of Sentinels or of nodes of a Cluster
    service: str = ""  #: of Sentinel
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def take_apart(url: str) -> Parts:
    """The parts of a URL without a fault. Raises ValueError where it has one after all."""
    parts = urlsplit(url)
    scheme, _, topology = parts.scheme.partition("+")
    tls = scheme == "rediss"
    if not topology:
        return Parts(url, scheme == "unix", tls)
    credentials, at, hosts = parts.netloc.rpartition("@")
    nodes = hosts.split(",")
    service, _, database = parts.path.strip("/").partition("/")
    query = dict(parse_qsl(parts.query))
    username, password = query.pop("sentinel_username", None), query.pop("sentinel_password", None)
    if topology == "cluster":
        service = database = ""
    plain = urlunsplit((scheme, f"{credentials}{at}{nodes[0]}", database, urlencode(query), ""))
    addresses = tuple(_node(node, topology) for node in nodes)
    return Parts(plain, False, tls, topology, addresses, unquote(service), username, password)


def _node(text: str, topology: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return unquote(parts.hostname or ""), parts.port or DEFAULT_PORTS[topology]


def fault(url: str) -> str | None:
    """What is wrong with the hosts, path, options or certificates of a URL whose form is right; None: nothing.

    Shows no part of the URL.
    """
    return _grammar_fault(url) or _certificates_fault(url)


def _certificates_fault(url: str) -> str | None:
    """Reads the files that the URL names, as a connection will."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if not any(name.startswith("ssl_") for name in options):
        return None
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    authorities = [options.get(f"ssl_ca_{name}") for name in ("certs", "path", "data")]
    try:
        context = ssl.create_default_context()
        if certificate or key:
            context.load_cert_chain(certificate or "", key, options.get("ssl_password"))
        if any(authorities):
            context.load_verify_locations(*authorities)
        if ciphers := options.get("ssl_ciphers"):
            context.set_ciphers(ciphers)
    except OSError as error:  # of ssl and of files, without their names
        return f"its ssl options cannot be used: {error.strerror or error}"
    except (TypeError, ValueError) as error:
        return f"its ssl options cannot be used ({type(error).__name__})"
    return None


def _grammar_fault(url: str) -> str | None:
    try:
        url.encode()
    except UnicodeEncodeError:
        return "is no UTF-8"
    if any(letter < " " or letter == "\x7f" for letter in url) or url != url.strip():
        return "has a control character, or blanks around it; in a password write %20 and so on"
    parts = urlsplit(url)
    topology = parts.scheme.partition("+")[2]
    path = parts.path.strip("/")
    if "@" in path:
        return "has an @ behind the hosts; in a password write / as %2F and @ as %40"
    if not all(_is_text(part) for part in (parts.username, parts.password, parts.path)):
        return "has a % that stands for no UTF-8"
    options_fault = _options_fault(parts.query, parts.scheme)
    if parts.scheme == "unix":
        socket = unquote(parts.path).encode()
        if not socket or b"\0" in socket or len(socket) > SOCKET_PATH_MAX:
            return f"must name a socket, in 1 to {SOCKET_PATH_MAX} bytes: unix:///run/redis.sock"
        return options_fault
    address = parts.netloc.rpartition("@")[2]
    hosts = address.split(",") if topology else [address]
    if topology and not all(urlsplit(f"//{host}").hostname for host in hosts):
        return f"a host is missing; must be {parts.scheme}://host:port,host:port..."
    if not all(map(is_host, hosts)):
        return "a host or its port cannot be one; must be host:port, [IPv6]:port, with a port from 1 to 65535"
    if topology == "cluster":
        if path not in {"", "0"} or dict(parse_qsl(parts.query)).get("db", "0").strip("0"):
            return "a Cluster has no other databases: nothing may stand behind the hosts"
        return options_fault
    if topology == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            return f"must name the service: {parts.scheme}://host:port,host:port/service"
    if path and not re.fullmatch(OPTIONS["db"], path):
        return "the path must end with the number of a database, such as /0"
    return options_fault


def _options_fault(query: str, scheme: str) -> str | None:
    allowed = [
        name for name in sorted(OPTIONS)
        if ("ssl_" not in name or scheme.startswith("rediss")) and ("sentinel" not in name or "sentinel" in scheme)
    ]  # fmt: skip
    pairs = parse_qsl(query, keep_blank_values=True)
    if not _is_text(query) or (query and not pairs):
        return "has options that cannot be read"
    for name, value in pairs:
        if name not in allowed:
            known = name in _REFUSED_OPTIONS or name in OPTIONS
            shown = f"the option {name}" if known else "an option behind ?"
            return f"{shown} is not taken here; allowed are {', '.join(allowed)} (a ? in a password is written %3F)"
        if not re.fullmatch(OPTIONS[name], value):
            pattern = OPTIONS[name]
            wanted = {_TEXT: "not be empty", _YES_NO: "be true or false", "[!-~]+": "be visible ASCII without blanks"}
            return f"the option {name} must {wanted.get(pattern, f'match {pattern}')}"
    return None


def _is_text(quoted: str | None) -> bool:
    try:
        unquote(quoted or "", errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def is_host(address: str) -> bool:
    """Could a connection be made there? An empty host is localhost."""
    try:
        parts = urlsplit(f"//{address}")
        if parts.port == 0:
            return False
        host = unquote(parts.hostname or "", errors="strict")
        if ":" in host:
            IPv6Address(host)
        elif host:
            host.encode("idna")  # as a connection does: no label may be empty or have more than 63 letters
        return not re.search(r"[\s\0/@?#%]", host.partition("%")[0] if ":" in host else host)
    except ValueError:
        return False
