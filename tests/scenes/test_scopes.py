"""Limits of keys, teams and all calls together, in addition to those of deployments. The shipped Router in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace.errors import BadRequestError, BudgetExceededError, ConfigurationError, NeverFits, RateLimitError

PRICES = {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6}
MOST = 2 * 60 * 3e-6 + 100 * 15e-6
"""Dollars that a call of the stage may cost."""


def stage_of(*names: str, **params: Any) -> Stage:
    stage = Stage(*(provider(name) for name in names))
    stage.open(*(stage.deployment(name, **params) for name in names))
    return stage


def test_a_call_waits_for_the_limits_of_its_key_its_team_and_all_calls() -> None:
    stage = stage_of("a", "b")
    for name, rpm in (("key 1", 5), ("key 2", 5), ("team", 8), ("all", 20)):
        stage.router.add_scope(name, rpm=rpm)
    for key in ("key 1", "key 2"):
        stage.send(10, scopes=[key, "team", "all"], tenant=key)
    stage.run(until=59)
    served = [one for one in stage.log if one.done is not None]
    assert len(served) == 8, "the team's eight, of the five and five that the keys allow"
    assert max(sum(one.tenant == key for one in served) for key in ("key 1", "key 2")) <= 5
    stage.run()
    assert stage.failed() == []
    assert stage.idle()
    assert all(scope["in_flight"] == 0 for scope in stage.router.snapshot()["scopes"].values())


def test_calls_of_a_key_at_its_limit_do_not_delay_others() -> None:
    stage = stage_of("a", rpm=600)
    stage.router.add_scope("spent", rpd=1)
    tasks = stage.send(50, scopes=["spent"])
    stage.offer(rate=1, until=60, tenant="other")
    stage.run(until=70)
    assert max(served.waited for served in stage.log if served.tenant == "other") < 1.0
    for task in tasks:
        task.cancel()
    stage.run()
    assert stage.idle()


def test_the_decision_record_names_the_scopes_and_the_binding_one() -> None:
    stage = stage_of("a")
    stage.router.add_scope("team", rpm=1)
    stage.send(2, scopes=["team"])
    stage.run()
    assert [served.record["scopes"] for served in stage.log] == [("team",), ("team",)]
    assert [served.record["binding"] for served in stage.log] == [None, "team:rpm"]


def test_a_call_that_may_not_wait_is_told_how_long_its_key_has_no_room() -> None:
    stage = stage_of("a")
    stage.router.add_scope("key", rpm=1)
    stage.send(2, scopes=["key"], max_wait=0)
    stage.run()
    [refused] = stage.failed()
    assert isinstance(refused.error, RateLimitError)
    assert refused.error.retry_after == pytest.approx(60, abs=1)
    assert stage.router.peek("gpt", scopes=["key"]).binding == "key:rpm"


@pytest.mark.parametrize("options", [{}, {"stream": True, "stream_options": {"include_usage": True}}], ids=["whole", "streamed"])
def test_a_thousand_calls_over_two_deployments_do_not_exceed_a_keys_budget(options: dict[str, Any]) -> None:
    stage = stage_of("a", "b", **PRICES)
    stage.router.add_scope("key", max_budget=0.25)
    stage.send(1_000, scopes=["key"], **options)
    stage.run()
    tokens = [row["tokens"] for row in stage.providers.stats().values()]
    spent = sum(row["prompt"] * 3e-6 + row["output"] * 15e-6 for row in tokens)
    assert 0.25 - MOST <= spent <= 0.25
    assert {type(served.error) for served in stage.failed()} == {BudgetExceededError}
    assert "key:max_budget is spent" in str(stage.failed()[0].error)
    assert stage.idle()


def test_cost_uses_the_built_in_price_if_none_is_configured() -> None:
    stage = stage_of("a", base_model="openai/gpt-4o-mini")
    stage.router.add_scope("key", max_budget=0.001)
    stage.send(100, scopes=["key"])
    stage.run()
    assert {type(served.error) for served in stage.failed()} == {BudgetExceededError}


def test_with_a_budget_calls_go_only_to_deployments_with_known_prices() -> None:
    """Symptom: calls to a deployment without a price were free of charge for a budget."""
    stage = Stage(provider("a"), provider("b"))
    stage.open(stage.deployment("a", **PRICES), stage.deployment("b"))
    stage.router.add_scope("key", max_budget=1)
    stage.send(20, scopes=["key"])
    stage.run()
    assert stage.failed() == []
    assert stage.by("a") == 20


def test_a_budget_over_models_without_a_price_is_rejected_by_name() -> None:
    stage = stage_of("a")
    stage.router.add_scope("key", max_budget=1)
    stage.send(scopes=["key"])
    stage.run()
    [refused] = stage.failed()
    assert isinstance(refused.error, ConfigurationError)
    assert "openai/gpt-sim" in str(refused.error)
    assert "input_cost_per_token" in str(refused.error)


def test_a_call_larger_than_its_keys_limit_is_refused_with_the_limits_name() -> None:
    stage = stage_of("a")
    stage.router.add_scope("key", tpm=150)
    stage.send(scopes=["key"], max_tokens=200)
    stage.run()
    assert isinstance(stage.log[0].error, NeverFits)


def test_changing_a_scopes_limits_keeps_its_usage_and_admits_waiting_calls() -> None:
    stage = stage_of("a")
    stage.router.add_scope("key", rpm=2)
    stage.send(4, scopes=["key"])
    stage.at(10, lambda: stage.router.add_scope("key", rpm=3))
    stage.run(until=20)
    assert sum(served.done is not None for served in stage.log) == 3
    stage.run()
    assert stage.failed() == []


def test_a_call_with_an_unknown_scope_is_refused() -> None:
    stage = stage_of("a")
    stage.router.add_scope("key", rpm=2)
    stage.router.remove_scope("key")
    stage.send(scopes=["key"])
    stage.run()
    assert isinstance(stage.log[0].error, ConfigurationError)
    assert "add_scope" in str(stage.log[0].error)


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        ({}, "no limits"),
        ({"rpm": 0}, "rpm"),
        ({"tpm": -5}, "tpm"),
        ({"rpm": 1.5}, "rpm"),
        ({"requests_per_moon": 3}, "requests_per_moon"),
        ({"max_budget": 0}, "max_budget"),
        ({"max_budget": 5, "budget_duration": "a while"}, "budget_duration"),
        ({"windows": [{"unit": "cups", "amount": 1, "window": 1}]}, "cups"),
        ({"windows": [{"unit": "requests", "amount": 1, "window": 0}]}, "window"),
    ],
)
def test_invalid_limits_are_rejected_with_scope_and_name(limits: dict[str, Any], word: str) -> None:
    stage = stage_of("a")
    with pytest.raises(ConfigurationError, match=word) as refused:
        stage.router.add_scope("key", **limits)
    assert "'key'" in str(refused.value)


@pytest.mark.parametrize("scopes", ["key", 3, [3]])
def test_scopes_must_be_a_list_of_names(scopes: Any) -> None:
    stage = stage_of("a")
    stage.router.add_scope("key", rpm=2)
    stage.send(scopes=scopes)
    stage.run()
    assert isinstance(stage.log[0].error, BadRequestError)
    assert "scopes" in str(stage.log[0].error)
