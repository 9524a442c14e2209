"""Settings for all calls together, and for new keys and users."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, KEY
from tests.gateway.fast_path_scene import Client, noting
from tests.gateway.persistence import Gateway, kept, priced
from tests.gateway.test_budgets import spend

from headrace.gateway.config import Mistakes, Settings, read_config
from headrace.gateway.default_terms import NOTHING_SAID, DefaultTerms, read_default_terms
from headrace.gateway.persistence import Where

SQLITE = pytest.mark.parametrize("at", ["sqlite"], indirect=True)
Eventually = Callable[[Callable[[], bool]], bool]


def default_terms(**said: Any) -> DefaultTerms:
    def wrong(what: str) -> None:
        raise AssertionError(what)

    return read_default_terms(said, wrong)


def settings(**said: Any) -> Settings:
    return Settings(key=KEY, keep_alive=0.2, default_terms=default_terms(**said))


def spend_all(gateway: Gateway, key: str) -> int:
    """How many calls it let through."""
    calls = 0
    while "error" not in spend(gateway, key):
        calls += 1
    return calls


def test_a_budget_of_the_gateway_holds_all_callers_together_over_a_restart(upstream: object, at: Where) -> None:
    limited = settings(max_budget=0.0004, budget_duration="30d")
    with kept(priced(upstream), at, limited) as opened:
        gateway = Gateway(*opened)
        one, two = gateway.key(), gateway.key()
        assert spend_all(gateway, one) > 0
        for key in (one, two, KEY):
            assert "budget" in spend(gateway, key)["error"]["message"].lower()
        spent = gateway.ask("/global/spend")
        assert 0 < spent["spend"] <= spent["max_budget"] == 0.0004
    with kept(priced(upstream), at, limited) as opened:
        gateway = Gateway(*opened)
        assert "error" in spend(gateway, two)
        assert "error" in spend(gateway, KEY)
    with kept(priced(upstream), at, settings(max_budget=1, budget_duration="30d")) as opened:
        assert "error" not in spend(Gateway(*opened), two)


@SQLITE
def test_a_budget_of_the_gateway_counts_from_its_first_start_on_and_anew_where_its_period_is_another(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        for _ in range(5):
            spend(gateway, key)
    for said in ({"max_budget": 0.0004}, {"max_budget": 0.0004, "budget_duration": "1h"}):
        with kept(priced(upstream), at, settings(**said)) as opened:
            assert spend_all(Gateway(*opened), key) > 0
    with kept(priced(upstream), at) as opened:
        assert "error" not in spend(Gateway(*opened), key)


def test_what_another_process_spends_of_the_gateways_budget_counts_here(upstream: object, at: Where, eventually: Eventually) -> None:
    limited = settings(max_budget=0.0006)
    other = Where(at.database, at.folder.parent / "other")
    with kept(priced(upstream), at, limited) as first, kept(priced(upstream), other, limited) as second:
        one, two = Gateway(*first), Gateway(*second)
        mine, theirs = one.key(), one.key()
        assert "error" not in spend(two, theirs)
        spend_all(one, mine)
        assert eventually(lambda: "error" in spend(two, theirs))
        assert "error" in spend(two, KEY)


def test_each_of_two_gateways_over_one_database_keeps_its_own_budget_of_what_both_spend(
    upstream: object, at: Where, eventually: Eventually
) -> None:
    """The one that was started last had put its budget in the place of the other's, and one without a budget had taken it away."""
    elsewhere = [Where(at.database, at.folder.parent / name) for name in ("large", "free")]
    small, large = settings(max_budget=0.0004, budget_duration="30d"), settings(max_budget=1, budget_duration="30d")
    with kept(priced(upstream), at, small) as one, kept(priced(upstream), elsewhere[0], large) as two, kept(priced(upstream), elsewhere[1]):
        first, second = Gateway(*one), Gateway(*two)
        key = first.key()
        assert "error" not in spend(second, key)
        assert eventually(lambda: "error" in spend(first, key))  # what the second spends counts
        assert "error" in spend(first, KEY)
        for _ in range(5):
            assert "error" not in spend(second, key)
        assert first.ask("/global/spend")["max_budget"] == 0.0004
    with kept(priced(upstream), at, small) as opened:
        assert "error" in spend(Gateway(*opened), key)


@SQLITE
def test_the_gateways_budget_changes_while_it_runs(upstream: object, at: Where) -> None:
    import asyncio

    with kept(priced(upstream), at, settings(max_budget=0.0001)) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        spend_all(gateway, key)
        asyncio.run(gateway.state.use(NOTHING_SAID))
        assert "error" not in spend(gateway, key)
        assert "error" not in spend(gateway, KEY)


@SQLITE
def test_a_new_key_has_what_stands_for_new_keys(upstream: object, at: Where) -> None:
    said = {"max_budget": 2, "budget_duration": "30d", "models": ["gpt"], "duration": "1d", "team_id": "core", "metadata": {"by": "us"}}
    with kept(priced(upstream), at, settings(default_key_generate_params=said)) as opened:
        gateway = Gateway(*opened)
        shown = gateway.ask("/key/generate", {"models": [], "max_budget": None})
        assert (shown["max_budget"], shown["budget_duration"], shown["models"], shown["team_id"]) == (2, "30d", ["gpt"], "core")
        assert shown["metadata"] == {"by": "us"}
        assert shown["expires"] is not None
        own = gateway.ask("/key/generate", {"models": ["slow"], "max_budget": 7, "budget_duration": None, "team_id": "other"})
        assert (own["max_budget"], own["budget_duration"], own["models"], own["team_id"]) == (7, None, ["slow"], "other")
        service = gateway.ask("/key/service-account/generate", {"team_id": "t"})
        assert (service["user_id"], service["max_budget"]) == (None, 2)


@SQLITE
def test_a_period_that_stands_for_new_keys_is_none_of_a_key_without_a_budget(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at, settings(default_key_generate_params={"budget_duration": "30d"})) as opened:
        shown = Gateway(*opened).ask("/key/generate", {})
        assert (shown["max_budget"], shown["budget_duration"]) == (None, None)


BOUNDS = {"max_budget": 10, "budget_duration": "30d", "duration": "90d", "rpm_limit": 60}


@SQLITE
def test_no_key_goes_beyond_its_bounds(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at, settings(upperbound_key_generate_params=BOUNDS)) as opened:
        gateway = Gateway(*opened)
        shown = gateway.ask("/key/generate", {})
        assert (shown["max_budget"], shown["budget_duration"], shown["rpm_limit"]) == (10, "30d", 60)
        assert shown["expires"] is not None
        for form, named in (
            ({"max_budget": 11}, "max_budget"), ({"rpm_limit": 61}, "rpm_limit"), ({"budget_duration": "31d"}, "budget_duration"),
            ({"duration": "91d"}, "duration"),
        ):  # fmt: skip
            assert named in gateway.ask("/key/generate", form, status=400)["error"]["message"]
            assert named in gateway.ask("/key/update", {"key": shown["key"], **form}, status=400)["error"]["message"]
            assert named in gateway.ask("/key/regenerate", {"key": shown["key"], **form}, status=400)["error"]["message"]
        less = gateway.ask("/key/update", {"key": shown["key"], "max_budget": 3, "rpm_limit": None})
        assert (less["max_budget"], less["rpm_limit"]) == (3, 60)
        gateway.ask("/budget/new", {"budget_id": "large", "max_budget": 11})
        gateway.ask("/key/generate", {"budget_id": "large"}, status=400)
        assert gateway.ask("/user/new", {"user_id": "ann"})["key"]


@SQLITE
def test_a_key_from_before_the_bounds_may_be_blocked_and_renamed(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        key = Gateway(*opened).key(max_budget=100, rpm_limit=1000)
    with kept(priced(upstream), at, settings(upperbound_key_generate_params=BOUNDS)) as opened:
        gateway = Gateway(*opened)
        assert gateway.ask("/key/update", {"key": key, "key_alias": "old"})["max_budget"] == 100
        gateway.ask("/key/block", {"key": key})


@SQLITE
def test_a_new_user_has_what_stands_for_new_users_unless_it_administers(upstream: object, at: Where) -> None:
    said = {"user_role": "internal_user", "models": ["gpt"], "teams": ["core", {"team_id": "ops", "user_role": "admin"}]}
    with kept(
        priced(upstream),
        at,
        settings(default_internal_user_params=said, max_internal_user_budget=5, internal_user_budget_duration="1d"),
    ) as opened:
        gateway = Gateway(*opened)
        assert "core" in gateway.ask("/user/new", {"user_id": "early"}, status=404)["error"]["message"]
        gateway.ask("/user/info?user_id=early", status=404)
        for team in ("core", "ops", "own"):
            gateway.ask("/team/new", {"team_id": team})
        ann = gateway.ask("/user/new", {"user_id": "ann"})
        assert (ann["max_budget"], ann["budget_duration"], ann["models"]) == (5, "1d", ["gpt"])
        members = gateway.ask("/team/info?team_id=ops")["team_info"]["members_with_roles"]
        assert members == [{"user_id": "ann", "role": "admin"}]
        bob = gateway.ask("/user/new", {"user_id": "bob", "max_budget": 9, "budget_duration": None, "teams": ["own"]})
        assert (bob["max_budget"], bob["budget_duration"]) == (9, None)
        assert [team["team_id"] for team in gateway.ask("/user/info?user_id=bob")["teams"]] == ["own"]
        root = gateway.ask("/user/new", {"user_id": "root", "user_role": "proxy_admin"})
        assert (root["max_budget"], root["models"]) == (None, [])


def test_terms_that_cannot_be_are_told_with_their_names(tmp_path: Path) -> None:
    def told(**said: Any) -> str:
        path = tmp_path / "config.json"
        models = [{"model_name": "gpt", "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-x"}}]
        path.write_text(json.dumps({"model_list": models, "litellm_settings": said}))
        with pytest.raises(Mistakes) as caught:
            read_config(path, {})
        return str(caught.value)

    assert "litellm_settings.max_budget must be a number of dollars" in told(max_budget="much")
    assert "litellm_settings.budget_duration must be like" in told(max_budget=5, budget_duration="monthly")
    assert "default_key_generate_params.rpm_limit" in told(default_key_generate_params={"rpm_limit": "60"})
    assert "upperbound_key_generate_params.models is not known" in told(upperbound_key_generate_params={"models": ["gpt"]})
    assert "default_internal_user_params.teams[0].user_role" in told(
        default_internal_user_params={"teams": [{"team_id": "t", "user_role": "king"}]}
    )


def test_a_budget_may_come_from_the_environment_and_zero_is_none() -> None:
    assert default_terms(max_budget="12.5").together.budget == 12_500_000_000
    assert default_terms(max_budget=0, budget_duration="30d") == NOTHING_SAID


@SQLITE
@pytest.mark.usefixtures("nobody_else_listens")
def test_the_gateways_budget_holds_the_master_key_on_the_fast_path(upstream: object, at: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = noting(monkeypatch)
    with kept(priced(upstream), at, settings(max_budget=0.001)) as opened:
        gateway = Gateway(*opened)
        body, status, said = json.dumps({**CHAT, "model": "gpt", "max_tokens": 12}).encode(), 200, b""
        with closing(Client(gateway.base, KEY)) as client:
            while status == 200:
                status, _, said = client.post(body)
        assert (status, b"budget" in said.lower()) == (429, True)
        assert 0 < gateway.ask("/global/spend")["spend"] <= 0.001
        assert sum(taken) > 3
