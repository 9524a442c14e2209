"""Usage read by the fast path gives the same cost as usage read in full."""

from __future__ import annotations

import pytest

from headrace.models.cost import _CLASSED, Bill, Rates, rates_of
from headrace.routing.plain_answers import Usage

STEPPED = {
    "input_cost_per_token": 1.25e-6, "output_cost_per_token": 1e-5, "cache_read_input_token_cost": 3e-7,
    "input_cost_per_token_above_200k_tokens": 2.5e-6, "output_cost_per_token_above_200k_tokens": 1.5e-5,
}  # fmt: skip
FLAT = {"input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7}


def test_whatever_makes_another_bill_is_looked_at() -> None:
    assert set(Usage.__struct_fields__) >= _CLASSED


@pytest.mark.parametrize("facts", [STEPPED, FLAT], ids=["stepped", "flat"])
@pytest.mark.parametrize("prompt", [1, 199_999, 200_000, 200_001])
@pytest.mark.parametrize("answer", [0, 1, 4_097])
def test_plain_tokens_cost_what_their_bill_does(facts: dict[str, float], prompt: int, answer: int) -> None:
    rates = rates_of(facts)
    assert isinstance(rates, Rates)
    assert rates.of_plain(prompt, answer) == rates.of(Bill(input=prompt, output=answer)) > 0
