"""Organizations above teams, and tags across keys: models, limits and budgets that apply in addition to a key's own."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, KEY
from tests.gateway.persistence import Gateway, kept, priced
from tests.gateway.test_keys import _any

from headrace.gateway.config import Settings
from headrace.gateway.persistence import Where

SQLITE = pytest.mark.parametrize("at", ["sqlite"], indirect=True)
MILL = {"organization_id": "mill", "organization_alias": "The Mill"}


def sent(gateway: Gateway, method: str, path: str, body: Any) -> Any:
    """LiteLLM has some of its changes as PATCH and DELETE."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(gateway.base + path, json.dumps(body).encode(), headers, method=method)) as answer:
        return json.loads(answer.read())


def asked(gateway: Gateway, key: str, **more: Any) -> Any:
    """The answer, or the refusal."""
    said = {**CHAT, "model": "gpt", "max_tokens": 12, "max_wait": 0, **more}
    return gateway.ask("/v1/chat/completions", said, key, _any(200, 403, 429))


def test_an_organization_is_made_shown_changed_and_deleted_with_what_is_under_it(gateway: Gateway) -> None:
    made = gateway.ask("/organization/new", {**MILL, "models": ["gpt"], "max_budget": 5, "budget_duration": "30d", "rpm_limit": 60})
    assert (made["organization_id"], made["models"], made["litellm_budget_table"]["max_budget"]) == ("mill", ["gpt"], 5)
    assert "taken" in gateway.ask("/organization/new", MILL, status=400)["error"]["message"]
    assert "organization_alias" in gateway.ask("/organization/new", {}, status=400)["error"]["message"]
    assert sent(gateway, "PATCH", "/organization/update", {"organization_id": "mill", "tpm_limit": 1000})["tpm_limit"] == 1000
    gateway.ask("/team/new", {"team_id": "t", "organization_id": "mill"})
    key, own, other = gateway.key(team_id="t"), gateway.key(organization_id="mill"), gateway.key()
    shown = gateway.ask("/organization/info?organization_id=mill")
    assert (shown["organization_alias"], [team["team_id"] for team in shown["teams"]]) == ("The Mill", ["t"])
    assert shown["teams"][0]["organization_id"] == "mill"
    assert [one["organization_id"] for one in gateway.ask("/organization/info", {"organizations": ["mill"]})] == ["mill"]
    assert len(gateway.ask("/organization/list?org_alias=mill")) == len(gateway.ask("/organization/list?org_id=mill")) == 1
    assert gateway.ask("/organization/list?org_id=none") == []
    assert "'none'" in gateway.ask("/key/generate", {"organization_id": "none"}, status=404)["error"]["message"]
    assert "'none'" in gateway.ask("/team/update", {"team_id": "t", "organization_id": "none"}, status=404)["error"]["message"]
    assert sent(gateway, "DELETE", "/organization/delete", {"organization_ids": ["mill"]})[0]["organization_id"] == "mill"
    gateway.ask("/organization/info?organization_id=mill", status=404)
    gateway.ask("/team/info?team_id=t", status=404)
    for gone in (key, own):
        gateway.chat(gone, 401)
    gateway.chat(other)


@SQLITE
def test_members_of_an_organization_see_it_and_nobody_else_does(gateway: Gateway) -> None:
    gateway.ask("/organization/new", MILL)
    anna = gateway.ask("/user/new", {"user_id": "anna", "user_email": "anna@example.org"})["key"]
    other = gateway.key()
    gateway.ask("/organization/info?organization_id=mill", key=anna, status=404)
    member = {"role": "org_admin", "user_email": "anna@example.org"}
    added = gateway.ask("/organization/member_add", {"organization_id": "mill", "member": [member]})
    assert added["updated_organization_memberships"] == [{"user_id": "anna", "user_role": "org_admin", "organization_id": "mill"}]
    assert [user["user_id"] for user in added["updated_users"]] == ["anna"]
    (seen,) = gateway.ask("/organization/info?organization_id=mill", key=anna)["members"]
    assert (seen["user_id"], seen["user_email"]) == ("anna", "anna@example.org")
    assert [one["organization_id"] for one in gateway.ask("/organization/list", key=anna)] == ["mill"]
    assert gateway.ask("/organization/list", key=other) == []
    gateway.ask("/organization/info?organization_id=mill", key=other, status=404)
    for path in ("new", "update", "delete", "member_add", "member_delete"):
        gateway.ask(f"/organization/{path}", {}, anna, 403)
    changed = sent(gateway, "PATCH", "/organization/member_update", {"organization_id": "mill", "user_id": "anna", "role": "internal_user"})
    assert changed["user_role"] == "internal_user"
    king = {"organization_id": "mill", "user_id": "b", "role": "king"}
    assert "role" in gateway.ask("/organization/member_add", king, status=400)["error"]["message"]
    assert sent(gateway, "DELETE", "/organization/member_delete", {"organization_id": "mill", "user_id": "anna"})["members"] == []
    gateway.ask("/organization/member_delete", {"organization_id": "mill", "user_id": "anna"}, status=404)


@SQLITE
def test_terms_of_an_organization_bind_all_keys_under_it(gateway: Gateway) -> None:
    gateway.ask("/organization/new", {**MILL, "models": ["gpt"], "rpm_limit": 2})
    gateway.ask("/team/new", {"team_id": "t", "organization_id": "mill"})
    one, two, free = gateway.key(team_id="t"), gateway.key(organization_id="mill"), gateway.key()
    assert "slow" in asked(gateway, one, model="slow")["error"]["message"]
    assert "error" not in asked(gateway, one)
    assert "error" not in asked(gateway, two)
    for key in (one, two):
        assert "organization:mill" in asked(gateway, key)["error"]["message"]
    assert "error" not in asked(gateway, free)
    gateway.ask("/organization/update", {"organization_id": "mill", "rpm_limit": None})
    assert "error" not in asked(gateway, one)
    gateway.ask("/organization/update", {"organization_id": "mill", "blocked": True})
    assert "organization of this call is blocked" in gateway.chat(one, 401)["error"]["message"]
    assert sent(gateway, "PATCH", "/team/update", {"team_id": "t", "organization_id": None})["team_id"] == "t"
    assert "error" not in asked(gateway, one)


def test_the_budget_of_an_organization_is_spent_by_all_under_it_and_kept_over_restarts(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        gateway.ask("/budget/new", {"budget_id": "small", "max_budget": 0.0005})
        gateway.ask("/organization/new", {**MILL, "budget_id": "small"})
        gateway.ask("/team/new", {"team_id": "t", "organization_id": "mill"})
        one, two, free = gateway.key(team_id="t"), gateway.key(organization_id="mill"), gateway.key()
        assert "error" not in asked(gateway, two)
        while "error" not in asked(gateway, one):
            pass
        assert "organization:mill" in asked(gateway, two)["error"]["message"]
        spent = [gateway.ask(f"/key/info?key={key}")["info"]["spend"] for key in (one, two)]
        told = gateway.ask("/organization/info?organization_id=mill")
        assert told["spend"] == pytest.approx(sum(spent))
        assert 0 < told["spend"] <= 0.0005
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        assert "error" in asked(gateway, two)
        assert "error" not in asked(gateway, free)
        gateway.ask("/budget/update", {"budget_id": "small", "max_budget": 1})
        assert "error" not in asked(gateway, two)


def test_a_tag_is_made_shown_changed_and_deleted(gateway: Gateway) -> None:
    made = gateway.ask("/tag/new", {"name": "blue", "description": "of the blue team", "models": ["gpt"], "max_budget": 5, "rpm_limit": 9})
    assert (made["tag"]["name"], made["tag"]["description"], made["tag"]["max_budget"]) == ("blue", "of the blue team", 5)
    assert "taken" in gateway.ask("/tag/new", {"name": "blue"}, status=400)["error"]["message"]
    assert "name" in gateway.ask("/tag/new", {}, status=400)["error"]["message"]
    assert "soft_budget" in gateway.ask("/tag/new", {"name": "x", "soft_budget": 1}, status=400)["error"]["message"]
    for path, form in (
        ("tag", {"name": "x", "description": 5}),
        ("team", {"team_alias": 5}),
        ("customer", {"user_id": "x", "alias": ["a"]}),
    ):
        assert "must be a string" in gateway.ask(f"/{path}/new", form, status=400)["error"]["message"]
    assert gateway.ask("/tag/update", {"name": "blue", "rpm_limit": 7})["tag"]["rpm_limit"] == 7
    assert gateway.ask("/tag/info", {"names": ["blue"]})["blue"]["models"] == ["gpt"]
    assert "'red'" in gateway.ask("/tag/info", {"names": ["blue", "red"]}, status=404)["error"]["message"]
    gateway.chat(gateway.key(), metadata={"tags": ["red", "blue"]})
    assert [(one["name"], one["models"]) for one in gateway.ask("/tag/list")] == [("blue", ["gpt"]), ("red", None)]
    caller = gateway.key()
    for path in ("new", "update", "delete", "info"):
        gateway.ask(f"/tag/{path}", {}, caller, 403)
    gateway.ask("/tag/delete", {"name": "blue"})
    gateway.ask("/tag/delete", {"name": "blue"}, status=404)


@SQLITE
def test_limits_and_models_of_a_tag_hold_whoever_bears_it(gateway: Gateway) -> None:
    one, other, bearing = gateway.key(), gateway.key(), gateway.key(tags=["blue"])
    blue = {"metadata": {"tags": ["blue"]}}
    assert "error" not in asked(gateway, one, **blue)
    assert "error" not in asked(gateway, bearing)  # nobody knows the tag yet
    gateway.ask("/tag/new", {"name": "blue", "models": ["gpt"], "rpm_limit": 2})
    assert "error" not in asked(gateway, one, **blue)
    assert "error" not in asked(gateway, bearing, **blue)  # once, though the call bears it as well as the key
    for key, more in ((other, blue), (bearing, {}), (one, {"tags": ["blue"]})):
        assert "tag:blue" in asked(gateway, key, **more)["error"]["message"]
    by_header = gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt", "max_wait": 0}, one, 429, **{"x-litellm-tags": "blue"})
    assert "tag:blue" in by_header["error"]["message"]
    assert "error" not in asked(gateway, one, metadata={"tags": ["red"]})
    assert "'blue'" in asked(gateway, one, model="slow", **blue)["error"]["message"]
    assert "slow" in asked(gateway, bearing, model="slow")["error"]["message"]
    gateway.ask("/tag/delete", {"name": "blue"})
    assert "error" not in asked(gateway, bearing)


@SQLITE
def test_the_days_of_an_organization_are_told(gateway: Gateway) -> None:
    gateway.ask("/organization/new", MILL)
    gateway.ask("/organization/new", {"organization_id": "other", "organization_alias": "x"})
    team = gateway.ask("/team/new", {"team_alias": "wheel", "organization_id": "mill"})["team_id"]
    own, of_team, nobodys = gateway.key(organization_id="mill"), gateway.key(team_id=team), gateway.key()
    for key in (own, of_team, of_team, nobodys):
        gateway.chat(key)
    days = "start_date=2020-01-01&end_date=2100-01-01"
    (day,) = gateway.ask(f"/organization/daily/activity?{days}&organization_ids=mill,other")["results"]
    assert {name: one["metrics"]["api_requests"] for name, one in day["breakdown"]["entities"].items()} == {"mill": 3}
    assert len(day["breakdown"]["api_keys"]) == 2
    assert gateway.ask(f"/organization/daily/activity?{days}&organization_ids=other")["results"] == []
    (day,) = gateway.ask(f"/organization/daily/activity?{days}", key=own)["results"]
    assert day["metrics"]["api_requests"] == 1  # a caller's own alone


@SQLITE
def test_a_call_may_have_to_bear_its_keys_tags_alone(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at, Settings(key=KEY, own_tags=True)) as opened:
        gateway = Gateway(*opened)
        key = gateway.key(tags=["blue"])
        for more in ({"metadata": {"tags": ["red"]}}, {"tags": ["red"]}):
            assert "reject_clientside_metadata_tags" in gateway.chat(key, 400, **more)["error"]["message"]
        gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt"}, key, 400, **{"x-headrace-tags": "red"})
        gateway.chat(key, metadata={"tags": ["blue"]})
        gateway.chat(key)


def test_the_budget_of_a_tag_is_spent_by_every_call_that_bears_it(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        gateway.ask("/tag/new", {"name": "blue", "max_budget": 0.0005})
        one, bearing = gateway.key(), gateway.key(tags=["blue"])
        assert "error" not in asked(gateway, bearing)
        while "error" not in asked(gateway, one, metadata={"tags": ["blue", "blue"]}):
            pass
        assert "tag:blue" in asked(gateway, bearing)["error"]["message"]
        told = gateway.ask("/tag/info", {"names": ["blue"]})["blue"]
        assert told["spend"] == pytest.approx(gateway.ask("/global/spend")["spend"])
        assert 0 < told["spend"] <= 0.0005
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        assert "error" in asked(gateway, bearing)
        assert "error" not in asked(gateway, one)
