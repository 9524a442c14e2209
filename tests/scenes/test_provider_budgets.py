"""Budgets for all calls to a provider, or with a tag. The shipped Router in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace.errors import BudgetExceededError, ConfigurationError

PRICES = {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6}
MOST = 2 * 60 * 3e-6 + 100 * 15e-6
"""Dollars that a call of the stage may cost."""


def spent(stage: Stage, *names: str) -> float:
    """Dollars as counted by the providers."""
    rows = [stage.providers.stats()[name]["tokens"] for name in names]
    return sum(row["prompt"] * 3e-6 + row["output"] * 15e-6 for row in rows)


def stage_of(config: dict[str, Any], **options: Any) -> Stage:
    """Two deployments at OpenAI, a and b, and one at Groq, c."""
    stage = Stage(*(provider(name) for name in "abc"))
    entries = [stage.deployment(name, **PRICES) for name in "abc"]
    entries[2]["litellm_params"]["model"] = "groq/gpt-sim"
    stage.open(*entries, provider_budget_config=config, **options)
    return stage


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_thousand_concurrent_calls_use_up_a_providers_budget_and_then_go_to_others(stream: bool) -> None:
    stage = stage_of({"openai": {"budget_limit": 0.25, "time_period": "1d"}})
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    stage.send(1_000, **options)
    stage.run()
    stage.offer(rate=2, until=stage.world.now() + 150, **options)  # for what the first had set aside and did not need
    stage.run()
    assert stage.failed() == []
    assert 0.25 - 2 * MOST <= spent(stage, "a", "b") <= 0.25
    assert stage.by("c") > 500
    assert stage.idle()
    assert all(scope["in_flight"] == 0 for scope in stage.router.snapshot()["scopes"].values())


def test_when_all_provider_budgets_are_spent_the_error_names_them() -> None:
    budgets = {name: {"budget_limit": 0.05, "time_period": "1d"} for name in ("openai", "groq")}
    stage = stage_of(budgets)
    stage.send(200)
    stage.run()
    assert spent(stage, "a", "b") <= 0.05
    assert spent(stage, "c") <= 0.05
    errors = [served.error for served in stage.failed()]
    assert {type(error) for error in errors} == {BudgetExceededError}
    assert "provider " in str(errors[0])
    assert "is spent: $0.0" in str(errors[0])
    assert "sk-" not in str(errors[0])
    assert stage.idle()


def test_no_call_is_refused_while_reserved_money_may_be_released() -> None:
    stage = Stage(provider("a", ttft=5.0))
    stage.open(stage.deployment("a", **PRICES), provider_budget_config={"openai": {"max_budget": 3 * MOST, "budget_duration": "1d"}})
    stage.send(4)
    stage.run()
    assert stage.failed() == []


def test_a_providers_budget_is_reset_after_its_period() -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", **PRICES), provider_budget_config={"openai": {"budget_limit": 1.2 * MOST, "time_period": "1h"}})
    stage.send(3)
    stage.run()
    assert len(stage.failed()) == 2
    stage.at(3_700, lambda: stage.send(1))
    stage.run()
    assert len(stage.failed()) == 2


def test_a_providers_request_limits_are_kept_too() -> None:
    stage = stage_of({"openai": {"rpm_limit": 5}})
    stage.send(60)
    stage.run(until=50)
    assert stage.by("a") + stage.by("b") <= 5
    assert stage.by("c") >= 55
    stage.run()


def test_a_hedge_counts_against_the_providers_budget() -> None:
    stage = stage_of({"openai": {"budget_limit": 0.2}, "groq": {"budget_limit": 0.2}}, hedge=1.0)
    stage.offer(rate=10, until=60)
    stage.run()
    assert spent(stage, "a", "b") <= 0.2
    assert spent(stage, "c") <= 0.2
    assert stage.idle()


def test_only_calls_with_a_tag_are_bound_by_its_budget() -> None:
    stage = Stage(provider("a"))
    budgets = {"product:chat": {"max_budget": 0.05, "budget_duration": "1d"}}
    stage.open(stage.deployment("a", **PRICES), tag_budget_config=budgets)
    stage.send(200, metadata={"tags": ["product:chat", "other"]})
    stage.run()
    assert 0.05 - MOST <= spent(stage, "a") <= 0.05
    assert {type(served.error) for served in stage.failed()} == {BudgetExceededError}
    failed = len(stage.failed())
    stage.send(20, tags=["other"])
    stage.run()
    assert len(stage.failed()) == failed


def test_a_budget_for_a_provider_without_known_prices_is_rejected_at_construction() -> None:
    stage = Stage(provider("a"))
    with pytest.raises(ConfigurationError, match=r"provider_budget_config\['openai'\]: .* no price is known for openai/gpt-sim"):
        stage.open(stage.deployment("a"), provider_budget_config={"openai": {"budget_limit": 1}})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([], "provider_budget_config must be a mapping like"),
        ({"openai": 5}, r"provider_budget_config\['openai'\] must be a mapping with budget_limit"),
        ({"openai": {"limit": 5}}, r"provider_budget_config\['openai'\] has no 'limit'; known: max_budget, budget_limit"),
        ({"openai": {}}, r"provider_budget_config\['openai'\] has no limits"),
        ({"openai": {"budget_limit": -1}}, "max_budget must be a number of dollars above 0"),
        ({"openai": {"budget_limit": 1, "time_period": "soon"}}, "budget_duration must be like '30m'"),
    ],
)
def test_an_invalid_budget_is_rejected_by_name(config: Any, said: str) -> None:
    stage = Stage(provider("a"))
    with pytest.raises(ConfigurationError, match=said):
        stage.open(stage.deployment("a", **PRICES), provider_budget_config=config)
