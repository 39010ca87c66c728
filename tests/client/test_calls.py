"""A call by itself: what is sent again and for how long, and what is raised at the end, whatever happens on the way."""

from dataclasses import dataclass
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.client import MaybeEnqueued, NotEnqueued, Queued, Refused, Task, Unavailable, calls
from workqueue.client.calls import Answer, NoAnswer, NotSent, Pause, Send

SECONDS = 5.0
JOB = UUID(int=7)
ACCEPTED = Answer(200, b'{"status":"queued","job_id":"%s","new_field":[1]}' % str(JOB).encode())


@dataclass
class Server:
    """Answers the n-th send with the n-th of what happens (the last one again and again), each after `seconds`."""

    happens: list[object]
    seconds: float
    now: float = 100.0

    def __post_init__(self):
        self.sends: list[Send] = []

    def run(self, call):
        step = next(call)
        try:
            while True:
                assert self.now <= 100 + SECONDS + 1e-6, "nothing begins after the deadline"
                if isinstance(step, Pause):
                    self.now += step.seconds
                    step = call.send(None)
                    continue
                self.sends.append(step)
                what = self.happens[min(len(self.sends), len(self.happens)) - 1]
                self.now += min(self.seconds, step.seconds)
                step = call.throw(what) if isinstance(what, Exception) else call.send(what)
        except StopIteration as end:
            return end.value


def outcome(call, server):
    try:
        return server.run(call)
    except (Refused, Unavailable) as error:
        return error


@pytest.fixture(autouse=True)
def clocks(monkeypatch):
    """Of the server that a test has made last."""

    def use(server):
        monkeypatch.setattr(calls.Trips.__init__, "__defaults__", (lambda: server.now,))
        return server

    return use


LOST = st.one_of(
    st.builds(NotSent, st.just("refused")),
    st.builds(NoAnswer, st.just("reset")),
    st.sampled_from([Answer(500, b"failed to persist job"), Answer(503, b"busy"), Answer(429, b"too many")]),
)


@given(happens=st.lists(LOST, max_size=20), is_answered=st.booleans(), seconds=st.floats(0.001, 3))
def test_one_job_is_sent_again_under_its_key_until_it_is_answered_or_the_time_is_over(happens, is_answered, seconds):
    server = Server([*happens, ACCEPTED] if is_answered or not happens else happens, seconds)
    patch = pytest.MonkeyPatch()
    patch.setattr(calls.Trips.__init__, "__defaults__", (lambda: server.now,))
    try:
        found = outcome(calls.enqueue(Task("x"), key=None, seconds=SECONDS), server)
    finally:
        patch.undo()
    assert len({send.headers["Idempotency-Key"] for send in server.sends}) == 1
    assert {(send.method, send.path) for send in server.sends} == {("POST", "/enqueue")}
    assert len({send.body for send in server.sends}) == 1
    met = [
        each for each, _ in zip(server.happens + server.happens[-1:] * len(server.sends), server.sends, strict=False)
    ]
    if ACCEPTED in met:
        assert found == Queued(JOB)
    elif any(isinstance(each, NoAnswer) or (isinstance(each, Answer) and each.status == 500) for each in met):
        assert isinstance(found, MaybeEnqueued)
        assert found.idempotency_key == server.sends[0].headers["Idempotency-Key"]
    else:
        assert isinstance(found, NotEnqueued)
    assert server.now <= 100 + SECONDS + 1e-6


@pytest.mark.parametrize("status", [400, 404, 405, 413, 421])
def test_a_refusal_is_not_sent_again(clocks, status):
    server = clocks(Server([Answer(status, b"no")], 0.1))
    with pytest.raises(Refused, match="no"):
        server.run(calls.enqueue(Task("x"), key="k", seconds=SECONDS))
    assert len(server.sends) == 1


@pytest.mark.parametrize("what", [NoAnswer("reset"), Answer(500, b"failed to persist job")])
def test_what_may_not_be_done_twice_is_not_sent_again_once_it_may_have_arrived(clocks, what):
    server = clocks(Server([NotSent("refused"), Answer(503, b"busy"), what], 0.1))
    with pytest.raises(MaybeEnqueued) as maybe:
        server.run(calls.enqueue_chunk([b"{}"], seconds=SECONDS, answered=40))
    assert (len(server.sends), maybe.value.answered) == (3, 40)
    server = clocks(Server([what], 0.1))
    with pytest.raises(Unavailable, match="it may have been done"):
        server.run(calls.act(JOB, "retry", repeats=False, seconds=SECONDS))
    assert len(server.sends) == 1


@given(sizes=st.lists(st.integers(0, 50), max_size=60), chunk=st.integers(1, 20))
def test_tasks_are_cut_into_requests_in_their_order(sizes, chunk):
    cut = calls.Chunks(chunk)
    requests = [lines for size in sizes if (lines := cut.add(Task("x", {"a": "x" * size}))) is not None]
    if (rest := cut.rest()) is not None:
        requests.append(rest)
    assert [len(msgspec.json.decode(line)["payload"]["a"]) for lines in requests for line in lines] == sizes
    assert all(0 < len(lines) <= chunk for lines in requests)
    assert cut.rest() is None


def test_a_request_has_not_too_many_bytes(monkeypatch):
    monkeypatch.setattr(calls, "CHUNK_BYTES_MAX", 100)
    cut = calls.Chunks(1000)
    assert cut.add(Task("x", {"a": "y" * 200})) is None, "one that is larger goes alone"
    assert cut.add(Task("x")) is not None
    with pytest.raises(ValueError, match="at least 1"):
        calls.Chunks(0)


def test_an_answer_with_too_few_lines_is_no_success(clocks):
    server = clocks(Server([Answer(200, b'{"index":0}\n{"index":1,"error":"too many batches at once"}')], 0.1))
    with pytest.raises(MaybeEnqueued, match="answered 2 of 3"):
        server.run(calls.enqueue_chunk([b"{}"] * 3, seconds=SECONDS, answered=0))
