"""Artifacts as a browser gets them: shown or saved, and never run on our origin."""

from uuid import UUID

import pytest

from tests.producer.rows import claim, details, enqueue, finish
from workqueue.core.job import Artifact, JobState


async def with_artifacts(client, store, queue, *artifacts: Artifact) -> UUID:
    job_id = await enqueue(client)
    token = await claim(store, queue, job_id)
    await finish(store, job_id, token, JobState.COMPLETED, artifacts=artifacts)
    return job_id


async def test_an_artifact_is_listed_and_sent(client, store, queue):
    big = bytes(range(256)) * 4 * 1024 * 10  # 10 MiB
    two = [Artifact("b.png", "image/png", b"\x89PNG"), Artifact("a.bin", "application/x-own", big)]
    job_id = await with_artifacts(client, store, queue, *two)
    assert (await details(client, job_id))["artifacts"] == [
        {"name": "a.bin", "content_type": "application/x-own", "bytes": len(big)},
        {"name": "b.png", "content_type": "image/png", "bytes": 4},
    ]
    first = await client.get(f"/api/jobs/{job_id}/artifact")
    assert (first.content, first.headers["content-type"]) == (big, "application/x-own")
    named = await client.get(f"/api/jobs/{job_id}/artifact", params={"name": "b.png"})
    assert (named.content, named.headers["content-type"]) == (b"\x89PNG", "image/png")
    for name in ("c", "\0", "../b.png"):
        missing = await client.get(f"/api/jobs/{job_id}/artifact", params={"name": name})
        assert (missing.status_code, missing.text) == (404, "artifact not found")


async def test_a_job_without_artifacts_says_so(client):
    answer = await client.get(f"/api/jobs/{await enqueue(client)}/artifact")
    assert (answer.status_code, answer.text) == (404, "artifact not found")


@pytest.mark.parametrize(
    ("content_type", "how"),
    [
        ("image/png", "inline"),
        ("IMAGE/JPEG; q=1", "inline"),
        ("application/pdf", "inline"),
        ("text/plain", "inline"),
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("text/xml", "attachment"),
        ("application/javascript", "attachment"),
        ("nonsense", "attachment"),
        ("", "attachment"),
    ],
)
async def test_nothing_in_an_artifact_may_run_on_our_origin(client, store, queue, content_type, how):
    job_id = await with_artifacts(client, store, queue, Artifact("x", content_type, b"<script>alert(1)</script>"))
    headers = (await client.get(f"/api/jobs/{job_id}/artifact")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"].startswith(f"{how}; ")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert ("sandbox" in headers["content-security-policy"]) == (content_type != "application/pdf")
    assert "/" in headers["content-type"]


async def test_the_name_of_an_artifact_survives(client, store, queue):
    name = 'größe "x"; \\ 100%.txt'
    job_id = await with_artifacts(client, store, queue, Artifact(name, "text/plain", b"x"))
    disposition = (await client.get(f"/api/jobs/{job_id}/artifact")).headers["content-disposition"]
    assert disposition == (
        "inline; filename=\"gr__e _x_; _ 100_.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%22x%22%3B%20%5C%20100%25.txt"
    )
