"""The admin API on models: what is known of one, and what calls to it would cost."""

from __future__ import annotations

import pytest
from tests.gateway.persistence import Gateway

pytestmark = pytest.mark.parametrize("at", ["sqlite"], indirect=True)

ESTIMATE = "/cost/estimate"


def test_a_call_is_estimated_by_the_deployment_s_own_price(gateway: Gateway) -> None:
    asked = {"model": "gpt", "input_tokens": 1000, "output_tokens": 500, "num_requests_per_day": 100}
    said = gateway.ask(ESTIMATE, asked, gateway.key())
    assert (said["cost_per_request"], said["input_cost_per_request"], said["output_cost_per_request"]) == (0.007, 0.002, 0.005)
    assert (said["daily_cost"], said["daily_output_cost"], said["monthly_cost"]) == (0.7, 0.5, None)


def test_a_call_is_estimated_by_the_catalogue_with_what_a_cache_holds(gateway: Gateway) -> None:
    """The figures are LiteLLM 1.106.2's."""
    asked = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 500, "cache_read_input_tokens": 800, "reasoning_tokens": 100}
    said = gateway.ask(ESTIMATE, asked)
    parts = ("", "input_", "output_", "cache_read_", "reasoning_", "margin_")
    assert [said[f"{part}cost_per_request"] for part in parts] == pytest.approx([0.0065, 0.0015, 0.005, 0.001, 0.001, 0])
    assert said["provider"] == "openai"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"model": "nobody-has-it"}, 404),
        ({"model": None}, 400),
        ({"input_tokens": -1}, 400),
        ({"output_tokens": 1.5}, 400),
        ({"cache_read_input_tokens": 20}, 400),
        ({"num_requests_per_day": 10**15}, 400),
        ({"num_requests": 1}, 400),
    ],
)
def test_an_estimate_that_cannot_be_made_is_refused_by_name(gateway: Gateway, more: dict[str, object], status: int) -> None:
    gateway.ask(ESTIMATE, {"model": "gpt", "input_tokens": 10, "output_tokens": 5, **more}, status=status)


def test_the_catalogue_tells_of_models_that_are_served_and_of_others(gateway: Gateway) -> None:
    said = gateway.ask("/utils/model_info?model=gpt-4o")
    assert (said["custom_llm_provider"], said["model_info"]["max_input_tokens"]) == ("openai", 128000)
    gateway.ask("/utils/model_info?model=nobody-has-it", status=404)
    gateway.ask("/utils/model_info", status=400)
