"""Environment -> Settings. Every default stands here, once; core never reads os.environ itself."""

import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec
from msgspec import Meta, Struct

from workqueue.core import database_url
from workqueue.core.errors import InvalidSettings

Port = Annotated[int, Meta(ge=0, le=65535)]

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
TRUE, FALSE = {"1", "t", "true"}, {"0", "f", "false"}


class Settings(Struct, frozen=True, kw_only=True):
    """What the environment says. Field name = variable name in lower case; units in the comments."""

    redis_url: str = "redis://localhost:6379"  #: put together from REDIS_ADDR and its companions where it is not set
    database_url: str | None = None
    database_schema: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}\Z")] = "workqueue"
    queue_name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}\Z")] = "workqueue:jobs"
    allowed_origins: str | None = None
    allowed_hosts: str | None = None  #: names by which the services may be asked for, beside addresses and loopback's
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    producer_port: Port = 8080
    worker_port: Port = 8081
    max_body_bytes: Annotated[int, Meta(ge=1, le=1 << 30)] = 1 << 20  #: of one request, or of one job of a batch
    max_batch_bytes: Annotated[int, Meta(ge=1, le=1 << 50)] = 1 << 30  #: of a batch, which is streamed
    idempotency_ttl: Annotated[float, Meta(ge=1, le=31_536_000)] = 86_400.0  #: seconds
    worker_concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 2  #: jobs at once in one process
    worker_handlers: str | None = None  #: modules, separated by commas
    shutdown_grace: Annotated[float, Meta(ge=0, le=86_400)] = 10.0  #: seconds
    lease_seconds: Annotated[float, Meta(ge=1, le=3600)] = 15.0
    max_recoveries: Annotated[int, Meta(ge=2, le=1000)] = 3
    max_interruptions: Annotated[int, Meta(ge=1, le=1_000_000)] = 100  #: runs cut short by a stop, of one job
    stall_limit: Annotated[float, Meta(ge=1, le=3600)] = 30.0  #: seconds
    retry_base_seconds: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    retry_cap_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 3600.0
    smtp_url: str | None = None  #: where send_email delivers
    mail_from: str = "workqueue@localhost"
    image_folder: str | None = None  #: resize_image reads files below it, and no others
    log_level: str = "info"

    @property
    def origins(self) -> frozenset[str]:
        """The origins of ALLOWED_ORIGINS, as a browser writes them; empty: no CORS at all."""
        return frozenset(map(_as_browsers_write, _parts(self.allowed_origins)))

    @property
    def hosts(self) -> frozenset[str]:
        """The names of ALLOWED_HOSTS; `*`: any."""
        return frozenset(part.lower().rstrip(".") for part in _parts(self.allowed_hosts))

    @property
    def handler_modules(self) -> list[str]:
        return _parts(self.worker_handlers)


def _parts(text: str | None) -> list[str]:
    """What commas separate."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _as_browsers_write(origin: str) -> str:
    """In lower case, and without the port that its scheme has anyway."""
    origin = origin.lower()
    for scheme, port in (("http", ":80"), ("https", ":443")):
        if origin.startswith(f"{scheme}://"):
            origin = origin.removesuffix(port)
    return origin


#: How msgspec's message spells the end of a pattern. `$` there would let a newline at the end pass.
_END = r"\\Z"

#: Never shown, not even where they are wrong.
SECRET = frozenset({"redis_url", "redis_password", "database_url", "smtp_url"})
LOG_LEVELS = ("debug", "info", "warning", "error")


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read what is set (empty counts as unset); raise InvalidSettings with every fault, not only the first."""
    values: dict[str, object] = {}
    faults: list[str] = []
    for field in msgspec.structs.fields(Settings):
        if field.name in {"redis_url", "database_url", "producer_port", "worker_port"}:
            continue
        _read(environ, field.name.upper(), field.type, field.name, values, faults)
    for name in ("producer_port", "worker_port"):
        variable = name.upper() if environ.get(name.upper()) else "PORT"
        _read(environ, variable, Port, name, values, faults)
    values["redis_url"] = _redis_url(environ, faults)
    if url := environ.get("DATABASE_URL"):
        try:
            values["database_url"] = database_url.with_variables(url, environ)
        except ValueError as error:
            faults.append(f"DATABASE_URL=***: {error}")
    _check_more(values, faults)
    if faults:
        raise InvalidSettings(list(dict.fromkeys(faults)))
    return msgspec.convert(values, Settings)


def _read(
    environ: Mapping[str, str], variable: str, kind: Any, name: str, values: dict[str, object], faults: list[str]
) -> None:
    if not (text := environ.get(variable)):
        return
    try:
        values[name] = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        faults.append(f"{variable}={_shown(variable, text)}: {_in_words(error)}")


def _shown(variable: str, text: str) -> str:
    return "***" if variable.lower() in SECRET else repr(text[:200])


def _in_words(error: msgspec.ValidationError) -> str:
    """What is allowed, in the words of somebody who does not know our types."""
    text = str(error)
    if match := re.search(r"Expected `(int|float)`, got `str`", text):
        return "must be a whole number" if match[1] == "int" else "must be a number"
    if match := re.search(r"Expected `(?:int|float)` (>=|<=|>|<) ([\d.]+)", text):
        return f"must be {match[1]} {match[2]}"
    if match := re.search(r"matching regex '(.*)'", text):
        return f"must match {match[1].replace(_END, '$')}"
    return text


def _check_more(values: dict[str, object], faults: list[str]) -> None:
    url = values.get("smtp_url")
    if isinstance(url, str) and (fault := _url_fault(url, ("smtp", "smtps"))):
        faults.append(f"SMTP_URL=***: {fault}")
    level = values.get("log_level", "info")
    if level not in LOG_LEVELS:
        faults.append(f"LOG_LEVEL={level!r}: must be one of {', '.join(LOG_LEVELS)}")
    origins = values.get("allowed_origins")
    if isinstance(origins, str) and origins != "*":
        for part in _parts(origins):
            if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*://([a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?", part):
                faults.append(
                    f"ALLOWED_ORIGINS={origins[:200]!r}: {part!r} is no origin; "
                    "must be * alone, or origins such as https://app.example separated by commas"
                )
    hosts = values.get("allowed_hosts")
    if isinstance(hosts, str) and hosts != "*":
        for part in _parts(hosts):
            if not re.fullmatch(r"[a-zA-Z0-9._-]+", part):
                faults.append(
                    f"ALLOWED_HOSTS={hosts[:200]!r}: {part!r} is no name; "
                    "must be * alone, or names such as jobs.example without a port, separated by commas"
                )


def _url_fault(url: str, schemes: tuple[str, ...]) -> str | None:
    try:
        parts = urlsplit(url)
        address = parts.netloc.rpartition("@")[2]
        several = "+" in parts.scheme  # Sentinel and Cluster take several hosts, separated by commas
        for host in address.split(",") if several else [address]:
            urlsplit(f"//{host}").port  # noqa: B018 - reading it raises where it is no port
    except ValueError:
        return f"cannot be parsed as a URL; must be {schemes[0]}://host:port..."
    if parts.fragment:
        return "has a #, which ends a URL's address; in a password or a path write it as %23"
    if parts.scheme not in schemes:
        return f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    return None


def _redis_url(environ: Mapping[str, str], faults: list[str]) -> str:
    """REDIS_URL, or a URL put together from REDIS_ADDR, REDIS_USERNAME, REDIS_PASSWORD and REDIS_TLS."""
    if url := environ.get("REDIS_URL"):
        if fault := _url_fault(url, REDIS_SCHEMES) or _redis_fault(url):
            faults.append(f"REDIS_URL=***: {fault}")
        return url
    address = environ.get("REDIS_ADDR") or "localhost:6379"
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):(\d{1,5})", address)
    if not match or not _is_host(address):
        shown = "***" if "@" in address else repr(address[:200])
        faults.append(f"REDIS_ADDR={shown}: must be host:port, such as localhost:6379")
    tls = (environ.get("REDIS_TLS") or "false").lower()
    if tls not in TRUE | FALSE:
        faults.append(f"REDIS_TLS={tls!r}: must be one of 1 t true 0 f false")
    user, password = environ.get("REDIS_USERNAME") or "", environ.get("REDIS_PASSWORD") or ""
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    return f"{'rediss' if tls in TRUE else 'redis'}://{credentials}{address}"


#: What REDIS_URL may say behind a `?`, and a pattern for it. Other options of redis-py change what answers mean, or the
#: limits of time that the queue counts on: a job's answer would be lost.
_TEXT, _YES_NO = r"(?s).+", "(?i)true|false|yes|no|1|0"
REDIS_OPTIONS = {
    "client_name": "[!-~]+", "db": "[0-9]{1,9}", "password": _TEXT, "username": _TEXT, "ssl_ca_certs": _TEXT,
    "ssl_ca_data": _TEXT, "ssl_ca_path": _TEXT, "ssl_cert_reqs": "none|optional|required", "ssl_certfile": _TEXT,
    "ssl_check_hostname": _YES_NO, "ssl_ciphers": _TEXT, "ssl_keyfile": _TEXT, "ssl_password": _TEXT,
    "sentinel_password": _TEXT, "sentinel_username": _TEXT,
}  # fmt: skip
#: Named where they are refused; what else stands there may be a piece of a password.
_REFUSED_OPTIONS = frozenset({
    "connection_class", "credential_provider", "decode_responses", "driver_info", "encoder_class", "encoding",
    "encoding_errors", "health_check_interval", "host", "legacy_responses", "lib_name", "lib_version",
    "maint_notifications_config", "max_connections", "parser_class", "path", "port", "protocol", "redis_connect_func",
    "retry", "retry_on_error", "retry_on_timeout", "single_connection_client", "socket_connect_timeout",
    "socket_keepalive", "socket_keepalive_options", "socket_read_size", "socket_timeout", "socket_type",
    "ssl_exclude_verify_flags", "ssl_include_verify_flags", "ssl_min_version", "ssl_validate_ocsp", "timeout",
})  # fmt: skip
SOCKET_PATH_MAX = 107  #: bytes


def _redis_fault(url: str) -> str | None:
    """What is wrong with the hosts, the path or the options of a URL whose form is right. Shows nothing of it."""
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
    fault = _options_fault(parts.query, parts.scheme)
    if parts.scheme == "unix":
        socket = unquote(parts.path).encode()
        if not socket or b"\0" in socket or len(socket) > SOCKET_PATH_MAX:
            return f"must name a socket, in 1 to {SOCKET_PATH_MAX} bytes: unix:///run/redis.sock"
        return fault
    address = parts.netloc.rpartition("@")[2]
    hosts = address.split(",") if topology else [address]
    if topology and not all(urlsplit(f"//{host}").hostname for host in hosts):
        return f"a host is missing; must be {parts.scheme}://host:port,host:port..."
    if not all(map(_is_host, hosts)):
        return "a host or its port cannot be one; must be host:port, [IPv6]:port, with a port from 1 to 65535"
    if topology == "cluster":
        if path not in {"", "0"} or dict(parse_qsl(parts.query)).get("db", "0").strip("0"):
            return "a Cluster has no other databases: nothing may stand behind the hosts"
        return fault
    if topology == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            return f"must name the service: {parts.scheme}://host:port,host:port/service"
    if path and not re.fullmatch(REDIS_OPTIONS["db"], path):
        return "the path must end with the number of a database, such as /0"
    return fault


def _options_fault(query: str, scheme: str) -> str | None:
    allowed = [
        name for name in sorted(REDIS_OPTIONS)
        if ("ssl_" not in name or scheme.startswith("rediss")) and ("sentinel" not in name or "sentinel" in scheme)
    ]  # fmt: skip
    pairs = parse_qsl(query, keep_blank_values=True)
    if not _is_text(query) or (query and not pairs):
        return "has options that cannot be read"
    for name, value in pairs:
        if name not in allowed:
            known = name in _REFUSED_OPTIONS or name in REDIS_OPTIONS
            shown = f"the option {name}" if known else "an option behind ?"
            return f"{shown} is not taken here; allowed are {', '.join(allowed)} (a ? in a password is written %3F)"
        if not re.fullmatch(REDIS_OPTIONS[name], value):
            pattern = REDIS_OPTIONS[name]
            wanted = {_TEXT: "not be empty", _YES_NO: "be true or false", "[!-~]+": "be visible ASCII without blanks"}
            return f"the option {name} must {wanted.get(pattern, f'match {pattern}')}"
    return None


def _is_text(quoted: str | None) -> bool:
    try:
        unquote(quoted or "", errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _is_host(address: str) -> bool:
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


_SHOWN_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,30})://"
    r"(?:(?P<user>[^/?#@:]*)(?P<password>:[^/?#]*)?@|(?P<odd>[^/?#]*)@)?"
    r"(?P<hosts>[^/?#@]*)(?P<path>/[^?#@]*)?(?:\?[^#@]*)?"
)
_HOSTS = re.compile(r"(?:(?:\[[0-9a-zA-Z:.%]*\]|[^\s\[\]:,]*)(?::[0-9]{0,5})?(?:,|\Z))*")


def without_password(url: str) -> str:
    """`url` as it may be shown in a log or on a terminal.

    What stands where it may be a piece of a password is left out, a user without a password too. Where it is not sure
    which part is which (an unescaped / ? # or @ in a password), all but the scheme is.
    """
    match = _SHOWN_URL.fullmatch(url)
    if match is None or not _HOSTS.fullmatch(match["hosts"]) or not url.isprintable():
        scheme = re.match(r"[a-z][a-z0-9+.-]{0,30}(?=://)", url)
        return f"{scheme[0]}://***" if scheme else "***"
    user = ""
    if match["password"] not in {None, ":"}:
        user = f"{match['user']}@" if match["user"] else ""
    elif match["user"] or match["odd"]:
        user = "***@"
    return f"{match['scheme']}://{user}{match['hosts']}{match['path'] or ''}"
