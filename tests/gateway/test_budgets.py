"""Named budgets: created once, assigned to many holders, and changed for all of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.conftest import CHAT
from tests.gateway.persistence import Gateway, kept, priced

from headrace.gateway.persistence import Where

SQLITE = pytest.mark.parametrize("at", ["sqlite"], indirect=True)
SMALL = {"budget_id": "small", "max_budget": 2.5, "budget_duration": "30d", "rpm_limit": 60}


def info(gateway: Gateway, key: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.ask(f"/key/info?key={key}")["info"]
    return found


def test_a_budget_is_made_shown_changed_and_deleted(gateway: Gateway) -> None:
    made = gateway.ask("/budget/new", SMALL)
    assert {name: made[name] for name in SMALL} == SMALL
    assert "models" not in made
    assert "taken" in gateway.ask("/budget/new", SMALL, status=400)["error"]["message"]
    assert gateway.ask("/budget/update", {"budget_id": "small", "tpm_limit": 1000})["max_budget"] == 2.5
    (shown,) = gateway.ask("/budget/info", {"budgets": ["small", "none"]})
    assert (shown["tpm_limit"], shown["rpm_limit"]) == (1000, 60)
    assert gateway.ask("/budget/new", {"max_budget": 1})["budget_id"]
    assert len(gateway.ask("/budget/list")) == 2
    settings = {one["field_name"]: one["field_value"] for one in gateway.ask("/budget/settings?budget_id=small")}
    assert (settings["rpm_limit"], settings["max_parallel_requests"]) == (60, None)
    assert gateway.ask("/budget/delete", {"id": "small"})["budget_id"] == "small"
    gateway.ask("/budget/delete", {"id": "small"}, status=404)
    gateway.ask("/budget/update", {"budget_id": "small"}, status=404)
    gateway.ask("/budget/new", {"budget_id": "x", "models": ["gpt"]}, status=400)
    gateway.ask("/budget/list", key=gateway.key(), status=403)
    gateway.ask("/budget/new", {}, gateway.key(), status=403)


def test_whoever_is_given_a_budget_has_its_terms_and_they_change_with_it(gateway: Gateway) -> None:
    gateway.ask("/budget/new", SMALL)
    key, own = gateway.key(budget_id="small"), gateway.key(budget_id="small", rpm_limit=7, max_budget=9)
    other = gateway.key(budget_id=None)
    gateway.ask("/team/new", {"team_id": "t", "budget_id": "small"})
    gateway.ask("/customer/new", {"user_id": "acme", "budget_id": "small"})
    gateway.ask("/user/new", {"user_id": "u", "budget_id": "small", "auto_create_key": False})
    shown = info(gateway, key)
    assert (shown["budget_id"], shown["rpm_limit"], shown["max_budget"], shown["budget_duration"]) == ("small", 60, 2.5, "30d")
    assert shown["budget_reset_at"] is not None
    gateway.ask("/budget/update", {"budget_id": "small", "rpm_limit": 30, "max_budget": 5})
    for held in (
        info(gateway, key),
        gateway.ask("/team/info?team_id=t")["team_info"],
        gateway.ask("/customer/info?end_user_id=acme"),
        gateway.ask("/user/info?user_id=u")["user_info"],
    ):
        assert (held["rpm_limit"], held["max_budget"]) == (30, 5)
    kept_own = info(gateway, own)
    assert (kept_own["rpm_limit"], kept_own["max_budget"], kept_own["budget_duration"]) == (7, 9, None)
    assert info(gateway, other)["rpm_limit"] is None
    gateway.ask("/budget/delete", {"id": "small"})
    assert (info(gateway, key)["rpm_limit"], info(gateway, key)["max_budget"], info(gateway, key)["budget_id"]) == (None, None, None)
    assert info(gateway, own)["rpm_limit"] == 7


@SQLITE
def test_a_budget_is_exchanged_for_another_and_taken_back(gateway: Gateway) -> None:
    gateway.ask("/budget/new", SMALL)
    gateway.ask("/budget/new", {"budget_id": "a%b_c", "rpm_limit": 5})
    key = gateway.key(budget_id="small")
    gateway.ask("/key/update", {"key": key, "budget_id": "a%b_c"})
    assert (info(gateway, key)["rpm_limit"], info(gateway, key)["max_budget"]) == (5, None)
    gateway.ask("/budget/update", {"budget_id": "a%b_c", "rpm_limit": 6})
    assert info(gateway, key)["rpm_limit"] == 6
    gateway.ask("/key/update", {"key": key, "budget_id": None})
    assert (info(gateway, key)["rpm_limit"], info(gateway, key)["budget_id"]) == (None, None)
    for path, form in (
        ("/key/generate", {}), ("/key/update", {"key": key}), ("/team/new", {}), ("/customer/new", {"user_id": "x"}),
    ):  # fmt: skip
        said = gateway.ask(path, {**form, "budget_id": "nobody's"}, status=404)["error"]["message"]
        assert 'no budget "nobody\'s"' in said


@SQLITE
def test_the_limit_of_a_budget_holds_and_is_raised_for_calls_at_once(gateway: Gateway) -> None:
    gateway.ask("/budget/new", {"budget_id": "one", "rpm_limit": 1})
    key = gateway.key(budget_id="one")
    gateway.chat(key)
    gateway.chat(key, 429, max_wait=0)
    gateway.ask("/budget/update", {"budget_id": "one", "rpm_limit": 100})
    gateway.chat(key, max_wait=0)


def test_each_key_of_a_budget_spends_its_own_dollars_and_a_restart_forgets_none(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        gateway.ask("/budget/new", {"budget_id": "cents", "max_budget": 0.0003})
        one, two = gateway.key(budget_id="cents"), gateway.key(budget_id="cents")
        while "error" not in spend(gateway, one):
            pass
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        assert "error" in spend(gateway, one)
        assert "error" not in spend(gateway, two)
        gateway.ask("/budget/update", {"budget_id": "cents", "max_budget": 1})
        assert "error" not in spend(gateway, one)


def spend(gateway: Gateway, key: str) -> Any:
    from tests.gateway.test_keys import _any

    return gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt", "max_tokens": 12, "max_wait": 0}, key, _any(200, 429))
