"""POST /enqueue beside a bare ASGI app under the same Hypercorn, and bulk enqueue."""

from benchmarks.load import bulk, load
from benchmarks.processes import hypercorn, producer
from benchmarks.results import Figure, Sample
from benchmarks.servers import Servers

CONNECTIONS = 64
SECONDS = 4.0
LINES, LINES_ROWS, LINES_MEMORY = 200_000, 100_000, 1_000_000

BARE = "floor: a bare ASGI app on Hypercorn, 64 connections"
POST = "POST /enqueue, Redis only, 64 connections"
POST_ROWS = "POST /enqueue, with rows, 64 connections"
BULK = "POST /api/jobs/batch, Redis only, one client"
BULK_ROWS = "POST /api/jobs/batch, with rows, one client"
BULK_MEMORY = "the producer grows by, for 1,000,000 lines in one request"

FIGURES = [
    Figure(BARE, "requests/s"),
    Figure(POST, "requests/s", floor=BARE, share_at_least=0.8),
    Figure(POST_ROWS, "requests/s", floor=BARE, share_at_least=0.7),
    Figure(BULK, at_least=100_000),
    Figure(BULK_ROWS, at_least=40_000),
]
ONCE = [Figure(BULK_MEMORY, "MB", at_most=30)]


def measure(servers: Servers) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    with hypercorn("benchmarks.load:bare", {}) as (port, pid):
        load(port, pid, connections=CONNECTIONS, seconds=0.5)
        samples[BARE] = load(port, pid, connections=CONNECTIONS, seconds=SECONDS)
    for rows, post, lines, name in ((False, POST, LINES, BULK), (True, POST_ROWS, LINES_ROWS, BULK_ROWS)):
        with producer(servers.environ(rows=rows)) as (port, pid):
            load(port, pid, connections=CONNECTIONS, seconds=0.5)
            samples[post] = load(port, pid, connections=CONNECTIONS, seconds=SECONDS)
            samples[name], _ = bulk(port, pid, servers.jobs(lines))
    return samples


def measure_once(servers: Servers) -> dict[str, Sample]:
    with producer(servers.environ(rows=False)) as (port, pid):
        bulk(port, pid, 1000)
        _, grown = bulk(port, pid, servers.jobs(LINES_MEMORY))
    return {BULK_MEMORY: Sample(grown / 1e6)}
