"""`make demo`: its arithmetic, and the whole of it with small numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.cli.conftest import KEY
from tests.cli.shell import Terminal, headrace

from headrace.cli import demo
from headrace.cli.demo_jobs import Outcome, Sample, Tally, make_jobs, percentile, refused, uses
from headrace.cli.demo_scene import simulated_scene
from headrace.cli.demo_view import Gauge, Lane, Moment, draw, line
from headrace.simulator.server import Running

DEMO = "headrace.cli.demo"


def stats(seconds: float, requests: float, tokens: float, **statuses: int) -> dict[str, Any]:
    limits = [{"name": "requests/60s", "charged": requests}, {"name": "tokens/60s", "charged": tokens}]
    return {"seconds": seconds, "limits": limits, "statuses": {name.lstrip("_"): count for name, count in statuses.items()}}


def test_use_is_what_the_provider_let_through_between_the_opening_and_the_end_of_the_queue() -> None:
    """60 requests and 600 tokens a minute; after a burst of 10, one request of 4 tokens a second for 40 seconds, then idle."""
    samples = [Sample(at, 5, {"a": stats(100 + at, 10 + at, 4 * at)}) for at in (0.0, 1.0, 5.0, 25.0, 45.0)]
    samples.append(Sample(60.0, 0, {"a": stats(160, 55, 180)}))
    (use,) = uses(samples, {"a": {"requests": 60, "tokens": 600}})
    assert (use.deployment, use.limit) == ("a", "requests")
    assert use.share == pytest.approx(1.0)
    assert use.seconds == pytest.approx(40.0)


def test_use_is_not_told_of_a_queue_that_never_lasted() -> None:
    assert uses([Sample(0.5, 3, {"a": stats(1, 1, 1)}), Sample(9.0, 0, {"a": stats(9, 1, 1)})], {"a": {"requests": 60}}) == []


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_was_there(share: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value
    assert percentile([], share) == 0.0
    assert percentile([7.0], share) == 7.0


def test_jobs_are_of_mixed_size_and_the_same_every_time() -> None:
    jobs = make_jobs(300)
    assert jobs == make_jobs(300)
    assert len({job.prompt for job in jobs}) == 300
    assert max(len(job.prompt) for job in jobs) > 10 * min(len(job.prompt) for job in jobs)


def test_refusals_are_counted_by_the_providers() -> None:
    assert refused({"a": stats(1, 1, 1, _200=5, _429=2), "b": stats(1, 1, 1, _429=1)}) == 3


def test_a_missed_promise_is_told_and_costs_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    scene = simulated_scene(1.0)
    counted = {place.name: stats(60, 1, 1, _200=1) for place in scene.places}
    good = Outcome(1.0, 2.0, "north")
    for outcomes, counts, missed in (
        ([good, good], counted, None),
        ([good, Outcome(1.0, error="Timeout: late")], counted, "jobs completed"),
        ([good, good], {**counted, "east": stats(60, 1, 1, _429=1)}, "refused by a provider"),
        ([good, good], {**counted, "south": stats(60, 1, 1, _500=3)}, "the failing deployment"),
    ):
        found = demo.Run(Tally(2, outcomes=list(outcomes), ended=0.0), stats=counts)
        code = demo._verdict(scene, found, {"x": True})
        shown = capsys.readouterr().out
        assert code == (0 if missed is None else 1)
        assert ("Missed:" in shown) == (missed is not None)
        assert missed is None or missed in shown.split("Missed:")[1]
    assert demo._verdict(scene, demo.Run(Tally(1, outcomes=[good], ended=0.0), stats=counted), {"x": False}) == 1


def test_a_share_below_the_promise_is_a_miss() -> None:
    per_minute = {"a": {"requests": 60.0}}
    lazy = [Sample(at, 5, {"a": stats(at, 0.9 * at, 0)}) for at in (5.0, 45.0)]
    busy = [Sample(at, 5, {"a": stats(at, 0.97 * at, 0)}) for at in (5.0, 45.0)]
    assert demo._use_line(uses(lazy, per_minute)).kept is False
    assert demo._use_line(uses(busy, per_minute)).kept is True
    assert not demo._use_line([]).judged


def test_a_moment_is_one_line_or_a_picture() -> None:
    lanes = [
        Lane("north", [Gauge("requests", 75, 150), Gauge("tokens", 30_000, 60_000)], in_flight=3, done=40),
        Lane("south", [], in_flight=0, done=0, resting=4.2),
    ]
    moment = Moment(seconds=12.0, total=300, done=40, failed=1, waiting=250, rerouted=2, lanes=lanes)
    assert "done 40/300  waiting 250  in flight 3" in line(moment)
    assert "south[cooldown 4s]" in line(moment)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(draw(moment))
    picture = console.export_text()
    assert "████████········    75 of 150" in picture
    assert "cooldown 4 s" in picture
    assert "failed 1" in picture
    narrow = Console(width=80, record=True, file=io.StringIO())
    narrow.print(draw(moment, 80))
    assert "███···    75 of 150" in narrow.export_text()


@pytest.mark.usefixtures("place")
def test_the_whole_demo_with_small_numbers() -> None:
    done = headrace("--jobs", "20", "--fast", module=DEMO)
    assert (done.code, done.err) == (0, ""), done.out
    lines = done.out.splitlines()
    assert "kept\texamples\t2/2 ran" in lines
    assert "kept\tjobs completed\t20/20" in lines
    assert "kept\trefused by a provider (429)\t0, counted by the providers" in lines
    assert lines[-1] == "Every promise that could be judged was kept."
    assert "\x1b" not in done.out


@pytest.mark.usefixtures("place")
def test_on_a_terminal_it_is_alive(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("--jobs", "20", "--fast", module=DEMO, columns=120)
    assert screen.end(40) == 0, screen.text
    assert "tokens in the last minute" in screen.text
    assert re.search(r"█+ 20/20", screen.text)
    assert "✓" in screen.text


@pytest.mark.usefixtures("place")
def test_ctrl_c_leaves_it_quietly(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("--jobs", "300", module=DEMO, columns=120)
    screen.until("waiting", timeout=40)
    screen.send("\x03")
    assert screen.end(20) == 130
    assert "Traceback" not in screen.text


def test_a_provider_of_the_settings_is_used_and_asked_for_before_money_is_spent(configured: Path, providers: Running) -> None:
    before = providers.stats()["fast"]["admitted"]
    asked = headrace(module=DEMO)
    assert asked.code == 0, asked.out + asked.err
    assert "--yes" in asked.out
    between = providers.stats()["fast"]["admitted"]
    assert between - before < 10, "the examples alone"
    done = headrace("--yes", "--jobs", "5", module=DEMO)
    assert done.code == 0, done.out + done.err
    assert "kept\tjobs completed\t5/5" in done.out.splitlines()
    assert KEY not in done.out + asked.out
