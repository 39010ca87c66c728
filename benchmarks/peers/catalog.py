"""Who is compared, as data: how each is installed, which server it needs, and its settings in each workload.

A setting is the best that the peer documents for the workload, tried against its neighbours on two cores; the job is
acknowledged after it has run wherever the peer can (the note says where it cannot).
"""

from enum import StrEnum

from msgspec import Struct


class Language(StrEnum):
    PYTHON = "python"
    NODE = "node"
    OURS = "ours"  #: runs in our own environment


class Server(StrEnum):
    REDIS = "redis"
    POSTGRES = "postgres"


class Setting(Struct, frozen=True):
    """How a peer's worker is set in one workload."""

    text: str  #: for the table
    concurrency: int = 1
    mode: str = ""  #: told to the peer's script
    jobs: int = 200  #: drain: the first trial, from whose rate N follows; sleep and latency: N
    processes: bool = False  #: jobs run in several processes, so each is reported by a write of its own
    poll_seconds: float = 0.0  #: it looks for jobs so often; latency gaps are drawn from as much


class Peer(Struct, frozen=True):
    name: str
    title: str
    language: Language
    package: str
    servers: tuple[Server, ...]
    drain: tuple[Setting, ...]
    sleep: tuple[Setting, ...]
    latency: tuple[Setting, ...]
    bulk: str  #: the call; empty: there is none
    note: str
    python_min: tuple[int, int] = (3, 11)
    enqueue_modes: tuple[Setting, ...] = (Setting("client"),)

    @property
    def folder(self) -> str:
        return self.name.replace("-", "_")


_REDIS, _POSTGRES = (Server.REDIS,), (Server.POSTGRES,)

PEERS = (
    Peer(
        name="workqueue",
        title="WorkQueue",
        language=Language.OURS,
        package="workqueue",
        servers=(Server.REDIS, Server.POSTGRES),
        drain=(
            Setting("Redis only, WORKER_CONCURRENCY 2", 2, "redis", 5000),
            Setting("Redis only, WORKER_CONCURRENCY 100", 100, "redis", 5000),
            Setting("with rows, WORKER_CONCURRENCY 2", 2, "rows", 2000),
            Setting("with rows, WORKER_CONCURRENCY 100", 100, "rows", 2000),
        ),
        sleep=(
            Setting("Redis only, WORKER_CONCURRENCY 1000", 1000, "redis", 5000),
            Setting("with rows, WORKER_CONCURRENCY 1000", 1000, "rows", 5000),
        ),
        latency=(
            Setting("Redis only, WORKER_CONCURRENCY 2", 2, "redis"),
            Setting("with rows, WORKER_CONCURRENCY 2", 2, "rows"),
        ),
        bulk="Submit.run_batch",
        note="Acknowledged after the job. Jobs enter by workqueue.core.steps.submit, as in the producer, without HTTP.",
        enqueue_modes=(Setting("Redis only", mode="redis"), Setting("with rows", mode="rows")),
    ),
    Peer(
        name="saq",
        title="SAQ",
        language=Language.PYTHON,
        package="saq",
        servers=_REDIS,
        drain=(Setting("concurrency 100", 100, jobs=1000),),
        sleep=(Setting("concurrency 1000", 1000, jobs=5000),),
        latency=(Setting("concurrency 10", 10),),
        bulk="",
        note="Acknowledged after the job. Each of its tasks waits on a connection of its own. No bulk enqueue.",
    ),
    Peer(
        name="arq",
        title="arq",
        language=Language.PYTHON,
        package="arq",
        servers=_REDIS,
        drain=(Setting("max_jobs 100, poll_delay 0.01", 100, jobs=500, poll_seconds=0.01),),
        sleep=(Setting("max_jobs 1000, poll_delay 0.01", 1000, jobs=5000, poll_seconds=0.01),),
        latency=(Setting("max_jobs 10, poll_delay 0.01", 10, poll_seconds=0.01),),
        bulk="",
        note="Acknowledged after the job. It polls: poll_delay is 0.5 s by default, and 0.01 s here, which idles at "
        "more CPU. No bulk enqueue.",
    ),
    Peer(
        name="taskiq",
        title="taskiq",
        language=Language.PYTHON,
        package="taskiq-redis",
        servers=_REDIS,
        drain=(Setting("RedisStreamBroker, 1 worker, max-async-tasks 100", 100, jobs=1000),),
        sleep=(Setting("RedisStreamBroker, 1 worker, max-async-tasks 1000", 1000, jobs=5000),),
        latency=(Setting("RedisStreamBroker, 1 worker, max-async-tasks 100", 100),),
        bulk="",
        note="Acknowledged after the job; on uvloop. Done jobs stay in the stream. No bulk enqueue.",
    ),
    Peer(
        name="dramatiq",
        title="Dramatiq",
        language=Language.PYTHON,
        package="dramatiq",
        servers=_REDIS,
        drain=(Setting("1 process, 16 threads", 16, jobs=1000),),
        sleep=(Setting("1 process, 100 threads", 100, jobs=2000),),
        latency=(Setting("1 process, 16 threads", 16),),
        bulk="",
        note="Acknowledged after the job. Threads, so the sleeping jobs are fewer and 100 at once. No bulk enqueue.",
    ),
    Peer(
        name="rq",
        title="RQ",
        language=Language.PYTHON,
        package="rq",
        servers=_REDIS,
        drain=(
            Setting("SimpleWorker", mode="simple", jobs=200),
            Setting("Worker, forks for each job", mode="fork", jobs=50, processes=True),
        ),
        sleep=(Setting("SimpleWorker, one job at a time", mode="simple", jobs=50),),
        latency=(
            Setting("SimpleWorker", mode="simple"),
            Setting("Worker, forks for each job", mode="fork", processes=True),
        ),
        bulk="Queue.enqueue_many",
        note="Acknowledged after the job (a registry of started jobs). One job at a time in a process, so few "
        "sleeping jobs. The SimpleWorker does not protect itself from a job that crashes.",
    ),
    Peer(
        name="celery",
        title="Celery",
        language=Language.PYTHON,
        package="celery",
        servers=_REDIS,
        drain=(
            Setting("pool threads, concurrency 2", 2, "threads", 1000),
            Setting("pool prefork, concurrency 2", 2, "prefork", 1000, processes=True),
        ),
        sleep=(Setting("pool gevent, concurrency 1000", 1000, "gevent", 5000),),
        latency=(Setting("pool threads, concurrency 2", 2, "threads"),),
        bulk="",
        note="task_acks_late, so acknowledged after the job; ignore_result, prefetch multiplier 64, no gossip, mingle "
        "or heartbeat. The prefork pool is three processes. No bulk enqueue.",
    ),
    Peer(
        name="huey",
        title="Huey",
        language=Language.PYTHON,
        package="huey",
        servers=_REDIS,
        drain=(Setting("2 threads", 2, "thread", 1000),),
        sleep=(Setting("1000 greenlets", 1000, "greenlet", 5000),),
        latency=(Setting("2 threads", 2, "thread"),),
        bulk="",
        note="NOT acknowledged: a job is removed from Redis before it runs, and lost with its worker. No bulk enqueue.",
    ),
    Peer(
        name="bullmq",
        title="BullMQ",
        language=Language.NODE,
        package="bullmq",
        servers=_REDIS,
        drain=(Setting("concurrency 100", 100, jobs=2000),),
        sleep=(Setting("concurrency 1000", 1000, jobs=5000),),
        latency=(Setting("concurrency 10", 10),),
        bulk="Queue.addBulk",
        note="Acknowledged after the job (a lock that is renewed). Done jobs are removed.",
    ),
    Peer(
        name="graphile-worker",
        title="graphile-worker",
        language=Language.NODE,
        package="graphile-worker",
        servers=_POSTGRES,
        drain=(
            Setting("concurrentJobs 24, localQueue 500, completeJobBatchDelay 0", 24, jobs=5000),
            Setting("concurrentJobs 1000, localQueue 10000, completeJobBatchDelay 50", 1000, "ahead", jobs=5000),
        ),
        sleep=(Setting("concurrentJobs 1000, localQueue 1001, completeJobBatchDelay 0", 1000, jobs=5000),),
        latency=(Setting("concurrentJobs 24, localQueue 500, completeJobBatchDelay 0", 24),),
        bulk="addJobs",
        note="Acknowledged after the job, in batches. Done jobs are deleted: no history. The first setting is that of "
        "its page on performance; the second locks 10,000 jobs ahead. The newest version for Node 20.",
    ),
    Peer(
        name="pg-boss",
        title="pg-boss",
        language=Language.NODE,
        package="pg-boss",
        servers=_POSTGRES,
        drain=(Setting("batchSize 5000, poll 0.5 s", 5000, jobs=20_000, poll_seconds=0.5),),
        sleep=(Setting("batchSize 1000, poll 0.5 s", 1000, jobs=5000, poll_seconds=0.5),),
        latency=(Setting("batchSize 1000, poll 0.5 s", 1000, jobs=20, poll_seconds=0.5),),
        bulk="insert",
        note="Acknowledged after the job, a batch as a whole. It polls, twice a second at the most, so its rate "
        "follows batchSize, and its latency is measured over 20 jobs. Done jobs are kept. "
        "The newest version for Node 20.",
    ),
    Peer(
        name="streaq",
        title="streaQ",
        language=Language.PYTHON,
        package="streaq",
        servers=_REDIS,
        drain=(Setting("concurrency 100, uvloop", 100, jobs=1000),),
        sleep=(Setting("concurrency 1000, uvloop", 1000, jobs=5000),),
        latency=(Setting("concurrency 16, uvloop", 16),),
        bulk="Worker.enqueue_many",
        note="Acknowledged after the job. Results are not kept (ttl 0).",
    ),
    Peer(
        name="docket",
        title="docket",
        language=Language.PYTHON,
        package="pydocket",
        servers=_REDIS,
        drain=(Setting("concurrency 100, minimum_check_interval 0.01", 100, jobs=500, poll_seconds=0.01),),
        sleep=(Setting("concurrency 1000, minimum_check_interval 0.01", 1000, jobs=5000, poll_seconds=0.01),),
        latency=(Setting("concurrency 10", 10),),
        bulk="Docket.add_many",
        note="Acknowledged after the job. Records of done jobs are not kept (execution_ttl 0). Its default of 0.25 s "
        "for minimum_check_interval would hold it to 4 times its concurrency a second.",
    ),
    Peer(
        name="oban",
        title="Oban for Python",
        language=Language.PYTHON,
        package="oban",
        servers=_POSTGRES,
        drain=(Setting("queue limit 500", 500, jobs=1000),),
        sleep=(Setting("queue limit 1000", 1000, jobs=5000),),
        latency=(Setting("queue limit 10", 10),),
        bulk="Oban.enqueue_many",
        note="Acknowledged after the job, in batches; on uvloop. Done jobs are kept. Without Oban Pro.",
        python_min=(3, 12),
    ),
)
