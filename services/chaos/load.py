"""The clients of a chaos run: they enqueue over HTTP, and remember what they were told."""

from collections.abc import Sequence
from random import Random

import httpx
import trio
from msgspec import Struct

ANSWER_SECONDS = 20.0
CLIENTS = 16
RETRIES = 3


class Told(Struct):
    """What the clients were told, by the number that each job carries. Mutable state: the sets, and what was wrong."""

    accepted: set[int]
    refused: set[int]
    unknown: set[int]  #: no answer came
    violations: list[str]


class Load:
    """Enqueues `jobs` jobs at an even pace over `seconds`. Mutable state: the next number, and what was told."""

    def __init__(self, producers: Sequence[str], *, jobs: int, seconds: float, seed: int) -> None:
        self._producers = producers
        self._jobs = jobs
        self._pause = seconds / jobs
        self._random = Random(seed)  # noqa: S311 - to be repeatable
        self._next = 0
        self.told = Told(set(), set(), set(), [])

    async def run(self) -> None:
        """Until so many jobs were accepted."""
        self._begun = trio.current_time()
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        async with (
            httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=limits) as client,
            trio.open_nursery() as nursery,
        ):
            for _ in range(CLIENTS):
                nursery.start_soon(self._enqueue, client)

    async def _enqueue(self, client: httpx.AsyncClient) -> None:
        while len(self.told.accepted) < self._jobs:
            number, self._next = self._next, self._next + 1
            await trio.sleep_until(self._begun + number * self._pause)
            url = self._random.choice(self._producers)
            try:
                response = await client.post(f"{url}/enqueue", json=self._task(number))
            except httpx.HTTPError:
                self.told.unknown.add(number)
                await trio.sleep(0.05)
                continue
            if response.status_code == 200:
                self.told.accepted.add(number)
            elif response.status_code == 500:
                self.told.refused.add(number)
            else:
                self.told.violations.append(f"job {number}: {response.status_code} {response.text[:100]}")

    def _task(self, number: int) -> dict[str, object]:
        random = self._random
        kind = random.choices(["quick", "naps", "fails", "thread"], [60, 25, 10, 5])[0]
        payload: dict[str, object] = {"n": number}
        if kind in {"naps", "thread"}:
            payload["seconds"] = round(random.uniform(0, 0.15), 3)
        if kind == "fails":
            payload["failures"] = random.randint(1, RETRIES + 2)
        return {"type": f"chaos.{kind}", "retries": RETRIES, "payload": payload}
