import pytest

from workqueue.core.errors import ArtifactRefused
from workqueue.core.job import (
    ARTIFACT_BYTES_MAX,
    ARTIFACTS_MAX,
    TERMINAL,
    TRANSITIONS,
    Artifact,
    Job,
    JobState,
    Standalone,
)


def job(*, keeps_artifacts: bool = True) -> Job:
    return Job(id="1", type="x", payload={}, attempt=1, retries=0, context=Standalone(keeps_artifacts=keeps_artifacts))


def test_the_table_of_states_is_closed():
    assert set(TRANSITIONS) == set(JobState)
    assert not TRANSITIONS[JobState.COMPLETED], "a completed job is copied, never reopened"
    assert frozenset(state for state in JobState if JobState.PROCESSING not in TRANSITIONS[state]) >= TERMINAL


def test_an_artifact_is_kept_and_the_same_name_replaces_it():
    with_artifacts = job()
    with_artifacts.attach("a", b"1", "text/plain")
    with_artifacts.attach("a", b"2", "text/html")
    assert with_artifacts.artifacts == (Artifact("a", "text/html", b"2"),)


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "a\0", "\ud800", "x" * 201])
def test_an_unusable_name_is_refused(name):
    with pytest.raises(ArtifactRefused, match="1 to 200 printable characters"):
        job().attach(name, b"")


def test_too_much_is_refused():
    job().attach("a", b"x" * ARTIFACT_BYTES_MAX)
    with pytest.raises(ArtifactRefused, match="at most 10485760 are kept"):
        job().attach("a", b"x" * (ARTIFACT_BYTES_MAX + 1))


def test_all_that_one_job_attaches_is_bounded():
    # It travels to Postgres in one statement: a gigabyte would not get there, and keep all other outcomes waiting.
    with_artifacts = job()
    for number in range(6):
        with_artifacts.attach(f"{number}", b"x" * ARTIFACT_BYTES_MAX)
    with_artifacts.attach("0", b"x" * ARTIFACT_BYTES_MAX)  # in place of the first
    with pytest.raises(ArtifactRefused, match="at most 67108864 bytes of artifacts"):
        with_artifacts.attach("6", b"x" * ARTIFACT_BYTES_MAX)
    many = job()
    for number in range(ARTIFACTS_MAX):
        many.attach(f"{number}", b"")
    many.attach("0", b"again")
    with pytest.raises(ArtifactRefused, match="at most 100 artifacts"):
        many.attach("one more", b"")


@pytest.mark.parametrize("content_type", ["", "text/html\r\nX-Y: z", "text/é", "x" * 201])
def test_what_could_not_be_a_header_is_no_content_type(content_type):
    with pytest.raises(ArtifactRefused, match="is no content type"):
        job().attach("a", b"", content_type)


def test_without_postgres_artifacts_are_refused_with_the_variable_to_set():
    with pytest.raises(ArtifactRefused, match="only with DATABASE_URL"):
        job(keeps_artifacts=False).attach("a", b"")
