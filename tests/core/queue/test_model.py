"""The queue against a model of plain lists: random calls, and after each the two agree."""

from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.portal import Portal
from workqueue.core.queue import Keys, LeaseConnection, Queue, open_queue


class QueueMachine(RuleBasedStateMachine):
    """Two workers on one queue."""

    portal: Portal
    url: str

    @initialize()
    def start(self) -> None:
        name = f"test:{uuid4().hex}"
        self.resource = self.portal.running(open_queue(self.portal.bridge, self.url, name))
        self.queue: Queue = self.resource.__enter__()
        self.connection = LeaseConnection(self.url, Keys(name), seconds=3)
        self.leases: list[UUID] = [uuid4(), uuid4()]
        for lease in self.leases:
            self.connection.register(lease, b"{}")
        self.ready: list[bytes] = []
        self.front: list[bytes] = []
        self.scheduled: set[bytes] = set()  # in an hour
        self.due: list[bytes] = []
        self.dead = 0
        self.flights: list[dict[int, bytes]] = [{}, {}]
        self.next = [1, 1]
        self.last: list[tuple[int, int, dict[int, bytes]] | None] = [None, None]
        self.pushed = 0

    def teardown(self) -> None:
        if hasattr(self, "resource"):
            self.connection.close()
            self.resource.__exit__(None, None, None)

    @rule(count=st.integers(1, 6))
    def push(self, count: int) -> None:
        tasks = [b"task %d" % number for number in range(self.pushed, self.pushed + count)]
        self.pushed += count
        self.portal.call(self.queue.push, tasks)
        self.ready += tasks

    @rule()
    def move_one_to_the_front(self) -> None:
        """As a worker that waits, and then claims nothing."""
        if self.ready:
            move = ("LMOVE", self.queue.keys.ready, self.queue.keys.front, "LEFT", "RIGHT")
            self.portal.call(self.queue._command, *move)
            self.front.append(self.ready.pop(0))

    @rule(worker=st.integers(0, 1), limit=st.integers(1, 8))
    def claim(self, worker: int, limit: int) -> None:
        start = self.next[worker]
        claimed = self._claim(worker, start, limit)
        waiting = self.front + self.ready
        assert list(claimed.values()) == waiting[:limit]
        assert list(claimed) == list(range(start, start + len(claimed)))
        taken = len(claimed)
        self.ready = self.ready[max(0, taken - len(self.front)) :]
        self.front = self.front[taken:]
        self.flights[worker] |= claimed
        self.next[worker] = start + limit
        self.last[worker] = (start, limit, claimed)

    @rule(worker=st.integers(0, 1))
    def claim_again(self, worker: int) -> None:
        """The answer was lost: what is left of that claim, and nothing new."""
        if (last := self.last[worker]) is not None:
            start, limit, claimed = last
            left = {number: task for number, task in claimed.items() if number in self.flights[worker]}
            assert self._claim(worker, start, limit) == left

    @rule(worker=st.integers(0, 1), back=st.integers(1, 50))
    def claim_too_late(self, worker: int, back: int) -> None:
        last = self.last[worker]
        if last is not None and last[0] - back >= 0:
            assert self._claim(worker, last[0] - back, 5) == {}

    def _claim(self, worker: int, start: int, limit: int) -> dict[int, bytes]:
        async def call() -> dict[int, bytes]:
            return await self.queue.claim(self.leases[worker], start=start, count=limit)

        return self.portal.call(call)

    @rule(worker=st.integers(0, 1), data=st.data())
    def ack(self, worker: int, data: st.DataObject) -> None:
        numbers = data.draw(st.sets(st.sampled_from([*self.flights[worker], 10_000])))
        if numbers:
            acked = self.portal.call(self.queue.ack, self.leases[worker], sorted(numbers))
            assert acked == len(numbers - {10_000})
            for number in numbers - {10_000}:
                del self.flights[worker][number]

    @rule(worker=st.integers(0, 1), data=st.data(), later=st.booleans())
    def give_back(self, worker: int, data: st.DataObject, later: bool) -> None:
        numbers = sorted(data.draw(st.sets(st.sampled_from([*self.flights[worker], 10_000]))))
        if not numbers:
            return
        tasks = [(number, 3_600_000 if later else 0, b"") for number in numbers]
        answer = self.portal.call(self.queue.give_back, self.leases[worker], tasks)
        assert answer == {number: number != 10_000 for number in numbers}
        given = [self.flights[worker].pop(number) for number in numbers if number != 10_000]
        if later:
            self.scheduled |= set(given)
        else:
            self.ready = given + self.ready

    @rule(worker=st.integers(0, 1), data=st.data())
    def assign_ids(self, worker: int, data: st.DataObject) -> None:
        numbers = sorted(data.draw(st.sets(st.sampled_from([*self.flights[worker], 10_000]))))
        if numbers:
            named = [(number, b"named " + self.flights[worker].get(number, b"")) for number in numbers]
            answer = self.portal.call(self.queue.assign_ids, self.leases[worker], named)
            assert answer == [number != 10_000 for number in numbers]
            self.flights[worker] |= {number: task for number, task in named if number != 10_000}
            if (last := self.last[worker]) is not None:
                last[2].update({number: task for number, task in named if number in last[2]})

    @rule(worker=st.integers(0, 1), data=st.data())
    def bury(self, worker: int, data: st.DataObject) -> None:
        if self.flights[worker]:
            number = data.draw(st.sampled_from(list(self.flights[worker])))
            self.portal.call(self.queue.bury, self.leases[worker], [(number, b"dead")])
            del self.flights[worker][number]
            self.dead += 1

    @rule(count=st.integers(1, 3))
    def schedule(self, count: int) -> None:
        tasks = [b"task %d" % number for number in range(self.pushed, self.pushed + count)]
        self.pushed += count
        # Due for ever so long, each a day after the one before: promoted in this order, before everything else.
        self.portal.call(
            self.queue.schedule, [(-86_400_000 * (1000 - len(self.due) - i), task) for i, task in enumerate(tasks)]
        )
        self.due += tasks

    @rule()
    def promote(self) -> None:
        assert self.portal.call(self.queue.promote)[0] == len(self.due)
        self.ready += self.due
        self.due = []

    @rule(worker=st.integers(0, 1))
    def end_and_take_a_new_lease(self, worker: int) -> None:
        """What the old one holds is given back first, as a worker does that stops."""
        lease, flight = self.leases[worker], self.flights[worker]
        if not flight:
            assert not self.portal.call(self.queue.retire, lease), "it lives"
        self.portal.call(self.queue.end, lease)
        assert self.portal.call(self.queue.retire, lease) == (not flight)
        if flight:
            self.portal.call(self.queue.give_back, lease, [(number, 0, b"") for number in flight])
            self.ready = [flight[number] for number in sorted(flight)] + self.ready
            assert self.portal.call(self.queue.retire, lease)
        self.leases[worker] = uuid4()
        self.connection.register(self.leases[worker], b"{}")
        self.flights[worker], self.next[worker], self.last[worker] = {}, 1, None

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "queue"):
            return
        depths = self.portal.call(self.queue.depths)
        assert (depths.ready, depths.scheduled, depths.dead) == (
            len(self.ready) + len(self.front),
            len(self.scheduled) + len(self.due),
            self.dead,
        )
        assert set(self.portal.call(self.queue.workers)) == set(self.leases)
        for lease, flight in zip(self.leases, self.flights, strict=True):
            assert self.portal.call(self.queue.numbers, lease) == set(flight)


@pytest.fixture(autouse=True)
def _server(portal, valkey):
    QueueMachine.portal, QueueMachine.url = portal, valkey.url


QueueMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestQueue = QueueMachine.TestCase
