"""Prices and budgets in a model_list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.limits import Limit, Unit
from headrace.limits.money import LIFETIME
from headrace.models.cost import Bill
from headrace.routing.plan import Deployment, read_deployment

PRICED = {"model": "openai/gpt-4o", "input_cost_per_token": 2.5e-6, "output_cost_per_token": 1e-5}


def deployment(beside: Mapping[str, Any] | None = None, **params: Any) -> Deployment:
    return read_deployment({"model_name": "chat", "litellm_params": {**PRICED, **params}, **(beside or {})}, "model_list[0]", {})


def test_prices_are_nano_dollars_a_token() -> None:
    price = deployment(cache_read_input_token_cost=1.25e-6).price
    assert price is not None
    assert price.of(Bill(input=600, output=100, cached=400)) == 600 * 2500 + 400 * 1250 + 100 * 10_000
    assert price.most(1000, 100) == 1000 * 2500 + 100 * 10_000


def test_prices_may_stand_in_model_info() -> None:
    info = {"model_info": {"input_cost_per_token": 1e-6}}
    price = read_deployment({"model_name": "c", "litellm_params": {"model": "openai/m"}, **info}, "d", {}).price
    assert price is not None
    assert price.of(Bill(input=1, output=1)) == 1000


@pytest.mark.parametrize("params", [{"model": "openai/gpt-4o"}, {"model": "openai/our-own", "base_model": "gpt-4o"}])
def test_a_budget_counts_with_the_prices_that_are_known_of_a_model(params: dict[str, Any]) -> None:
    found = read_deployment({"model_name": "c", "litellm_params": {**params, "max_budget": 1}}, "d", {})
    assert found.price is not None
    assert found.price.of(Bill(input=1000)) == 2_500_000


def test_prices_and_budgets_are_never_sent() -> None:
    assert deployment(max_budget=1, budget_duration="1d", cache_read_input_token_cost=0).defaults == {}


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    ("duration", "seconds"), [(None, LIFETIME), ("30s", 30), ("15m", 900), ("24h", 86_400), ("7d", 604_800), ("1mo", 2_592_000)]
)
def test_a_budget_is_a_limit_in_nano_dollars(duration: str | None, seconds: float, beside: bool) -> None:
    given: dict[str, Any] = {"max_budget": 12.5, "budget_duration": duration}
    found = deployment(given) if beside else deployment(**given)
    assert found.limits == (Limit(Unit.MONEY, 12_500_000_000, seconds, "max_budget"),)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"max_budget": 0}, "max_budget"),
        ({"max_budget": "ten"}, "max_budget"),
        ({"max_budget": True}, "max_budget"),
        ({"max_budget": 1, "budget_duration": "soon"}, "budget_duration"),
        ({"max_budget": 1, "budget_duration": "0d"}, "budget_duration"),
        ({"input_cost_per_token": -1}, "input_cost_per_token"),
        ({"output_cost_per_token": 15}, "output_cost_per_token"),
        ({"input_cost_per_token": None, "output_cost_per_token": None, "max_budget": 1, "model": "openai/x"}, "input_cost_per_token"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(params: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"model_list\[0\].*{named}"):
        deployment(**params)
