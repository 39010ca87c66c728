"""The faults of a run and their times, drawn from a seed, so that a run can be repeated. Pure."""

from collections.abc import Iterator, Sequence
from random import Random

from msgspec import Struct

#: kind -> (weight, shortest and longest duration in seconds)
Kinds = dict[str, tuple[int, float, float]]

WORKER_FAULTS: Kinds = {
    "kill a worker": (4, 0.0, 0.0),
    "stop a worker": (3, 0.2, 6.0),
    "restart a worker": (3, 0.0, 0.0),
}
PRODUCER_FAULTS: Kinds = {
    "kill a producer": (2, 0.0, 0.0),
    "stop a producer": (2, 0.2, 3.0),
    "restart a producer": (1, 0.0, 0.0),
}
LINK_FAULTS: Kinds = {
    "cut connections": (3, 0.0, 0.0),
    "swallow answers": (3, 0.1, 2.0),
    "swallow requests": (2, 0.1, 2.0),
    "black hole": (1, 0.2, 4.0),
    "delay answers": (2, 0.5, 3.0),
    "refuse connections": (2, 0.2, 4.0),
}
REDIS_FAULTS: Kinds = {
    "kill Redis": (2, 0.0, 2.0),
    "stop Redis": (2, 0.3, 5.0),
    "restart Redis": (1, 0.0, 1.0),
}
POSTGRES_FAULTS: Kinds = {
    "kill Postgres": (2, 0.0, 2.0),
    "stop Postgres": (1, 0.3, 5.0),
    "stop one backend of Postgres": (1, 0.3, 5.0),
    "restart Postgres": (1, 0.0, 1.0),
}
LOSSES: Kinds = {
    "flush Redis": (1, 0.0, 0.0),
    "replace Redis by an empty one": (1, 0.0, 1.0),
}
PAUSE_SECONDS = 1.5  #: between the beginnings of two faults, on average; they overlap where they last


class Fault(Struct, frozen=True):
    """One fault: when it begins, how long it lasts, and a number that chooses one of several targets."""

    at: float
    kind: str
    seconds: float
    index: int


def plan(seed: int, kinds: Sequence[Kinds], pause_seconds: float = PAUSE_SECONDS) -> Iterator[Fault]:
    """The faults of a run, without end, `pause_seconds` apart on average; the same arguments give the same ones."""
    random = Random(seed)  # noqa: S311 - to be repeatable
    known = {name: values for group in kinds for name, values in group.items()}
    names, weights = list(known), [weight for weight, _, _ in known.values()]
    at = 0.0
    while True:
        at += random.uniform(0.1, 1.9) * pause_seconds
        [name] = random.choices(names, weights)
        _, shortest, longest = known[name]
        yield Fault(at, name, random.uniform(shortest, longest), random.randrange(1 << 16))
