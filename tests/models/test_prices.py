"""What a call cost is reckoned once, and anew where what it is reckoned from is another."""

from __future__ import annotations

import pytest

from headrace.limits import Used
from headrace.models.cost import Bill, Rates, rates_of
from headrace.models.prices import Beside
from headrace.routing.trail import used_of

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100}


def rates(input: float) -> Rates:
    found = rates_of({"input_cost_per_token": input, "output_cost_per_token": 1e-5})
    assert found is not None
    return found


def beside(price: Rates) -> Beside:
    known = Beside({"model": "m", "custom_llm_provider": "openai"})
    known.usage, known.rates = USAGE, price
    return known


def test_the_cost_is_reckoned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reckoned: list[Bill] = []
    own = Rates.of

    def counted(self: Rates, bill: Bill) -> int:
        reckoned.append(bill)
        return own(self, bill)

    monkeypatch.setattr(Rates, "of", counted)
    known = beside(rates(2e-6))
    assert [known.cost(), known.cost(), known["response_cost"]] == [3_000_000, 3_000_000, 0.003]
    assert used_of(USAGE, known.rates, known) == Used(input=1000, output=100, cached=0, money=3_000_000)
    assert len(reckoned) == 1


def test_other_prices_or_another_usage_are_another_cost() -> None:
    known = beside(rates(2e-6))
    assert known.cost() == 3_000_000
    known.rates = rates(4e-6)
    assert known.cost() == 5_000_000
    known.usage = {"prompt_tokens": 2000, "completion_tokens": 100}
    assert known.cost() == 9_000_000


def test_what_a_call_used_is_the_same_with_its_cost_reckoned_or_not() -> None:
    price = rates(2e-6)
    assert used_of(USAGE, price) == used_of(USAGE, price, beside(price))


@pytest.mark.parametrize(("prompt", "answer"), [(0, 0), (1000, 50), (300_000, 7)])
def test_the_most_that_a_call_may_cost_is_by_its_dearest_class(prompt: int, answer: int) -> None:
    """The prompt may be written to a cache, the answer be all reasoning; above a step all of it is dearer."""
    found = rates_of({
        "input_cost_per_token": 1e-6, "cache_creation_input_token_cost": 3e-6, "output_cost_per_token": 5e-6,
        "output_cost_per_reasoning_token": 8e-6, "input_cost_per_token_above_200k_tokens": 9e-6,
    })  # fmt: skip
    assert found is not None
    step = 9 if prompt > 200_000 else 3
    assert found.most(prompt, answer) == 1000 * (prompt * step + answer * 8)
