"""The benchmarks of the limiter run and judge rightly, in a small form."""

from __future__ import annotations

import logging

import pytest
from benchmarks.limits import cost, headline, jobs, virtual

from headrace.routing.trail import Trail


def test_a_pair_of_reserve_and_settle_is_measured_with_and_without_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("headrace")
    for name in ("propagate", "level", "handlers"):  # the benchmark has its process to itself: here it is all put back
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(Trail, "record", Trail.record)
    for run in (cost.uncontended(3), cost.contended(3, waiting=40, tenants=2), cost.told(logging.DEBUG)):
        middle, spread = cost.rounds(run, calls=100, count=3)
        assert 0 < middle < 1_000_000
        assert spread >= 0


def test_a_call_in_line_is_weighed() -> None:
    assert cost.memory(cost.full(), 500) >= 0


@pytest.mark.parametrize(("figure", "said"), [(24.0, "met"), (26.0, "missed")])
def test_a_cost_is_judged_by_its_target(figure: float, said: str) -> None:
    assert said in cost.shown([cost.Row("reserve and settle", figure, "µs", 25.0)], judged=True)


def test_a_budget_is_kept_in_virtual_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Spent, set aside and left over are printed for calls that wait and calls that do not."""
    assert virtual.main(["--only", "budget"]) == 0
    said = capsys.readouterr().out
    assert said.count("ok     1000 calls") == 2
    assert "0 missed" in said


def test_a_backlog_against_one_way_of_enforcing_is_done_and_judged() -> None:
    row = virtual.backlog("tb60/reserve", 200, told=True)
    assert row.figure.startswith("200 done, 0 429s")


def test_the_least_time_is_that_of_the_limits_alone() -> None:
    """Ten calls of 600 tokens where 60 calls and 6,000 tokens go in a minute take a minute, wherever they go."""
    work = [jobs.Job("", 0, 600)] * 30
    places = [jobs.Place(name, 60, 6000) for name in ("a", "b", "c")]
    assert jobs.optimum(work, places) == pytest.approx(60)


def test_a_run_that_falls_short_is_named() -> None:
    good = headline.Row("sliding", "headrace", completed=600, refused=0, seconds=150.0, use=0.99)
    bad = headline.Row("sliding", "headrace", completed=600, refused=3, seconds=150.0, use=0.99)
    assert headline.misses([good], 600, 150.0) == []
    assert "3 429s" in headline.misses([bad], 600, 150.0)[0]
