"""A step beats for the loop that runs it."""

import trio

from workqueue.core.steps.heartbeat import beat, beating_for


async def test_a_step_beats_for_the_loop_that_runs_it_and_for_no_other():
    beats: dict[str, list[float]] = {"a": [], "b": []}

    async def loop(name: str, seconds: float) -> None:
        with beating_for(beats[name].append):
            await trio.lowlevel.checkpoint()
            beat(seconds)
            async with trio.open_nursery() as below:
                below.start_soon(step, seconds + 1)

    async def step(seconds: float) -> None:
        beat(seconds)

    async with trio.open_nursery() as loops:
        loops.start_soon(loop, "a", 1)
        loops.start_soon(loop, "b", 10)
    assert beats == {"a": [1, 2], "b": [10, 11]}


def test_a_beat_outside_of_every_loop_does_nothing_and_an_outer_loop_is_restored():
    outer: list[float] = []
    inner: list[float] = []
    beat(1)
    with beating_for(outer.append):
        with beating_for(inner.append):
            beat(2)
        beat(3)
    beat(4)
    assert (outer, inner) == ([3], [2])
