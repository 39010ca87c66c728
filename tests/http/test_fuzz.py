"""A few seconds of mangled connections on a producer and a worker at once; `make fuzz` takes an hour."""

import random

import trio

from tests.http.fuzz import Found, fuzz, held, running_services, wait_until_settled

SECONDS = 6.0
PROBE_SECONDS = 25.0  #: `make fuzz` shows how long the slowest one took; here other tests run beside it


async def test_mangled_connections_end_nothing_and_leave_nothing(redis_url, queue_name):
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    found: dict[str, Found] = {}
    async with running_services(redis_url, queue_name) as targets:
        for target in targets:
            await fuzz(target.port, seed=-1, seconds=1, clients=4)  # what a first request brings along is no leak
        before = {target.pid: held(target.pid) for target in targets}
        async with trio.open_nursery() as nursery:
            for target in targets:

                async def attack(name: str = target.name, port: int = target.port) -> None:
                    found[name] = await fuzz(port, seed=seed, seconds=SECONDS, clients=8)

                nursery.start_soon(attack)
        for target in targets:
            await wait_until_settled(target.pid, before[target.pid])
    for service in ("producer", "worker"):
        assert found[service].attempts > 20
        assert found[service].slowest_seconds < PROBE_SECONDS
