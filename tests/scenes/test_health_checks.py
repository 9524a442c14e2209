"""Background health checks find failing deployments before a call does. The shipped Router in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace.errors import ConfigurationError
from headrace.routing.checks import TENANT
from headrace.routing.events import Event


def stage_of(*names: str, faults: Any = (), **options: Any) -> Stage:
    stage = Stage(*(provider(name, faults=faults) for name in names))
    stage.open(*(stage.deployment(name) for name in names), **options)
    return stage


def requests(stage: Stage, name: str) -> int:
    return int(stage.providers.stats()[name]["requests"])


def test_there_are_no_checks_unless_enabled() -> None:
    stage = stage_of("a", "b")
    stage.send()
    stage.run()
    assert requests(stage, "a") + requests(stage, "b") == 1


def test_checks_start_with_the_first_call_and_end_when_the_router_is_closed() -> None:
    stage = stage_of("a", "b", health_check_interval=30)
    stage.run(until=100)
    assert requests(stage, "a") == 0
    stage.send()
    stage.run(until=175)
    assert requests(stage, "a") + requests(stage, "b") == 1 + 2 * 3
    stage.router.close()
    stage.run()
    assert requests(stage, "a") + requests(stage, "b") <= 1 + 2 * 3
    assert stage.idle()


def test_a_check_finds_a_failing_deployment_before_any_call_does() -> None:
    told: list[Event] = []
    stage = stage_of("a", "b", health_check_interval=10, on_event=told.append)
    stage.send()
    stage.at(20, lambda: stage.providers.control(provider="a", dies={"kind": "status", "status": 503}))
    stage.at(100, lambda: stage.providers.control(provider="a", recovers=True))
    stage.run(until=31)
    stage.offer(rate=4, until=90)
    stage.run(until=95)
    failed_for = {event.tenant for event in told if event.kind == "settled" and event.error is not None}
    assert failed_for == {TENANT}
    assert stage.router.health()["a"]["healthy"] is False
    assert "InternalServerError" in stage.router.health()["a"]["error"] or "ServiceUnavailable" in stage.router.health()["a"]["error"]
    stage.run(until=120)
    assert stage.router.health()["a"]["healthy"] is True
    stage.offer(rate=4, until=140)
    stage.run(until=150)
    assert stage.by("a", 120) > 10, "and it is asked again"
    assert stage.failed() == []
    stage.router.close()


def test_if_all_deployments_fail_their_checks_all_are_still_called() -> None:
    """The checks may be wrong, and there is no other deployment."""
    stage = stage_of("a", "b", health_check_interval=10, disable_cooldowns=True)
    stage.send()
    for name in "ab":
        stage.at(15, lambda name=name: stage.providers.control(provider=name, dies={"kind": "status", "status": 503}))  # type: ignore[misc]
        stage.at(22, lambda name=name: stage.providers.control(provider=name, recovers=True))  # type: ignore[misc]
    stage.run(until=24)
    assert [row["healthy"] for row in stage.router.health().values()] == [False, False]
    stage.send(10)
    stage.run(until=28)
    assert stage.failed() == []
    stage.router.close()


def test_the_result_of_a_check_expires() -> None:
    stage = stage_of("a", "b", health_check_interval=1_000, health_check_staleness_threshold=50, disable_cooldowns=True)
    stage.providers.control(provider="a", dies={"kind": "status", "status": 503})
    stage.send(0)
    stage.world.complete(stage.router.ahealth_check())
    stage.providers.control(provider="a", recovers=True)
    stage.send(20)
    stage.run(until=40)
    assert stage.by("a") == 0
    stage.run(until=60)
    stage.send(20)
    stage.run(until=80)
    assert stage.by("a", 60) > 0
    stage.router.close()


@pytest.mark.parametrize("routes", [True, False])
def test_checks_may_only_report(routes: bool) -> None:
    stage = stage_of("a", "b", health_check_interval=1_000, enable_health_check_routing=routes, disable_cooldowns=True)
    stage.providers.control(provider="a", dies={"kind": "status", "status": 503})
    stage.world.complete(stage.router.ahealth_check())
    stage.providers.control(provider="a", recovers=True)
    stage.send(20)
    stage.run(until=40)
    assert (stage.by("a") == 0) is routes
    assert stage.router.health()["a"]["healthy"] is False
    stage.router.close()


def test_a_check_that_times_out_can_be_ignored() -> None:
    for forgiving in (True, False):
        stage = stage_of("a", "b", health_check_interval=1_000, health_check_ignore_transient_errors=forgiving)
        stage.providers.control(provider="a", dies={"kind": "hang"})
        stage.world.complete(stage.router.ahealth_check())
        assert stage.router.health()["a"]["healthy"] is (None if forgiving else False)
        stage.router.close()


def test_a_deployment_without_room_is_not_unhealthy() -> None:
    stage = Stage(provider("a"), provider("b"))
    stage.open(stage.deployment("a", rpm=1), stage.deployment("b"), health_check_interval=1_000)
    stage.world.complete(stage.router.ahealth_check())
    stage.world.complete(stage.router.ahealth_check())
    assert stage.router.health()["a"]["healthy"] is True, "as it was found when it had room"
    assert requests(stage, "a") == 1
    stage.router.close()


def test_only_named_groups_are_checked_and_no_excluded_deployment() -> None:
    stage = Stage(*(provider(name) for name in "abc"))
    excused = stage.deployment("c")
    excused["model_info"]["disable_background_health_check"] = True
    options = {"health_check_interval": 10, "background_health_check_model_groups": ["gpt"]}
    stage.open(stage.deployment("a"), stage.deployment("b", group="other"), excused, **options)
    stage.send(model="other")
    stage.run(until=25)
    assert (requests(stage, "a"), requests(stage, "b"), requests(stage, "c")) == (3, 1, 0)
    stage.router.close()


def test_an_embedding_model_is_checked_with_an_embedding_and_a_pattern_is_not_checked() -> None:
    stage = Stage(provider("a"), provider("b"))
    vectors = stage.deployment("a", group="vectors")
    vectors["model_info"]["mode"] = "embedding"
    vectors["litellm_params"]["model"] = "openai/embed-sim"
    pattern = stage.deployment("b", group="openai/*")
    pattern["litellm_params"]["model"] = "openai/*"
    stage.open(vectors, pattern)
    found = stage.world.complete(stage.router.ahealth_check())
    assert [row["model_id"] for row in found["healthy_endpoints"]] == ["a"]
    assert found["unhealthy_count"] == 0
    assert requests(stage, "b") == 0


def test_one_group_can_be_checked_on_demand() -> None:
    stage = Stage(provider("a"), provider("b", api_keys=("another",)))
    stage.open(stage.deployment("a"), stage.deployment("b", group="other"))
    found = stage.world.complete(stage.router.ahealth_check("other"))
    [row] = found["unhealthy_endpoints"]
    assert (row["model_id"], row["model_name"], found["healthy_count"]) == ("b", "other", 0)
    assert row["error"].startswith("AuthenticationError")
    assert "sk-b" not in str(found)


def test_an_unreferenced_router_stops_its_checks() -> None:
    import gc

    stage = stage_of("a", "b", health_check_interval=10)
    stage.send()
    stage.run(until=25)
    before = requests(stage, "a") + requests(stage, "b")
    del stage.router
    gc.collect()
    stage.run()
    assert requests(stage, "a") + requests(stage, "b") == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"health_check_interval": 0}, "health_check_interval must be a number of seconds above 0"),
        ({"health_check_interval": "often"}, "health_check_interval must be a number of seconds"),
        ({"health_check_staleness_threshold": 5}, "is for health checks, which are off: set health_check_interval"),
        ({"health_check_interval": 5, "background_health_check_model_groups": "gpt"}, "must be a list of model group names"),
    ],
)
def test_invalid_settings_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        stage_of("a", **options)
