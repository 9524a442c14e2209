"""Limits and budgets of keys for single models, in LiteLLM's API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, Running
from tests.gateway.persistence import Gateway, kept
from tests.gateway.test_keys import _any

from headrace import Router
from headrace.gateway.persistence import Where


def two(upstream: object) -> Router:
    """Two models of one price."""
    params = {"model": "openai/gpt-sim", "api_key": "sk-upstream", "base_url": f"{upstream}/sim/v1"}
    info = {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
    entries = [{"model_name": name, "litellm_params": params, "model_info": {**info, "id": name}} for name in ("gpt", "gpt-mini", "other")]
    return Router(entries, num_retries=0)


@pytest.fixture
def place(upstream: Running, at: Where) -> Iterator[Gateway]:
    with kept(two(upstream), at) as opened:
        yield Gateway(*opened)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("whose", ["key", "team", "user"])
def test_a_limit_for_one_model_holds_for_that_model_alone(place: Gateway, whose: str, stream: bool) -> None:
    form: dict[str, Any] = {"model_rpm_limit": {"gpt": 1}, "model_tpm_limit": {"gpt": 10_000}}
    if whose == "team":
        form = {"team_id": place.ask("/team/new", form)["team_id"]}
    elif whose == "user":
        form = {"user_id": place.ask("/user/new", {**form, "auto_create_key": False})["user_id"]}
    key = place.key(**form)
    place.chat(key)
    for _ in range(2):  # the second finds its way known
        assert f"{whose}:" in place.chat(key, 429, max_wait=0)["error"]["message"]
    place.chat(key, model="gpt-mini")
    place.chat(key, model="other", max_wait=0)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_pattern_is_one_limit_for_all_that_it_names(place: Gateway) -> None:
    key = place.key(model_rpm_limit={"gpt*": 2}, aliases={"mine": "gpt-mini"})
    place.chat(key)
    place.chat(key, model="mine")
    place.chat(key, 429, model="gpt-mini", max_wait=0)
    place.chat(key, 429, model="mine", max_wait=0)
    place.chat(key, model="other")


def spend_all(place: Gateway, key: str, model: str) -> int:
    """How many calls were let through."""
    for number in range(50):
        said = place.ask("/v1/chat/completions", {**CHAT, "model": model, "max_tokens": 20}, key, status=_any(200, 429))
        if "error" in said:
            assert "of $0.0004" in said["error"]["message"]
            return number
    return 50


def test_a_budget_for_one_model_is_kept_over_restarts(upstream: Running, at: Where) -> None:
    with kept(two(upstream), at) as opened:
        place = Gateway(*opened)
        key = place.key(model_max_budget={"gpt": {"budget_limit": 0.0004, "time_period": "30d"}, "gpt-mini": 1})
        assert 0 < spend_all(place, key, "gpt") < 50
        place.chat(key, model="gpt-mini", max_tokens=20)
        info = place.ask(f"/key/info?key={key}")["info"]
        assert info["model_max_budget"] == {
            "gpt": {"budget_limit": 0.0004, "time_period": "30d"},
            "gpt-mini": {"budget_limit": 1.0, "time_period": None},
        }
    with kept(two(upstream), at) as opened:
        place = Gateway(*opened)
        place.chat(key, 429, max_tokens=20)
        place.chat(key, model="gpt-mini", max_tokens=20)
        later = time.time() + 31 * 86400
        place.state.keys._clock = lambda: later
        place.chat(key, max_tokens=20)  # another period


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"model_rpm_limit": {"gpt": 0}}, "model_rpm_limit.gpt must be a whole number"),
        ({"model_rpm_limit": 3}, "model_rpm_limit must be an object"),
        ({"model_max_budget": {"gpt": {"budget_limit": 1, "time_period": "soon"}}}, "model_max_budget.gpt.time_period must be like"),
        ({"model_max_budget": {"gpt": {"limit": 1}}}, "limit is not known"),
        ({"model_max_budget": {"gpt": {"time_period": "1d"}}}, "model_max_budget.gpt.budget_limit must be a number of dollars"),
    ],
)
def test_what_cannot_be_meant_is_told_by_its_field(place: Gateway, form: dict[str, Any], told: str) -> None:
    assert told in place.ask("/key/generate", form, status=400)["error"]["message"]


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_limit_for_one_model_can_be_taken_back(place: Gateway) -> None:
    key = place.key(model_rpm_limit={"gpt": 1})
    place.chat(key)
    place.ask("/key/update", {"key": key, "model_rpm_limit": None})
    place.chat(key, max_wait=0)
