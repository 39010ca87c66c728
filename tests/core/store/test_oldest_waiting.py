"""The floors alone: what is forgotten, and when."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.store.oldest_waiting import KEPT_MAX, KEPT_SECONDS, LEFT_MAX, UNKNOWN, Floor, OldestWaiting

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = [("q", None), ("q", "x"), ("q", "y"), ("other", None), ("other", "x")]


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def test_a_floor_that_was_never_set_is_unknown():
    assert OldestWaiting(Clock()).floor("q", "x") == Floor(UNKNOWN, 50.0)


def test_a_floor_rises_and_never_sinks():
    floors = OldestWaiting(Clock())
    for learned, expected in ((5, 5), (9, 9), (7, 9)):
        floors.learn("q", "x", at(learned), [], floors.floor("q", "x"))
        assert floors.floor("q", "x").created_at == at(expected)


def test_what_is_true_of_all_types_is_true_of_each_and_not_the_other_way_round():
    floors = OldestWaiting(Clock())
    floors.learn("q", "x", at(9), [], floors.floor("q", "x"))
    assert floors.floor("q", None).created_at == UNKNOWN
    assert floors.floor("q", "y").created_at == UNKNOWN
    floors.learn("q", None, at(5), [], floors.floor("q", None))
    assert floors.floor("q", "y").created_at == at(5)
    assert floors.floor("q", "x").created_at == at(9)
    assert floors.floor("other", "x").created_at == UNKNOWN


def test_a_floor_that_rests_on_others_is_forgotten_with_the_first_of_them():
    floors, begun = OldestWaiting(clock := Clock()), Clock.now
    while clock.now < begun + KEPT_SECONDS:
        used = floors.floor("q", "x")
        assert used.since == begun
        floors.learn("q", "x", at(clock.now), [], used)
        clock.now += KEPT_SECONDS / 10
    assert floors.floor("q", "x") == Floor(UNKNOWN, clock.now)


def test_a_page_that_was_read_meanwhile_with_a_lower_floor_changes_nothing():
    floors = OldestWaiting(Clock())
    slow = floors.floor("q", "x")
    floors.learn("q", "x", at(9), [], floors.floor("q", "x"))
    floors.learn("q", "x", at(3), [], slow)
    assert floors.floor("q", "x").created_at == at(9)


def test_a_floor_that_was_forgotten_does_not_come_back_with_a_lower_one():
    floors = OldestWaiting(clock := Clock())
    floors.learn("q", "x", at(9), [], floors.floor("q", "x"))
    clock.now += KEPT_SECONDS
    floors.learn("q", "x", at(3), [], floors.floor("q", "x"))
    assert floors.floor("q", "x") == Floor(at(3), clock.now)


def test_types_that_come_from_outside_push_out_those_that_were_asked_for_least_lately():
    floors = OldestWaiting(Clock())
    for n in range(3 * KEPT_MAX):
        for job_type in ("polled", f"t{n}"):
            floors.learn("q", job_type, at(n), [], floors.floor("q", job_type))
        assert len(floors._floors) <= KEPT_MAX
    assert floors.floor("q", "polled").created_at == at(3 * KEPT_MAX - 1)
    assert floors.floor("q", "t0").created_at == UNKNOWN


def test_a_few_that_wait_do_not_hold_the_floor_down_and_many_do():
    floors = OldestWaiting(Clock())
    waiting = [(at(n), UUID(int=n)) for n in range(LEFT_MAX + 7, 0, -1)]
    floors.learn("q", "x", at(10), waiting, floors.floor("q", "x"))
    assert floors.floor("q", "x") == Floor(at(10), Clock.now, tuple(UUID(int=n) for n in range(1, 10)))
    floors.learn("q", "x", at(1000), waiting, floors.floor("q", "x"))
    left = tuple(UUID(int=n) for n in range(1, LEFT_MAX + 1))
    assert floors.floor("q", "x") == Floor(at(LEFT_MAX + 1), Clock.now, left)
    floors.learn("q", "x", at(1000), waiting[10:20], floors.floor("q", "x"))
    assert set(floors.floor("q", "x").left) == {job_id for _, job_id in waiting[10:20]}, "the others wait no more"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.integers(0, 20),  # what a page finds
        st.integers(0, 3),  # so many steps later its answer comes
        st.sampled_from([0.0, 1.0, KEPT_SECONDS / 3]),  # so long passes
    ),
    max_size=30,
)


@given(STEPS)
def test_it_is_never_higher_than_what_one_remembers_who_forgets_nothing(steps):
    floors = OldestWaiting(clock := Clock())
    learned: list[tuple[tuple[str, str | None], datetime, float]] = []
    answers: list[tuple[int, tuple[str, str | None], datetime, Floor]] = []
    for number, (key, height, later, seconds) in enumerate(steps):
        answers.append((number + later, key, at(height), floors.floor(*key)))
        for due, answered, created_at, used in answers:
            if due == number:
                floors.learn(*answered, created_at, [], used)
                learned.append((answered, created_at, used.since))
        clock.now += seconds
        for queue, job_type in KEYS:
            fresh = [
                (created_at, since)
                for (of_queue, of_type), created_at, since in learned
                if of_queue == queue and of_type in (job_type, None) and clock.now - since < KEPT_SECONDS
            ]
            found = floors.floor(queue, job_type)
            if clock.now - Clock.now < KEPT_SECONDS:  # nothing has been forgotten
                assert found == Floor(*max(fresh, default=(UNKNOWN, clock.now)))
            assert found == Floor(UNKNOWN, clock.now) or (found.created_at, found.since) in fresh
