"""The benchmarks of the limiter run and judge rightly, in a small form."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import pytest
from benchmarks.limits import cost, headline, jobs, runner, virtual

from headrace.routing.trail import Trail


def test_a_pair_of_reserve_and_settle_is_measured_with_and_without_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("headrace")
    for name in ("propagate", "level", "handlers"):  # the benchmark has its process to itself: here it is all put back
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(Trail, "record", Trail.record)
    for run in (cost.uncontended(3), cost.contended(3, waiting=40, tenants=2), cost.told(logging.DEBUG)):
        middle, spread, yard = cost.rounds(run, calls=100, count=3)
        assert 0 < middle < 1_000_000
        assert spread >= 0
        assert 0 < yard < 1_000_000


def test_a_fast_machine_finds_no_limit_that_binds_where_none_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: "no running event loop": on a quiet machine so many pairs a second went that they came to wait for room."""
    monkeypatch.setattr(cost.AsyncClock, "now", lambda self: 1000.0)
    assert cost.uncontended(1)(20_000) > 0


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


@pytest.mark.parametrize(("kind", "rates"), [("bucket", (60, 200, 40)), ("1s", (48, 144, 39.67)), ("10s", (58.54, 193.17, 35.12))])
def test_a_window_can_be_used_but_for_what_travel_times_leave_in_doubt(kind: str, rates: tuple[float, ...]) -> None:
    """A second in which three are allowed takes three in a second and a quarter, for four sent in one might arrive in another."""
    assert [place.rpm for place in jobs.sustained(kind)] == pytest.approx(rates, abs=0.01)


def ran(**facts: object) -> headline.Row:
    return headline.Row("sliding", "headrace", **{"completed": 600, "seconds": 150.0, "use": 0.99, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "said"), [({"refused": 3}, "3 429s"), ({"completed": 599}, "599/600"), ({"use": 0.96}, "0.96"), ({"seconds": 158.0}, "1.053")]
)
def test_a_run_that_falls_short_is_named(facts: dict[str, object], said: str) -> None:
    assert headline.misses([ran()], 600, {"sliding": 150.0}) == []
    assert said in headline.misses([ran(**facts)], 600, {"sliding": 150.0})[0]


@pytest.mark.parametrize(
    ("rows", "counted"),
    [
        ([{"refused": 3, "late": 0.9}, {}], (0, 2)),
        ([{"refused": 3, "late": 0.1}, {}], (3, 1)),
        ([{"refused": 3, "stolen": 0.9}, {}], (0, 2)),
        ([{"refused": 3, "lag": 0.9}, {}], (3, 1)),
        ([{"late": 0.9}, {"refused": 1}], (0, 1)),
        ([{"refused": 3, "late": 0.9}] * 4, (3, 3)),
    ],
    ids=["made again", "not late enough", "kept from working", "its own fault", "good all the same", "given up"],
)
def test_a_run_that_the_machine_spoilt_is_made_again(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, object]], counted: tuple[int, int]
) -> None:
    """Symptom: on a busy machine calls lay in the simulator's sockets for seconds, and 28 were refused that had gone evenly."""
    waiting = iter([ran(**facts) for facts in rows])
    monkeypatch.setattr(headline, "measure", lambda *_: next(waiting))
    row = headline.measure_well("sliding", "headrace", [None] * 600, 150.0, 3)  # type: ignore[list-item]
    assert (row.refused, row.tries) == counted


def test_a_loop_that_is_late_by_its_own_work_is_told_from_one_that_was_kept_from_it() -> None:
    def work() -> None:
        began = time.process_time()
        while time.process_time() - began < 0.3:
            pass

    async def late(blocked: Callable[[], None]) -> runner.Lateness:
        lateness = runner.Lateness()
        watch = asyncio.create_task(lateness.watch())
        await asyncio.sleep(0.05)
        blocked()
        await asyncio.sleep(0.05)
        watch.cancel()
        return lateness

    kept = asyncio.run(late(lambda: time.sleep(0.4)))
    assert kept.stolen >= 0.3
    worked = asyncio.run(late(work))
    assert worked.most >= 0.25
    assert worked.most - worked.stolen >= 0.25
