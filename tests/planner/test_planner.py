"""The planner's forecasts: what the shipped Router would do, which limit is to blame, what a change would buy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.errors import BadRequestError
from headrace.limits import LimiterSettings
from headrace.limits.profile import profiles
from headrace.planner import Burst, Fleet, Job, Load, Pace, forecast, read_fleet, simulation, what_if
from scenes.stage import Stage, provider


def fleet(*limits: dict[str, Any], profile: Any = None, **router: Any) -> Fleet:
    """One deployment for each set of limits, all of one group, each on a key of its own."""
    entries = [
        {
            "model_name": one.pop("group", "gpt"),
            "litellm_params": {"model": "openai/gpt-4o", "api_key": f"os.environ/KEY_{number}", "profile": profile, **one},
        }
        for number, one in enumerate(dict(limit) for limit in limits)
    ]
    return read_fleet({"model_list": entries, "router_settings": router})


def same(count: int, *, input: int = 100, most: int = 100, output: int = 60, at: float = 0.0, **facts: Any) -> list[Job]:
    return [Job(at, "gpt", input, most, output, **facts) for _ in range(count)]


# ---- as the Router does it


def test_the_forecast_is_what_the_shipped_router_does() -> None:
    """The same 300 jobs through the whole Router, bodies and all, against simulated providers."""
    limits = {"north": (60, 60_000), "east": (200, 30_000), "west": (40, 45_000)}
    stage = Stage(*(provider(name, rpm=rpm, tpm=tpm, enforcer="sliding") for name, (rpm, tpm) in limits.items()))
    known = {"accounting": "reserve", "estimate": "sum"}
    stage.open(*(stage.deployment(name, rpm=rpm, tpm=tpm, profile=known) for name, (rpm, tpm) in limits.items()), max_wait=3600.0)
    stage.send(300, max_tokens=400)
    stage.run(1000)
    really = max(served.done or 0.0 for served in stage.log)
    waited = sum(served.waited for served in stage.log) / 300

    places = fleet(*({"rpm": rpm, "tpm": tpm} for rpm, tpm in limits.values()), profile=known)
    prompt = stage.log[0].record["reserved"].input
    found = forecast(places, same(300, input=prompt, most=400), pace=Pace(first_token=0.2, each_token=0.005))
    assert found.completed == 300
    assert found.finish == pytest.approx(really, rel=0.03)
    assert found.waits.mean == pytest.approx(waited, rel=0.05)
    for name, place in zip(limits, found.served, strict=True):
        assert found.served[place] == pytest.approx(stage.by(name), abs=6)


@pytest.mark.parametrize("name", profiles())
def test_no_provider_refuses_a_call_however_it_counts(name: str) -> None:
    """Twice what the limits allow, for five minutes."""
    found = forecast(fleet({"rpm": 120, "tpm": 200_000}, profile=name), Load("gpt", rate=4, hours=1 / 12, max_tokens=600))
    assert found.provider_429s == 0
    assert found.completed == found.calls > 1000


def test_a_network_less_even_than_we_allow_for_shows_as_refusals_and_every_call_is_served_all_the_same() -> None:
    found = forecast(fleet({"rpm": 120}, profile="xai"), Load("gpt", rate=3, hours=1 / 12), pace=Pace(far=2.0))
    assert found.provider_429s > 0
    assert found.completed == found.calls
    assert sum(found.served.values()) == found.calls


def test_the_same_plan_gives_the_same_forecast() -> None:
    places, load = fleet({"rpm": 100}), Load("gpt", rate=2, hours=0.1)
    assert forecast(places, load) == forecast(places, load)


def test_calls_that_stand_behind_the_line_are_served_as_if_they_stood_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load("gpt", rate=0, hours=0.1, bursts=(Burst(600),), tenants={"anna": 1, "ben": 2}, max_tokens=700)
    places = fleet({"rpm": 200, "tpm": 200_000}, {"rpm": 50, "tpm": 400_000})
    short = forecast(places, load)
    monkeypatch.setattr(simulation, "AT_ONCE", 10_000)
    long = forecast(places, load)
    assert short.finish == pytest.approx(long.finish, rel=0.01)
    assert short.waits.mean == pytest.approx(long.waits.mean, rel=0.01)
    assert short.tenants["anna"].p95 == pytest.approx(long.tenants["anna"].p95, rel=0.02)


def test_looking_less_far_ahead_hardly_moves_the_end() -> None:
    load = Load("gpt", rate=0, hours=0.1, bursts=(Burst(400),), input=400, output=150, max_tokens=300, sigma=1.0)
    places = fleet({"rpm": 60, "tpm": 60_000}, {"rpm": 200, "tpm": 30_000}, profile="default")
    far, near = forecast(places, load), forecast(places, load, settings=LimiterSettings(look_ahead=6))
    assert near != far
    assert near.finish == pytest.approx(far.finish, rel=0.02)


def test_only_the_first_tier_is_asked_while_it_answers() -> None:
    found = forecast(fleet({"rpm": 60, "order": 1}, {"rpm": 60, "order": 2}), same(90))
    assert found.served == {"gpt": 90, "gpt #2": 0}


def test_an_alias_leads_to_its_group() -> None:
    found = forecast(fleet({"rpm": 60}, model_group_alias={"best": "gpt"}), [Job(0.0, "best", 10, 10, 10)])
    assert found.served == {"gpt": 1}


def test_a_model_that_nobody_serves_is_named() -> None:
    with pytest.raises(BadRequestError, match="claude"):
        forecast(fleet({"rpm": 60}), [Job(0.0, "claude", 10, 10, 10)])


# ---- figures


def test_room_enough_means_no_waiting() -> None:
    found = forecast(fleet({"rpm": 6000, "tpm": 20_000_000}), Load("gpt", rate=5, hours=0.1))
    assert found.waits.p99 == 0
    assert found.binding == ()
    assert found.limits[0].use == pytest.approx(300 / 6000, rel=0.1)
    assert found.most_waiting == 0


def test_a_backlog_ends_when_its_limit_lets_it() -> None:
    """600 calls at 120 a minute: 300 seconds, less what may run ahead and the last minute's worth that goes at once."""
    found = forecast(fleet({"rpm": 120}), same(600))
    assert 270 < found.finish < 305
    assert found.waits.mean == pytest.approx(found.finish / 2, rel=0.06)
    assert found.waits.p50 < found.waits.p95 < found.waits.p99 <= found.waits.longest
    assert 580 < found.most_waiting < 600  # a few went at once


@pytest.mark.parametrize(
    ("limits", "job", "label"),
    [
        ({"rpm": 60, "tpm": 1_000_000}, {}, "rpm"),
        ({"rpm": 6000, "tpm": 12_000}, {}, "tpm"),
        ({"rpm": 6000, "itpm": 6000}, {}, "itpm"),
        ({"max_parallel_requests": 2}, {"output": 400, "most": 400}, "max_parallel_requests"),
        ({"windows": [{"unit": "requests", "amount": 5, "window": 10}]}, {}, "requests/10s"),
    ],
)
def test_the_limit_that_binds_is_named(limits: dict[str, Any], job: dict[str, Any], label: str) -> None:
    found = forecast(fleet(limits, profile="groq"), same(200, **job))
    first = found.binding[0]
    assert (first.deployment, first.limit) == ("gpt", label)
    assert first.binding > 0.85
    assert first.use > 0.85
    assert found.provider_429s == 0


def test_use_is_what_the_provider_counted() -> None:
    found = forecast(fleet({"rpm": 600, "tpm": 1_000_000}, profile={"accounting": "reserve", "estimate": "sum"}), same(500))
    rpm, tpm = found.limits
    assert tpm.use / rpm.use == pytest.approx(500 * 200 / 1_000_000 / (500 / 600))


def test_the_slices_add_up() -> None:
    found = forecast(fleet({"rpm": 60}), same(240))
    series = found.series
    waited = sum(series.waiting) * series.width
    assert waited == pytest.approx(found.waits.mean * found.calls, rel=0.02)
    assert len(series.use["gpt rpm"]) == len(series.waiting)
    assert max(series.use["gpt rpm"]) <= 1.0
    assert len(series.waiting) <= 480
    assert series.width * len(series.waiting) >= found.finish


def test_a_long_run_is_cut_into_no_more_slices() -> None:
    found = forecast(fleet({"rpm": 6}), same(400))
    assert found.finish > 3600
    assert 240 <= len(found.series.waiting) <= 480
    assert sum(found.series.waiting) * found.series.width == pytest.approx(found.waits.mean * found.calls, rel=0.02)


def test_a_call_too_large_for_every_limit_is_told() -> None:
    found = forecast(fleet({"tpm": 1000}), [*same(3), *same(1, input=5000)])
    assert (found.completed, found.never_fit) == (3, 1)
    assert "tpm allows 1000" in found.example


def test_tenants_wait_alike_for_alike_loads() -> None:
    load = Load("gpt", rate=4, hours=0.1, sigma=0, tenants={"anna": 1, "ben": 1})
    found = forecast(fleet({"rpm": 150}), load)
    assert found.tenants.keys() == {"anna", "ben"}
    assert found.tenants["anna"].mean == pytest.approx(found.tenants["ben"].mean, rel=0.3)


def test_a_flooding_tenant_waits_and_a_light_one_does_not() -> None:
    jobs = sorted([*same(400, tenant="flood"), *(same(1, tenant="light", at=at)[0] for at in range(10, 200, 10))], key=lambda job: job.at)
    found = forecast(fleet({"rpm": 120}), jobs)
    assert found.tenants["light"].p95 < 3
    assert found.tenants["flood"].mean > 60


def test_an_interactive_call_goes_first() -> None:
    jobs = [*same(300, tenant="batch", priority=2), *same(5, tenant="person", priority=0, at=60)]
    found = forecast(fleet({"rpm": 60}), jobs)
    assert found.tenants["person"].longest < 10


def test_places_of_one_key_share_its_limit() -> None:
    shared = [{"model_name": name, "litellm_params": {"model": "openai/gpt-4o", "api_key": "os.environ/K", "rpm": 60}} for name in "ab"]
    found = forecast(read_fleet(shared), [Job(0.0, name, 10, 10, 10) for name in "ab" for _ in range(60)])
    assert [limit.deployment for limit in found.limits] == ["a + b"]
    assert found.finish > 100


def test_nothing_to_do_takes_no_time() -> None:
    found = forecast(fleet({"rpm": 60}), [])
    assert (found.calls, found.finish, found.waits.mean) == (0, 0.0, 0.0)


def test_progress_is_told() -> None:
    told: list[tuple[int, float]] = []
    forecast(fleet({"rpm": 100_000}), same(4500), progress=lambda done, second: told.append((done, second)))
    assert [done for done, _ in told] == [2000, 4000]


# ---- what a change would buy


def asked(places: Fleet, jobs: Sequence[Job]) -> dict[str, float]:
    return {one.change: one.finish for one in what_if(places, lambda: jobs, forecast(places, jobs))}


def test_twice_the_limit_halves_the_time() -> None:
    places, jobs = fleet({"rpm": 60, "tpm": 10_000_000}), same(600)
    before, found = forecast(places, jobs).finish, asked(places, jobs)
    assert list(found) == ["one more deployment like gpt", "gpt: rpm 60 → 120"]
    for after in found.values():
        assert after == pytest.approx(before / 2, rel=0.1)


def test_a_limit_that_does_not_bind_is_not_offered() -> None:
    places = fleet({"rpm": 60, "tpm": 10_000_000})
    assert not any("tpm" in change for change in asked(places, same(300)))


def test_where_nothing_binds_nothing_is_tried() -> None:
    assert asked(fleet({"rpm": 6000}), same(20)) == {}


def test_deployments_that_are_short_of_the_same_are_raised_together() -> None:
    places, jobs = fleet({"rpm": 60}, {"rpm": 60}), same(600)
    before, found = forecast(places, jobs).finish, asked(places, jobs)
    assert found["rpm doubled on 2 accounts"] == pytest.approx(before / 2, rel=0.1)
    one = next(finish for change, finish in found.items() if "→" in change)
    assert found["rpm doubled on 2 accounts"] < one < before


@pytest.mark.parametrize(("profile", "offered"), [("cerebras", True), ("groq", True), ("anthropic", False)])
def test_asking_for_less_is_offered_where_unwritten_answers_take_room(profile: str, offered: bool) -> None:
    """10,000 tokens a minute, calls of 100 and 1,000 that write 60: with 100 instead of 1,000 five times as many fit."""
    places, jobs = fleet({"rpm": 6000, "tpm": 10_000}, profile=profile), same(60, most=1000)
    found = asked(places, jobs)
    assert ("max_tokens 100 (99 in 100 responses are no longer)" in found) is offered
    if profile == "cerebras":
        assert found["max_tokens 100 (99 in 100 responses are no longer)"] < forecast(places, jobs).finish / 3


def test_asking_for_less_is_not_offered_where_requests_bind_or_little_is_asked_for() -> None:
    assert not any("max_tokens" in change for change in asked(fleet({"rpm": 60}, profile="default"), same(150, most=1000)))
    assert not any("max_tokens" in change for change in asked(fleet({"tpm": 9000}, profile="default"), same(150, most=100, output=90)))


def test_the_next_limit_to_bind_is_named() -> None:
    places, jobs = fleet({"rpm": 60, "tpm": 18_000}, profile="default"), same(300)
    found = {one.change: one.binding for one in what_if(places, lambda: jobs, forecast(places, jobs))}
    assert found["gpt: rpm 60 → 120"] == "gpt tpm"


def test_a_wait_is_never_longer_than_the_run() -> None:
    found = forecast(fleet({"rpm": 30}), same(100))
    assert not math.isnan(found.waits.mean)
    assert found.waits.longest < found.finish
