"""What more than one machine costs: computed from the measured curves as the page says, and no figure typed."""

from __future__ import annotations

import pytest

from tests.bench import scaling, table
from tests.bench.command import FOLDER
from tests.bench.scaling import Machine

TWO_CORES = Machine(cores=2, answers_per_s=10.0, clips_per_s=50.0, resident=8e8, on_cluster=0.8)


def test_pages_are_enough_for_the_busiest_minutes() -> None:
    # 5 recordings each, three times as many in the busiest minutes, 7 of 10 answers a second from each page.
    assert [scaling.pages_for(count, TWO_CORES) for count in (0, 10, 1_000, 1_681, 100_000)] == [1, 1, 1, 2, 60]


def test_a_larger_machine_is_counted_by_its_cores() -> None:
    eight = Machine(cores=8, answers_per_s=40.0, clips_per_s=200.0, resident=8e8, on_cluster=None)
    assert scaling.pages_for(100_000, eight) == 60
    assert scaling.core_hours(1_000_000, eight) == pytest.approx(scaling.core_hours(1_000_000, TWO_CORES))


def test_core_hours_of_an_archive() -> None:
    assert scaling.core_hours(1_000_000, TWO_CORES) == pytest.approx(11.11, abs=0.01)
    row = scaling.recordings(TWO_CORES).splitlines()[-2]
    assert row.startswith("| 1,000,000 | 11 | 14 | 6.9 hours |")


def test_what_was_not_tried_is_said() -> None:
    assert "the trial beside it was not run" in scaling.recordings(
        Machine(cores=2, answers_per_s=10.0, clips_per_s=50.0, resident=8e8, on_cluster=None)
    )


@pytest.mark.skipif(not table.OUT.is_file(), reason="docs/speed.md isn't there: `make bench` writes it")
def test_the_page_is_that_of_the_stored_figures() -> None:
    assert scaling.PAGE.read_text(encoding="utf-8") == scaling.page()
    found = table.stored(FOLDER)
    assert Machine.of(found, None).cores == found["crowd"]["cores"]
