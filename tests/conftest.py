"""Real servers, one a session; each test gets a queue name and a schema of its own instead of a flushed server."""

import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
from redis import Redis

from tests.support.invariants import EXPIRING
from tests.support.portal import Portal, open_portal
from tests.support.redis_cli import RedisCli, open_redis_cli
from tests.support.redis_sets import SETS, RedisSet
from tests.support.rows import Psql, open_psql
from tests.support.wheel import build_wheel
from workqueue.core.bridge import Bridge, open_bridge
from workqueue.core.queue import Queue, open_queue
from workqueue.core.store import JobStore, migrate, open_store
from workqueue.services.local.postgres import run_postgres
from workqueue.services.local.valkey import Server, run_valkey

#: Every key of a queue, by its name (core/queue/keys.py); those with an expiry: EXPIRING (support/invariants.py).
KNOWN_KEY = re.compile(
    r"(\{)?[A-Za-z0-9_.:-]+(?(1)\}:("
    r"limits|group_limits|front|leases|workers|scheduled|dead|checkpoint|rows|gone|pauses|parked(:.+)?|queues|bell|schedules|q:[A-Za-z0-9_-]+(:scheduled|:ring)?|lanes|grouped|ring|later|behind|blocked(:(?s:.)+)?|running|holders|not_before|g:(?s:.)+|"
    r"(flight|permits|suspect_starts|answer|asked):[0-9a-f-]{36}|(idem|unique):[0-9a-f]+))"
)

#: Run under nohup, or in the background of a script, we ignore them, and what is started here would, too.
for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended so, the run takes its servers down as well

#: No test depends on the machine being quick: the usual limit of an example, 200 ms, would, and so would that of its
#: making.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", tempfile.mkdtemp(prefix="hypothesis-"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """With autojump, an hour's timeout expires before a real socket's answer that comes after 0.2 s."""
    names = set(getattr(item, "fixturenames", ()))
    if "autojump_clock" in names and names & {"valkey", "postgres", "bridge", "queue", "store"}:
        pytest.fail("autojump_clock proves nothing together with real sockets", pytrace=False)


@pytest.fixture(scope="session")
def portal() -> Iterator[Portal]:
    """A Trio loop in a thread, for what lives as long as the session."""
    with open_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def valkey(portal: Portal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Redis of this session. Its last look: every key has an owner, or an expiry."""
    with portal.running(run_valkey(tmp_path_factory.mktemp("valkey"), durable=False)) as server:
        yield server
        strange = strange_keys(server.url)
        assert not strange, f"keys without an owner: {strange[:10]}"


def strange_keys(url: str) -> list[str]:
    """Keys with unknown names, and such that would stay for ever and should not."""
    with Redis.from_url(url) as redis:
        names = {bytes(key).decode(): key for key in redis.scan_iter(count=1000)}
        unknown = [name for name in names if not KNOWN_KEY.fullmatch(name)]
        kept = [name for name, key in names.items() if EXPIRING.search(name) and redis.ttl(key) == -1]
        usual = {name: b"list" if name.endswith(":gone") else b"string" for name in kept}
        return unknown + [name for name in kept if redis.type(names[name]) == usual[name]]


@pytest.fixture(scope="session")
def postgres(portal: Portal) -> Iterator[Server]:
    """The Postgres of this session."""
    # pytest's folders are closed to other users, and root runs Postgres as one.
    with (
        tempfile.TemporaryDirectory(prefix="workqueue-tests-", ignore_cleanup_errors=True) as folder,
        _opened(Path(folder)),
        portal.running(run_postgres(Path(folder), durable=False)) as server,
    ):
        yield server


class _opened:
    """A folder that other users may enter while the block lasts."""

    def __init__(self, folder: "os.PathLike[str]") -> None:
        self._folder = folder

    def __enter__(self) -> None:
        os.chmod(self._folder, 0o711)

    def __exit__(self, *_: object) -> None:
        os.chmod(self._folder, 0o700)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What users install; built once."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def redis_url(valkey: Server) -> str:
    return valkey.url


@pytest.fixture
def redis_port(valkey: Server) -> int:
    return valkey.port


@pytest.fixture(params=SETS)
async def redis_set(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RedisSet]:
    """A Sentinel set, and a Cluster, of this test's own. A module whose queues are there takes its URL as redis_url."""
    async with SETS[request.param](tmp_path) as redis_set:
        yield redis_set


@pytest.fixture
def postgres_dsn(postgres: Server) -> str:
    return postgres.url


@pytest.fixture
def queue_name() -> str:
    """A queue that no other test uses."""
    return f"test:{uuid4().hex}"


@pytest.fixture
def database_schema() -> str:
    """A schema that no other test uses."""
    return f"test_{uuid4().hex}"


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with open_bridge() as bridge:
        yield bridge


@pytest.fixture
async def queue(bridge: Bridge, redis_url: str, queue_name: str) -> AsyncIterator[Queue]:
    async with open_queue(bridge, redis_url, queue_name) as queue:
        yield queue


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisCli]:
    """Commands by hand, on the server of `queue`."""
    async with open_redis_cli(redis_url) as redis:
        yield redis


@pytest.fixture
async def store(bridge: Bridge, postgres_dsn: str, database_schema: str) -> AsyncIterator[JobStore]:
    """The rows, in a schema that is migrated."""
    await migrate(bridge, postgres_dsn, database_schema)
    async with open_store(bridge, postgres_dsn, database_schema) as store:
        yield store


@pytest.fixture
async def psql(bridge: Bridge, store: JobStore, postgres_dsn: str, database_schema: str) -> AsyncIterator[Psql]:
    """A psql session, in the schema of `store`."""
    async with open_psql(bridge, postgres_dsn, database_schema) as psql:
        yield psql


@pytest.fixture(params=["redis only", "postgres"])
def rows(request: pytest.FixtureRequest) -> JobStore | None:
    """Each test twice: without rows and with them."""
    found: JobStore | None = request.getfixturevalue("store") if request.param == "postgres" else None
    return found


@pytest.fixture
def psql_if_rows(request: pytest.FixtureRequest) -> object:
    """A psql session, where there are rows."""
    return request.getfixturevalue("psql") if request.node.callspec.params["rows"] == "postgres" else None
