"""The query of a list is read strictly: an unknown parameter or value is named, never ignored."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl
from uuid import uuid4

import pytest
from msgspec import structs
from werkzeug.datastructures import MultiDict

from workqueue.core.job_filter import JobFilter, PayloadMatch
from workqueue.services.http.responses import Refused
from workqueue.services.producer.parameters import EVENT_ID_MAX, EventsWanted, Filter, read_events_query, read_filter

STATUS = "status: must be one of pending, scheduled, retrying, processing, completed, failed, cancelled"
MOMENT = "must be a time with its offset, as 2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=0", "limit: must be a whole number from 1 to 500"),
        ("limit=501", "limit: must be a whole number from 1 to 500"),
        ("limit=-1", "limit: must be a whole number from 1 to 500"),
        ("limit=1.0", "limit: must be a whole number from 1 to 500"),
        ("limit=ten", "limit: must be a whole number from 1 to 500"),
        ("limit=%D9%A3", "limit: must be a whole number from 1 to 500"),
        ("limit=" + "9" * 5000, "limit: must be a whole number from 1 to 500"),
        ("limit=1&limit=2", "limit: must be given once"),
        (
            "status=done",
            STATUS,
        ),
        (
            "status=PENDING",
            STATUS,
        ),
        ("type=" + "t" * 201, "type: must have 1 to 200 characters, none of them NUL"),
        ("type=%00", "type: must have 1 to 200 characters, none of them NUL"),
        ("cursor=x", "cursor: must be one from the Link header of an answer"),
        ("cursor=%E2%98%83", "cursor: must be one from the Link header of an answer"),
        ("cursor=f_" + "_" * 30, "cursor: must be one from the Link header of an answer"),
        (
            "state=failed",
            "state: unknown parameter; allowed are status, type, queue, group, "
            "created_after, created_before, error, count, "
            "limit, cursor, payload.<name>",
        ),
        ("created_after=1h", f"created_after: {MOMENT}"),
        ("created_before=2026-01-31", f"created_before: {MOMENT}"),
        (
            "created_before=2026-01-31T12:00:00",
            f"created_before: {MOMENT}",
        ),
        (
            "created_after=0001-01-01T00:00:00%2B23:00",
            f"created_after: {MOMENT}",
        ),
        ("error=%00", "error: must have 1 to 1000 characters, none of them NUL"),
        ("error=" + "e" * 1001, "error: must have 1 to 1000 characters, none of them NUL"),
        ("count=yes", "count: must be capped"),
        ("payload.=1", "'payload.': must be names of members with dots between them, as payload.user.id"),
        ("payload.a..b=1", "'payload.a..b': must be names of members with dots between them, as payload.user.id"),
        ("payload.%0A=1", "'payload.\\n': must be names of members with dots between them, as payload.user.id"),
        ("payload.a=%00", "payload.a: must have at most 1000 characters, none of them NUL"),
        ("payload.a=1&payload.a=2", "payload.a: must be given once"),
        ("&".join(f"payload.{n}=1" for n in range(6)), "payload.<name>: at most 5 of them can be given"),
    ],
)
async def test_a_bad_parameter_is_named(client, redis_only, query, sentence):
    for each in (client, redis_only):
        answer = await each.get(f"/api/jobs?{query}")
        assert (answer.status_code, answer.text) == (400, sentence)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("query", ["limit=500", "limit=1", "type=' OR 1=1 --", "type=%25", "type=%F0%9F%90%98"])
async def test_a_strange_parameter_is_only_a_value(client, query):
    assert (await client.get(f"/api/jobs?{query}")).json() == []


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=1&before=2", "before=9999999999", "after=1"])
async def test_runs_that_are_asked_for_wrongly_are_refused(client, query):
    answer = await client.get(f"/api/jobs/{uuid4()}/runs?{query}")
    assert answer.status_code == 400
    assert answer.text.count("\n") == 0


def test_the_link_to_the_next_page_keeps_the_filter():
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    jobs = JobFilter(type="b&c=d", created_after=moment, error="no")
    given = Filter(jobs, (PayloadMatch(("a", "b"), "x y"),), 7, (datetime.now(UTC), uuid4()), counts=True)
    link = given.link("next")
    assert link == (
        "</api/jobs?type=b%26c%3Dd&error=no&created_after=2026-01-31T12%3A00%3A00%2B00%3A00&payload.a.b=x+y&limit=7"
        '&cursor=next>; rel="next"'
    )
    query = MultiDict(parse_qsl(link[link.index("?") + 1 : link.index(">")]))
    del query["cursor"]
    assert read_filter(query) == structs.replace(given, before=None, counts=False)


def events_wanted(query: str, *header: str) -> EventsWanted:
    return read_events_query(MultiDict(parse_qsl(query, keep_blank_values=True)), header)


def test_of_the_position_of_a_client_that_comes_back_the_header_counts():
    """A browser sends it, and the query as it was the first time."""
    assert events_wanted("last_event_id=1", "2").since == 2
    assert events_wanted("last_event_id=1").since == 1
    assert events_wanted("last_event_id=1", "").since == 1
    assert events_wanted("last_event_id=", "").since is None
    assert events_wanted("").since is None
    assert events_wanted("", str(EVENT_ID_MAX)).since == EVENT_ID_MAX


def test_jobs_to_watch_are_given_one_by_one():
    ids = [uuid4() for _ in range(20)]
    query = "&".join(f"job={job_id}" for job_id in ids)
    assert events_wanted(query).job_ids == set(ids)
    with pytest.raises(Refused, match="at most 20 times"):
        events_wanted(f"{query}&job={uuid4()}")


@pytest.mark.parametrize(
    ("query", "header"),
    [("job=", ()), ("job=x", ()), ("job=01a2268b", ()), ("jobs=1", ()), ("last_event_id=-1", ()),
     ("last_event_id=1&last_event_id=2", ()), ("last_event_id=1.5", ()), ("last_event_id=9007199254740993", ()),
     ("last_event_id=\u0663", ()), ("", ("x",)), ("", ("1", "2")), ("last_event_id=1", ("x",)), ("", ("9" * 5000,))],
)  # fmt: skip
def test_what_is_no_job_and_no_position_is_refused(query, header):
    with pytest.raises(Refused, match=r"^(job|jobs|Last-Event-ID, last_event_id): ") as refused:
        events_wanted(query, *header)
    assert refused.value.status == 400
