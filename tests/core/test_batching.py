import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from workqueue.core.batching import Batcher
from workqueue.core.errors import BatchFailed


async def test_callers_who_arrive_during_a_trip_share_the_next(autojump_clock: MockClock):
    trips: list[int] = []

    async def flush(items: list[int]) -> list[int]:
        trips.append(len(items))
        await trio.sleep(1)
        return [item * 2 for item in items]

    results: list[int] = []

    async def caller(item: int) -> None:
        results.append(await batcher.submit(item))

    batcher: Batcher[int, int] = Batcher(flush, batch_max=64, waiting_max=1000)
    async with trio.open_nursery() as services:
        await services.start(batcher.run)
        async with trio.open_nursery() as callers:
            for item in range(100):
                callers.start_soon(caller, item)
        services.cancel_scope.cancel()
    assert sorted(results) == [item * 2 for item in range(100)]
    assert sum(trips) == 100
    assert len(trips) <= 3


async def test_a_batch_is_bounded_in_bytes_and_a_large_item_goes_alone(autojump_clock: MockClock):
    trips: list[list[int]] = []

    async def flush(items: list[int]) -> list[int]:
        trips.append(items)
        await trio.sleep(1)
        return items

    batcher: Batcher[int, int] = Batcher(flush, batch_max=10, waiting_max=100, bytes_max=10, size=lambda item: item)
    async with trio.open_nursery() as services:
        async with trio.open_nursery() as callers:
            for item in (4, 4, 4, 50, 1):
                callers.start_soon(batcher.submit, item)
                await wait_all_tasks_blocked()
            await services.start(batcher.run)
        services.cancel_scope.cancel()
    assert trips == [[4, 4], [4], [50], [1]]


async def test_one_item_may_fail_alone(autojump_clock: MockClock):
    async def flush(items: list[int]) -> list[int | Exception]:
        return [ValueError("odd") if item % 2 else item for item in items]

    batcher: Batcher[int, int] = Batcher(flush, batch_max=10, waiting_max=100)
    async with trio.open_nursery() as services:
        await services.start(batcher.run)
        assert await batcher.submit(2) == 2
        with pytest.raises(ValueError, match="odd"):
            await batcher.submit(3)
        services.cancel_scope.cancel()


async def test_a_failed_trip_is_told_to_each_caller(autojump_clock: MockClock):
    async def flush(items: list[int]) -> list[int]:
        raise OSError("gone")

    batcher: Batcher[int, int] = Batcher(flush, batch_max=64, waiting_max=1000)
    errors = []

    async def caller() -> None:
        with pytest.raises(BatchFailed) as caught:
            await batcher.submit(1)
        errors.append(caught.value)

    async with trio.open_nursery() as services:
        await services.start(batcher.run)
        async with trio.open_nursery() as callers:
            callers.start_soon(caller)
            callers.start_soon(caller)
        services.cancel_scope.cancel()
    assert errors[0] is not errors[1]
    assert isinstance(errors[0].__cause__, OSError)


async def test_a_caller_that_hangs_up_before_the_trip_is_not_on_it(autojump_clock: MockClock):
    trips: list[list[int]] = []

    async def flush(items: list[int]) -> list[int]:
        trips.append(items)
        return items

    batcher: Batcher[int, int] = Batcher(flush, batch_max=10, waiting_max=100)
    async with trio.open_nursery() as services, trio.open_nursery() as callers:
        with trio.move_on_after(1):
            await batcher.submit(1)
        callers.start_soon(batcher.submit, 2)
        await wait_all_tasks_blocked()
        await services.start(batcher.run)
        await wait_all_tasks_blocked()
        services.cancel_scope.cancel()
    assert trips == [[2]]


async def test_without_room_the_caller_waits_and_then_is_told(autojump_clock: MockClock):
    async def flush(items: list[int]) -> list[int]:
        await trio.sleep(100)
        return items

    batcher: Batcher[int, int] = Batcher(flush, batch_max=1, waiting_max=1)
    async with trio.open_nursery() as services:
        await services.start(batcher.run)
        for item in range(2):
            services.start_soon(batcher.submit, item)
            await wait_all_tasks_blocked()
        begun = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await batcher.submit(9, enter_seconds=5)
        assert trio.current_time() - begun == 5
        services.cancel_scope.cancel()


async def test_no_caller_waits_for_a_batcher_that_has_ended(autojump_clock: MockClock):
    async def flush(items: list[int]) -> list[int]:
        await trio.sleep_forever()
        return items

    batcher: Batcher[int, int] = Batcher(flush, batch_max=1, waiting_max=10)

    async def caller() -> None:
        with pytest.raises((BatchFailed, trio.BrokenResourceError)):
            await batcher.submit(1)

    async with trio.open_nursery() as callers, trio.open_nursery() as services:
        await services.start(batcher.run)
        for _ in range(20):
            callers.start_soon(caller)
        await wait_all_tasks_blocked()
        services.cancel_scope.cancel()


async def test_a_batcher_that_has_ended_takes_nothing(autojump_clock: MockClock):
    async def flush(items: list[int]) -> list[int]:
        return items

    batcher: Batcher[int, int] = Batcher(flush, batch_max=1, waiting_max=10)
    async with trio.open_nursery() as services:
        await services.start(batcher.run)
        assert await batcher.submit(1) == 1
        services.cancel_scope.cancel()
    with pytest.raises(trio.BrokenResourceError):
        await batcher.submit(2)


async def test_a_caller_that_hangs_up_during_the_trip_costs_the_others_nothing(autojump_clock: MockClock):
    # 99 of 100 clients are answered; the trip itself is not broken off.
    done: list[int] = []

    async def flush(items: list[int]) -> list[int]:
        await trio.sleep(1)
        done.extend(items)
        return items

    batcher: Batcher[int, int] = Batcher(flush, batch_max=100, waiting_max=100)
    answered: list[int] = []

    async def caller(item: int) -> None:
        with trio.move_on_after(0.5 if item == 42 else 100):
            answered.append(await batcher.submit(item))

    async with trio.open_nursery() as services:
        async with trio.open_nursery() as callers:
            for item in range(100):
                callers.start_soon(caller, item)
            await wait_all_tasks_blocked()
            await services.start(batcher.run)
        services.cancel_scope.cancel()
    assert sorted(done) == list(range(100))
    assert sorted(answered) == [item for item in range(100) if item != 42]


async def test_a_flush_that_answers_for_too_few_fails_all_rather_than_leave_one_waiting(autojump_clock: MockClock):
    async def flush(items: list[int]) -> list[int]:
        return items[1:]

    batcher: Batcher[int, int] = Batcher(flush, batch_max=10, waiting_max=10)
    failed: list[int] = []

    async def caller(item: int) -> None:
        with pytest.raises(BatchFailed):
            await batcher.submit(item)
        failed.append(item)

    async with trio.open_nursery() as services:
        async with trio.open_nursery() as callers:
            for item in range(3):
                callers.start_soon(caller, item)
            await wait_all_tasks_blocked()
            await services.start(batcher.run)
        services.cancel_scope.cancel()
    assert sorted(failed) == [0, 1, 2]


async def test_the_order_of_the_callers_is_the_order_of_the_batch(autojump_clock: MockClock):
    trips: list[list[int]] = []

    async def flush(items: list[int]) -> list[int]:
        trips.append(items)
        return items

    batcher: Batcher[int, int] = Batcher(flush, batch_max=4, waiting_max=3, bytes_max=3, size=lambda item: 1)
    async with trio.open_nursery() as services:
        async with trio.open_nursery() as callers:
            for item in range(10):  # three in the channel, the others at its door
                callers.start_soon(batcher.submit, item)
                await wait_all_tasks_blocked()
            await services.start(batcher.run)
        services.cancel_scope.cancel()
    assert [item for trip in trips for item in trip] == list(range(10))
    assert max(map(len, trips)) <= 3
