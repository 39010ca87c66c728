"""The query of a list is read strictly: an unknown parameter or value is named, never ignored."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from workqueue.services.producer.parameters import Filter


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
        ("status=done", "status: must be one of pending, processing, completed, failed, cancelled"),
        ("status=PENDING", "status: must be one of pending, processing, completed, failed, cancelled"),
        ("type=" + "t" * 201, "type: must have 1 to 200 characters, none of them NUL"),
        ("type=%00", "type: must have 1 to 200 characters, none of them NUL"),
        ("cursor=x", "cursor: must be one from the Link header of an answer"),
        ("cursor=%E2%98%83", "cursor: must be one from the Link header of an answer"),
        ("cursor=f_" + "_" * 30, "cursor: must be one from the Link header of an answer"),
        ("state=failed", "state: unknown parameter; allowed are status, type, limit, cursor"),
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
    given = Filter(job_type="b&c=d", limit=7, before=(datetime.now(UTC), uuid4()))
    assert given.link("next") == '</api/jobs?type=b%26c%3Dd&limit=7&cursor=next>; rel="next"'
