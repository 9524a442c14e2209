"""Bills and rates: exact sums in nano-dollars, over every class of token and every tier."""

from __future__ import annotations

import types
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from headrace.models.cost import CLASSES, Bill, Rates, bill_of, rates_of
from headrace.objects import Usage

FACTS = {
    "input_cost_per_token": 2.5e-6, "cache_read_input_token_cost": 1.25e-6, "output_cost_per_token": 1e-5,
    "input_cost_per_token_above_200k_tokens": 5e-6, "output_cost_per_token_above_200k_tokens": 1.5e-5,
    "input_cost_per_token_priority": 4.25e-6, "output_cost_per_token_flex": 5e-6, "input_cost_per_token_above_200k_tokens_priority": 9e-6,
    "cache_creation_input_token_cost": 3e-6, "cache_creation_input_token_cost_above_1hr": 4e-6,
    "input_cost_per_audio_token": 4e-5, "output_cost_per_audio_token": 8e-5, "output_cost_per_reasoning_token": 2e-5,
    "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_medium": 0.02},
}  # fmt: skip


def rates(tier: str = "", facts: dict[str, Any] = FACTS) -> Rates:
    found = rates_of(facts, tier)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("bill", "nano"),
    [
        (Bill(input=1000), 2_500_000),
        (Bill(cached=1000), 1_250_000),
        (Bill(cache_write=1000), 3_000_000),
        (Bill(cache_write_hour=1000), 4_000_000),
        (Bill(audio_input=10), 400_000),
        (Bill(image_input=1000), 2_500_000),
        (Bill(output=1000), 10_000_000),
        (Bill(reasoning=1000), 20_000_000),
        (Bill(audio_output=10), 800_000),
        (Bill(searches=3), 60_000_000),
        (Bill(input=200_000), 500_000_000),
        (Bill(input=200_001), 1_000_005_000),
        (Bill(input=1, cached=200_000, output=1), 5_000 + 200_000 * 1250 + 15_000),
    ],
)
def test_each_class_has_its_price(bill: Bill, nano: int) -> None:
    assert rates().of(bill) == nano


@pytest.mark.parametrize(
    ("tier", "nano"), [("", 12_500), ("priority", 14_250), ("flex", 7_500), ("batch", 12_500), ("default", 12_500), ("standard", 12_500)]
)
def test_a_service_tier_has_its_prices_and_the_usual_ones_where_it_has_none(tier: str, nano: int) -> None:
    assert rates(tier).of(Bill(input=1, output=1)) == nano


def test_a_tier_of_a_large_prompt() -> None:
    assert rates("priority").of(Bill(input=300_000)) == 300_000 * 9_000
    assert rates("flex").of(Bill(input=300_000)) == 300_000 * 5_000


def test_less_than_a_nano_dollar_a_token_is_not_lost() -> None:
    cheap = rates(facts={"input_cost_per_token": 3.75e-11})
    assert cheap.of(Bill(input=1_000_000)) == 37_500
    assert cheap.of(Bill(input=1)) == 1, "rounded up, once"


def test_no_prices_are_not_prices_of_nothing() -> None:
    assert rates_of({"max_tokens": 10}) is None
    assert rates(facts={"input_cost_per_token": 0.0}).of(Bill(input=5)) == 0


@given(st.builds(Bill, **{name: st.integers(0, 500_000) for name, _, _ in CLASSES}))
def test_the_sum_is_exact_and_its_parts_add_up(bill: Bill) -> None:
    found = rates()
    prompt = bill.prompt
    prices = {"input": "5e-6" if prompt > 200_000 else "2.5e-6", "output": "1.5e-5" if prompt > 200_000 else "1e-5"}
    prices |= {"cached": "1.25e-6", "cache_write": "3e-6", "cache_write_hour": "4e-6", "audio_input": "4e-5", "audio_output": "8e-5"}
    prices |= {"reasoning": "2e-5", "image_input": prices["input"], "image_output": prices["output"]}
    exact = sum(Fraction(prices[name]) * count for name, count in asdict(bill).items() if name in prices) * 10**9
    assert found.of(bill) == -(-exact.numerator // exact.denominator)
    assert sum(found.parts(bill)) == found.of(bill)
    assert found.most(prompt, 0) >= found.of(Bill(input=prompt))


@pytest.mark.parametrize(
    ("usage", "bill"),
    [
        ({}, Bill()),
        ({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}, Bill(input=10, output=4)),
        (
            {"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6, "audio_tokens": 1}},
            Bill(input=3, cached=6, audio_input=1, output=4),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": None}},
            Bill(input=10, output=4, reasoning=5),
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 1, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30,
             "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
             "server_tool_use": {"web_search_requests": 2}},
            Bill(input=10, cached=60, cache_write=10, cache_write_hour=20, output=1, searches=2),
        ),
        (
            {"input_tokens": 10, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30, "output_tokens": 2},
            Bill(input=10, cached=60, cache_write=30, output=2),
        ),
        (
            {"input_tokens": 70, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 2,
             "output_tokens_details": {"reasoning_tokens": 2}},
            Bill(input=10, cached=60, reasoning=2),
        ),
        (
            {"type": "tokens", "input_tokens": 14, "input_token_details": {"text_tokens": 2, "audio_tokens": 12}, "output_tokens": 3},
            Bill(input=2, audio_input=12, output=3),
        ),
        ({"type": "duration", "seconds": 9}, Bill(seconds=9.0)),
        ({"prompt_tokens": 5, "completion_tokens": -1, "prompt_cache_hit_tokens": 9}, Bill(cached=9)),
        ({"prompt_tokens": "many", "completion_tokens": None, "prompt_tokens_details": []}, Bill()),
    ],
)  # fmt: skip
def test_usage_in_every_form_becomes_one_bill(usage: dict[str, Any], bill: Bill) -> None:
    assert bill_of(usage) == bill


PLAIN = {"prompt_tokens": 120, "completion_tokens": 50, "total_tokens": 170}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"prompt_tokens_details": None, "completion_tokens_details": None},
        {"prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": None}, "completion_tokens_details": {"reasoning_tokens": 0}},
        {"cache_read_input_tokens": 0, "server_tool_use": None, "queue_time": 0.1, "service_tier": "default"},
    ],
)
@pytest.mark.parametrize("make", [dict, Usage.wrap, types.MappingProxyType])
def test_usage_of_text_alone_is_billed_as_any_other(more: dict[str, Any], make: Any) -> None:
    """It is read in a shorter way."""
    assert bill_of(make({**PLAIN, **more})) == Bill(input=120, output=50)


@pytest.mark.parametrize(
    ("more", "bill"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 20}}, Bill(input=100, cached=20, output=50)),
        ({"completion_tokens_details": {"reasoning_tokens": 20}}, Bill(input=120, output=30, reasoning=20)),
        ({"prompt_cache_hit_tokens": 20}, Bill(input=100, cached=20, output=50)),
        ({"server_tool_use": {"web_search_requests": 2}}, Bill(input=120, output=50, searches=2)),
        ({"num_search_queries": 2}, Bill(input=120, output=50, searches=2)),
        ({"input_tokens_details": {"cached_tokens": 20}}, Bill(input=100, cached=20, output=50)),
    ],
)
def test_what_is_not_plain_text_is_never_billed_as_it(more: dict[str, Any], bill: Bill) -> None:
    assert bill_of({**PLAIN, **more}) == bill
