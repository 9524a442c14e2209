"""Very large groups: a call examines a few deployments, and all of them only if it must. The shipped Router in virtual time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace.routing.health import Health


def crowd(count: int, **params: Any) -> Stage:
    """This many deployments at one provider, each with its own key."""
    stage = Stage(provider("a"))
    entries = [
        {**stage.deployment("a", api_key=f"sk-{number}", quota_group=f"q{number}", **params), "model_info": {"id": f"d{number}"}}
        for number in range(count)
    ]
    stage.open(*entries)
    return stage


def test_a_call_considers_only_a_few_of_a_thousand_deployments() -> None:
    stage = crowd(1_000, rpm=10)
    stage.send(50)
    stage.run()
    assert stage.failed() == []
    assert {len(served.record["candidates"]) for served in stage.log} == {7}


def test_the_load_is_still_spread_evenly() -> None:
    stage = crowd(60, max_parallel_requests=10)
    stage.send(300)
    stage.run()
    loads = Counter(served.by for served in stage.log)
    assert len(loads) == 60
    assert max(loads.values()) <= 10, "five each, and twice that at most"


def test_the_last_one_with_room_is_found() -> None:
    stage = crowd(40, rpm=1)
    stage.send(40)
    stage.run(until=30)
    assert [served.waited for served in stage.log] == [0.0] * 40
    assert len({served.by for served in stage.log}) == 40


def test_a_deployment_in_cooldown_is_skipped_among_many() -> None:
    stage = crowd(40)
    member = stage.router._fleet.members["d7"]
    member.health.until = 100.0
    stage.router._fleet.rests(member, 100.0)
    stage.send(400)
    stage.run(until=50)
    assert "d7" not in {served.by for served in stage.log}
    assert stage.failed() == []
    stage.at(101, lambda: stage.send(400))
    stage.run()
    assert "d7" in {served.by for served in stage.log}


def test_a_deployment_in_cooldown_does_not_make_calls_examine_the_other_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = crowd(1_000)
    stage.router._fleet.rests(resting := stage.router._fleet.members["d7"], 100.0)
    resting.health.until = 100.0
    asked: list[str] = []
    cooling = Health.cooling

    def seen(health: Health, now: float) -> bool:
        asked.append("")
        return cooling(health, now)

    monkeypatch.setattr(Health, "cooling", seen)
    stage.send(50)
    stage.run(until=50)
    assert stage.failed() == []
    assert "d7" not in {served.by for served in stage.log}
    assert {len(served.record["candidates"]) for served in stage.log} <= {6, 7}
    assert len(asked) <= 10 * 50


def test_a_cooldown_is_remembered_until_it_ends_or_the_deployment_is_removed() -> None:
    stage = crowd(3)
    fleet = stage.router._fleet
    member = fleet.members["d1"]
    member.health.until = 100.0
    fleet.rests(member, 100.0)
    assert fleet.resting("gpt", 50.0) == {"d1"}
    assert fleet.resting("gpt", 100.0) == frozenset()
    fleet.rests(member, 200.0)
    stage.router.delete_deployment("d1")
    assert fleet.resting("gpt", 50.0) == frozenset(), "who is gone does not rest"
