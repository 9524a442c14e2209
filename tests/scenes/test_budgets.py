"""Budgets and prices: the shipped Router in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace.errors import BudgetExceededError

PROMPT_PRICE, ANSWER_PRICE = 3e-6, 15e-6
PRICES = {"input_cost_per_token": PROMPT_PRICE, "output_cost_per_token": ANSWER_PRICE}
MOST = 2 * 60 * PROMPT_PRICE + 100 * ANSWER_PRICE
"""Dollars that a call of the stage may cost."""


def spent(stage: Stage, name: str = "a") -> float:
    """Dollars as counted by the provider."""
    tokens = stage.providers.stats()[name]["tokens"]
    return float(tokens["prompt"] * PROMPT_PRICE + tokens["output"] * ANSWER_PRICE)


@pytest.mark.parametrize("options", [{}, {"stream": True, "stream_options": {"include_usage": True}}], ids=["whole", "streamed"])
def test_a_thousand_concurrent_calls_use_up_a_budget_without_exceeding_it(options: dict[str, Any]) -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", max_budget=0.25, **PRICES))
    stage.send(1_000, **options)
    stage.run()
    assert 0.25 - MOST <= spent(stage) <= 0.25
    assert {type(served.error) for served in stage.failed()} == {BudgetExceededError}
    assert stage.idle()


@pytest.mark.parametrize(
    "text", ["Tell me of mills. " * 10, "磨坊的水流. " * 10, "0x5f3759df " * 10], ids=["words", "other letters", "numbers"]
)
def test_concurrent_calls_do_not_exceed_a_budget_when_only_prompts_cost(text: str) -> None:
    """The highest possible cost of a prompt is reserved while its call is in flight; what it did not cost is released."""
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", max_budget=0.01, input_cost_per_token=PROMPT_PRICE, output_cost_per_token=0.0))
    stage.send(200, messages=[{"role": "user", "content": text}])
    stage.run()
    prompts = stage.providers.stats()["a"]["tokens"]["prompt"]
    assert 0.6 * 0.01 <= prompts * PROMPT_PRICE <= 0.01
    assert stage.failed()


def test_no_call_is_refused_while_reserved_money_may_be_released() -> None:
    stage = Stage(provider("a", ttft=5.0))
    stage.open(stage.deployment("a", max_budget=3 * MOST, **PRICES))
    stage.send(4)
    stage.run(until=1)
    assert stage.failed() == [], "the fourth may still find what the first three do not use"
    stage.run()
    assert stage.failed() == []


def test_a_budget_is_reset_after_its_period() -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", max_budget=1.2 * MOST, budget_duration="1h", **PRICES))
    stage.send(3)
    stage.run()
    refused = stage.failed()
    assert len(refused) == 2
    assert refused[0].error is not None
    assert refused[0].error.failure.retry_after == pytest.approx(3600, abs=60)
    stage.at(3700, lambda: stage.send(1))
    stage.run()
    assert len(stage.failed()) == 2


def test_when_a_budget_is_spent_calls_go_to_a_deployment_with_budget_left() -> None:
    stage = Stage(provider("a"), provider("b"))
    stage.open(stage.deployment("a", max_budget=0.01, **PRICES), stage.deployment("b", **PRICES))
    stage.send(60)
    stage.run()
    assert stage.failed() == []
    assert spent(stage) <= 0.01
    assert stage.by("b") > 40


def test_the_error_says_what_was_spent_and_contains_no_secret() -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", max_budget=1.2 * MOST, **PRICES))
    stage.send(5)
    stage.run()
    message = str(stage.failed()[0].error)
    assert "max_budget is spent: $0.00" in message
    assert "sk-a" not in message


def test_a_deployment_with_a_daily_limit_continues_after_its_first_ten_seconds() -> None:
    """Symptom: daily limits are not paced, and raising the pace of an unknown provider failed for them."""
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", rpd=1000))
    stage.offer(rate=1, until=30)
    stage.run()
    assert stage.failed() == []
