"""How often a failed call is retried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from headrace.errors import ConfigurationError, Failure, Kind
from headrace.routing.decide import Fail, NextDeployment, RetryHere, RetryPolicy, decide
from headrace.routing.retries import RetryBudget, by_kind, read_retries

OBJECT = SimpleNamespace(TimeoutErrorRetries=3, RateLimitErrorRetries=None, BadRequestErrorRetries=0)


@pytest.mark.parametrize("given", [{"TimeoutErrorRetries": 3, "BadRequestErrorRetries": 0, "RateLimitErrorRetries": None}, OBJECT])
def test_litellms_policies_are_read_as_mappings_and_as_objects(given: Any) -> None:
    found = by_kind(given, "Retries", "retry_policy")
    assert found[Kind.TIMEOUT] == 3
    assert found[Kind.BAD_REQUEST] == found[Kind.UNSUPPORTED_PARAMS] == 0
    assert Kind.RATE_LIMIT not in found


def test_our_own_names_do_as_well_and_a_default_stands_for_the_rest() -> None:
    found = by_kind({"timeout": 1, "DefaultRetries": 7}, "Retries", "retry_policy")
    assert found[Kind.TIMEOUT] == 1
    assert found[Kind.CONNECTION] == 7
    assert Kind.SERVER not in found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TimeOutRetries": 1}, "retry_policy has no 'TimeOutRetries'; known: BadRequestErrorRetries"),
        ({"TimeoutErrorRetries": -1}, "retry_policy.TimeoutErrorRetries must be a whole number"),
        (3, "retry_policy must be a mapping"),
        ("often", "retry_policy must be a mapping"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        by_kind(given, "Retries", "retry_policy")


def test_a_groups_own_policy_stands_over_the_general_one() -> None:
    general, own = read_retries(RetryPolicy(), {"timeout": 1, "server": 2}, {"gpt": {"timeout": 5}})
    assert (general.most(Kind.TIMEOUT, False), own["gpt"].most(Kind.TIMEOUT, False)) == (1, 5)
    assert own["gpt"].most(Kind.SERVER, False) == 2


def step(kind: Kind, attempt: int = 1, *, others: bool = False, time_left: float = 1e9, **policy: Any) -> object:
    failure = Failure(kind, "said")
    return decide(
        failure, attempt, others=others, fallback=False, policy=RetryPolicy(**policy), jitter=0.0, queued=True, time_left=time_left
    )


def test_a_policy_by_kind_decides_even_where_the_table_would_not_try_again() -> None:
    assert isinstance(step(Kind.BAD_REQUEST), Fail)
    assert isinstance(step(Kind.BAD_REQUEST, by_kind={Kind.BAD_REQUEST: 1}), RetryHere)
    assert isinstance(step(Kind.BAD_REQUEST, 2, by_kind={Kind.BAD_REQUEST: 1}), Fail)
    assert isinstance(step(Kind.TIMEOUT, others=True, by_kind={Kind.TIMEOUT: 0}), Fail)
    assert isinstance(step(Kind.RATE_LIMIT, by_kind={Kind.RATE_LIMIT: 0}), Fail)
    assert isinstance(step(Kind.TIMEOUT, others=True), NextDeployment)


def test_no_time_left_is_the_end_of_it() -> None:
    assert isinstance(step(Kind.TIMEOUT, others=True, time_left=0.0), Fail)
    assert isinstance(step(Kind.TIMEOUT, time_left=0.1), Fail), "the pause before the next attempt would outlast the call"
    assert isinstance(step(Kind.TIMEOUT, time_left=5.0), RetryHere)


def test_a_budget_bounds_retries_to_a_share_of_the_calls() -> None:
    budget = RetryBudget(share=0.1, most=5)
    taken = 0
    for _ in range(1000):
        budget.called()
        taken += budget.take()
    assert taken <= 5 + 100


def test_retries_that_help_cost_nothing() -> None:
    budget = RetryBudget(share=0.0, most=2)
    for _ in range(100):
        assert budget.take()
        budget.helped(1)
    assert [budget.take() for _ in range(3)] == [True, True, False]
