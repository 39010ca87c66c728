"""What the tables of the figures say."""

from typing import Any

import pytest

from benchmarks.peers.results import Row
from benchmarks.publish import plot_peers, plot_targets
from benchmarks.results import Figure, Sample


def figure(*values: float, cpu: float | None = None, **bounds: Any) -> Figure:
    return Figure("f", rounds=[Sample(value, cpu) for value in values], **bounds)


@pytest.mark.parametrize(
    ("measured", "met"),
    [
        (figure(1, 5, 9), None),
        (figure(1, 5, 9, at_least=5), True),
        (figure(1, 5, 9, at_least=6), False),
        (figure(1, 5, 9, at_most=4), False),
        (figure(100, cpu=11.9, at_least=70, cpu_at_most=12), True),
        (figure(100, cpu=12.1, at_least=70, cpu_at_most=12), False),
        (figure(50, share_at_least=0.5), True),
        (figure(49, share_at_least=0.5), False),
        (figure(49, at_least=40, share_at_least=0.5, either=True), True),
        (figure(39, at_least=40, share_at_least=0.5, either=True), False),
    ],
)
def test_a_target_is_met_when_the_medians_keep_its_bounds(measured: Figure, met: bool | None):
    assert measured.is_met(figure(100)) is met


def test_pictures_show_each_line_and_nothing_that_is_no_xml():
    floor = figure(100)
    shown = Figure("a <b> & c", floor="f", share_at_least=0.5, rounds=[Sample(60)])
    assert "a &lt;b&gt; &amp; c" in plot_targets([floor, shown])
    rows = [Row("WorkQueue", "1", "c=2", "jobs/s"), Row("<x>", "2", "none", "jobs/s", note="not here")]
    rows[0].add(10.0, 1)
    assert "WorkQueue 1, c=2" in plot_peers(rows)
    assert "&lt;x&gt;" not in plot_peers(rows)
