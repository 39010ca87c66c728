"""Environment -> Settings. Every default stands here, once; core never reads os.environ itself."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Struct

from workqueue.core import api_tokens, database_url, redis_url
from workqueue.core.errors import InvalidSettings
from workqueue.core.queues import QueueChoice, read_queues

Port = Annotated[int, Meta(ge=0, le=65535)]

#: `90s`, `30m`, `12h`, `7d`, or `forever`.
Duration = Annotated[str, Meta(pattern=r"^(forever|[1-9][0-9]{0,5}[smhd])\Z")]
UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

TRUE, FALSE = {"1", "t", "true"}, {"0", "f", "false"}


class Keep(Struct, frozen=True):
    """For how many seconds after their end jobs are kept; None: for ever."""

    completed: float | None
    failed: float | None  #: cancelled ones too


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of the environment. Field name = variable name in lower case; units in the comments."""

    redis_url: str = "redis://localhost:6379"  #: built from REDIS_ADDR and the variables beside it where it is not set
    database_url: str | None = None
    database_schema: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}\Z")] = "workqueue"
    queue_name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}\Z")] = "workqueue:jobs"
    allowed_origins: str | None = None
    api_tokens: str | None = None  #: name:role:secret, separated by commas (core/api_tokens.py)
    api_tokens_file: str | None = None  #: the same, one a line; read again when it has changed
    require_tokens: bool = False  #: a producer without tokens does not start
    metrics_token: str | None = None  #: that the worker's port asks for
    allowed_hosts: str | None = None  #: names by which the services may be asked for, beside addresses and loopback's
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    producer_port: Port = 8080
    worker_port: Port = 8081
    max_body_bytes: Annotated[int, Meta(ge=1, le=1 << 30)] = 1 << 20  #: of one request, or of one job of a batch
    max_batch_bytes: Annotated[int, Meta(ge=1, le=1 << 50)] = 1 << 30  #: of a batch, which is streamed
    idempotency_ttl: Annotated[float, Meta(ge=1, le=31_536_000)] = 86_400.0  #: seconds
    worker_concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 2  #: jobs at once in one process
    worker_handlers: str | None = None  #: modules, separated by commas
    worker_runtime: str = "trio"  #: where coroutine functions run that do not say it themselves
    queues: str = "all"  #: which a worker takes jobs from (core/queues.py)
    shutdown_grace: Annotated[float, Meta(ge=0, le=86_400)] = 10.0  #: seconds
    cancel_grace: Annotated[float, Meta(ge=0, le=86_400)] = 5.0  #: seconds that a cancelled job may clean up
    lease_seconds: Annotated[float, Meta(ge=1, le=3600)] = 15.0
    max_recoveries: Annotated[int, Meta(ge=2, le=1000)] = 3
    max_interruptions: Annotated[int, Meta(ge=1, le=1_000_000)] = 100  #: runs cut short by a stop, of one job
    stall_limit: Annotated[float, Meta(ge=1, le=3600)] = 30.0  #: seconds
    retry_base_seconds: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    retry_cap_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 3600.0
    keep_completed: Duration = "7d"  #: for how long after its end the row of a job is kept
    keep_failed: Duration = "30d"  #: cancelled ones too
    smtp_url: str | None = None  #: where send_email delivers
    mail_from: str = "workqueue@localhost"
    image_folder: str | None = None  #: resize_image reads files below it, and no others
    log_level: str = "info"

    @property
    def origins(self) -> frozenset[str]:
        """The origins of ALLOWED_ORIGINS, as a browser writes them; empty: no CORS at all."""
        return frozenset(map(_as_browsers_write, _parts(self.allowed_origins)))

    @property
    def queue_choice(self) -> QueueChoice:
        """QUEUES."""
        return read_queues(self.queues)

    @property
    def hosts(self) -> frozenset[str]:
        """The names of ALLOWED_HOSTS; `*`: any."""
        return frozenset(part.lower().rstrip(".") for part in _parts(self.allowed_hosts))

    @property
    def keep(self) -> Keep:
        """How long jobs are kept after their end."""
        return Keep(_seconds(self.keep_completed), _seconds(self.keep_failed))

    @property
    def handler_modules(self) -> list[str]:
        return _parts(self.worker_handlers)


def _seconds(duration: str) -> float | None:
    """None: for ever."""
    return None if duration == "forever" else int(duration[:-1]) * UNIT_SECONDS[duration[-1]]


def _parts(text: str | None) -> list[str]:
    """The parts that commas separate."""
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

#: Settings that are no fields: what REDIS_URL is made of where it is not set, and names of the parts around us.
MORE = frozenset(
    {"REDIS_ADDR", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_TLS", "PORT"}
    | {"WORKQUEUE_HOME", "WORKQUEUE_TOKEN", "WORKQUEUE_CHAOS_LEDGER"}
)
CLOSE = 0.85  #: of 1.0: two letters of WORKER_CONCURRENCY may be wrong

#: Never shown, not even where they are wrong.
SECRET = frozenset({"redis_url", "redis_password", "database_url", "smtp_url", "api_tokens", "metrics_token"})
COROUTINE_RUNTIMES = ("trio", "asyncio")
LOG_LEVELS = ("debug", "info", "warning", "error")


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read what is set (empty counts as unset); raise InvalidSettings with every fault, not only the first."""
    read = _Reader(environ)
    for field in msgspec.structs.fields(Settings):
        if field.name not in {"redis_url", "database_url", "producer_port", "worker_port"}:
            read.variable(field.name.upper(), field.type, field.name)
    for name in ("producer_port", "worker_port"):
        read.variable(name.upper() if environ.get(name.upper()) else "PORT", Port, name)
    values, faults = read.values, read.faults
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


def misspelt(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like one of ours and are none -> the one that is probably meant."""
    known = {field.name.upper() for field in msgspec.structs.fields(Settings)} | MORE
    first_words = {each.partition("_")[0] for each in known}
    unknown = [name for name in environ if name not in known and name.partition("_")[0] in first_words]
    close = {name: get_close_matches(name, known, 1, CLOSE) for name in unknown}
    return {name: meant[0] for name, meant in close.items() if meant}


class _Reader:
    """Variables that msgspec can convert. Mutable state: the values and the faults found so far."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.values: dict[str, object] = {}
        self.faults: list[str] = []

    def variable(self, variable: str, kind: Any, name: str) -> None:
        """Read `variable`, where it is set, into the field `name` of type `kind`."""
        if not (text := self._environ.get(variable)):
            return
        try:
            self.values[name] = msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError as error:
            self.faults.append(f"{variable}={_shown(variable, text)}: {_in_words(error)}")


def _shown(variable: str, text: str) -> str:
    return "***" if variable.lower() in SECRET else repr(text[:200])


def _in_words(error: msgspec.ValidationError) -> str:
    """What is allowed, without the names of our types."""
    text = str(error)
    if text == "Expected `bool`, got `str`":
        return "must be 1 or 0"
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
    tokens = values.get("api_tokens")
    if isinstance(tokens, str):
        faults += [f"API_TOKENS=***: {fault}" for fault in api_tokens.read_setting(tokens)[1]]
        if values.get("api_tokens_file"):
            faults.append("API_TOKENS_FILE: API_TOKENS is set as well: set one of both")
    token = values.get("metrics_token")
    if isinstance(token, str) and (fault := api_tokens.secret_fault(token)):
        faults.append(f"METRICS_TOKEN=***: {fault}")
    queues = values.get("queues")
    if isinstance(queues, str):
        try:
            read_queues(queues)
        except InvalidSettings as error:
            faults += error.faults
    level = values.get("log_level", "info")
    if level not in LOG_LEVELS:
        faults.append(f"LOG_LEVEL={level!r}: must be one of {', '.join(LOG_LEVELS)}")
    runtime = values.get("worker_runtime", "trio")
    if runtime not in COROUTINE_RUNTIMES:
        faults.append(f"WORKER_RUNTIME={runtime!r}: must be one of {', '.join(COROUTINE_RUNTIMES)}")
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
        if fault := _url_fault(url, redis_url.SCHEMES) or redis_url.fault(url):
            faults.append(f"REDIS_URL=***: {fault}")
        return url
    address = environ.get("REDIS_ADDR") or "localhost:6379"
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):(\d{1,5})", address)
    if not match or not redis_url.is_host(address):
        shown = "***" if "@" in address else repr(address[:200])
        faults.append(f"REDIS_ADDR={shown}: must be host:port, such as localhost:6379")
    tls = (environ.get("REDIS_TLS") or "false").lower()
    if tls not in TRUE | FALSE:
        faults.append(f"REDIS_TLS={tls!r}: must be one of 1 t true 0 f false")
    user, password = environ.get("REDIS_USERNAME") or "", environ.get("REDIS_PASSWORD") or ""
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    return f"{'rediss' if tls in TRUE else 'redis'}://{credentials}{address}"


_SHOWN_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,30})://"
    r"(?:(?P<user>[^/?#@:]*)(?P<password>:[^/?#]*)?@|(?P<odd>[^/?#]*)@)?"
    r"(?P<hosts>[^/?#@]*)(?P<path>/[^?#@]*)?(?:\?[^#@]*)?"
)
_HOSTS = re.compile(r"(?:(?:\[[0-9a-zA-Z:.%]*\]|[^\s\[\]:,]*)(?::[0-9]{0,5})?(?:,|\Z))*")


def without_password(url: str) -> str:
    """`url` as it may be shown in a log or on a terminal.

    Leaves out every part that may be a piece of a password, a user without a password too. Where the parts cannot be
    told apart (an unescaped / ? # or @ in a password), only the scheme is shown.
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
