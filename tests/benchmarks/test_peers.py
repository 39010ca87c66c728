"""The pure parts of `python -m benchmarks.peers`; the peers themselves are installed by no test."""

import pytest

from benchmarks.peers.catalog import PEERS, Language
from benchmarks.peers.install import HERE, node_version_of, python_version_of
from benchmarks.peers.processes import last_line
from benchmarks.peers.results import NOTHING, Row, Span, add_report, at, chunk_of, jobs_for, p50_p99


def test_chunks_of_several_processes_add_up_to_one_span():
    span = add_report(NOTHING, b"200 300 5\n100 250 5\n300 1100 10\n")
    assert span == Span(100, 1100, 20)
    assert add_report(span, b"") == span
    assert add_report(span, b"50 60 1\n") == Span(50, 1100, 21)


def test_the_first_job_only_starts_the_clock():
    assert Span(0, 1_000_000_000, 11).per_second == pytest.approx(10)


@pytest.mark.parametrize("jobs", [1, 7, 20, 50, 300, 2000, 125_000])
def test_every_job_is_in_a_whole_chunk(jobs):
    assert jobs % chunk_of(jobs) == 0


@pytest.mark.parametrize(
    ("per_second", "jobs_max", "jobs"),
    [
        (54, 500_000, 280),
        (1_234, 500_000, 6_200),
        (40_000, 500_000, 200_000),
        (40_000, 30_000, 30_000),
        (1, 500_000, 20),
    ],
)
def test_the_number_of_jobs_follows_the_rate_and_its_limit(per_second, jobs_max, jobs):
    assert jobs_for(per_second, 5.0, jobs_max) == jobs


def test_cpu_at_a_time_lies_between_the_samples_around_it():
    samples = [(0, 1.0), (100, 2.0), (200, 4.0)]
    assert [at(samples, when) for when in (-50, 0, 50, 150, 200, 900)] == [1.0, 1.0, 1.5, 3.0, 4.0, 4.0]


def test_a_row_keeps_every_round():
    row = Row("peer", "1.0", "as it comes", "jobs/s")
    for value in (30.0, 10.0, 20.0):
        row.add(value, 100)
    assert (row.median, row.min, row.max, row.rounds, row.jobs) == (20.0, 10.0, 30.0, [30.0, 10.0, 20.0], [100] * 3)


def test_percentiles_are_taken_from_all_waits():
    assert p50_p99([float(wait) for wait in range(101)]) == (50.0, 99.0)


def test_the_last_error_is_what_a_process_said():
    assert last_line(b"starting\nValueError: no\n\nNode.js v20\n") == "ValueError: no"
    assert last_line(b"") == "it said nothing"


@pytest.mark.parametrize(
    "peer", [peer for peer in PEERS if peer.language is not Language.OURS], ids=lambda peer: peer.name
)
def test_every_peer_is_pinned_and_no_pin_names_an_index(peer):
    folder = HERE / peer.folder
    if peer.language is Language.PYTHON:
        pins = (folder / "requirements.txt").read_text()
        assert python_version_of(peer.package, pins)
        assert all("==" in line for line in pins.splitlines())
    else:
        pins = (folder / "package-lock.json").read_text()
        assert node_version_of(peer.package, (folder / "package.json").read_text())[0].isdigit()
        assert '"resolved"' not in pins
