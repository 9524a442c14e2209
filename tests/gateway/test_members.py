"""Budgets and limits of a user within a team."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from tests.gateway.conftest import CHAT
from tests.gateway.fast_path_scene import Client
from tests.gateway.persistence import Gateway, kept, priced
from tests.gateway.test_budgets import spend

from headrace.gateway.persistence import Where

SQLITE = pytest.mark.parametrize("at", ["sqlite"], indirect=True)
Eventually = Callable[[Callable[[], bool]], bool]


def spends_all(gateway: Gateway, key: str) -> Any:
    for _ in range(20):
        if "error" in (said := spend(gateway, key)):
            return said["error"]["message"]
    raise AssertionError("nothing holds it")


def test_a_member_s_budget_within_a_team_was_refused(upstream: object, at: Where) -> None:
    """`max_budget_in_team` of LiteLLM: it holds the member's keys of that team together, and no others."""
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        gateway.ask("/team/new", {"team_id": "core"})
        added = gateway.ask("/team/member_add", {"team_id": "core", "member": {"user_id": "ann"}, "max_budget_in_team": 0.0004})
        assert [user["user_id"] for user in added["updated_users"]] == ["ann"]
        assert added["updated_team_memberships"][0]["litellm_budget_table"]["max_budget"] == 0.0004
        gateway.ask("/team/member_add", {"team_id": "core", "member": [{"user_id": "bob"}]})
        one, two = gateway.key(team_id="core", user_id="ann"), gateway.key(team_id="core", user_id="ann")
        assert "member:team:core:ann" in spends_all(gateway, one)
        assert "error" in spend(gateway, two)
        for key in (gateway.key(user_id="ann"), gateway.key(team_id="core", user_id="bob"), gateway.key(team_id="core")):
            for _ in range(4):
                assert "error" not in spend(gateway, key)
        rows = {row["user_id"]: row for row in gateway.ask("/team/info?team_id=core")["team_memberships"]}
        assert 0 < rows["ann"]["spend"] <= 0.0004
        assert (rows["bob"]["spend"] > 0.0004, rows["bob"]["litellm_budget_table"]) == (True, None)
        assert gateway.ask("/team/list")[0]["team_memberships"][0]["spend"] == rows["ann"]["spend"]
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        assert "error" in spend(gateway, two)
        changed = gateway.ask("/team/member_update", {"team_id": "core", "user_id": "ann", "max_budget_in_team": 1})
        assert (changed["max_budget_in_team"], changed["role"]) == (1, "user")
        assert "error" not in spend(gateway, two)


@SQLITE
def test_each_user_of_a_team_has_what_the_team_says_of_its_members(gateway: Gateway) -> None:
    made = gateway.ask("/team/new", {"team_id": "core", "team_member_budget": 0.0004, "team_member_budget_duration": "30d"})
    assert made["team_member_budget_table"] == {"max_budget": 0.0004, "budget_duration": "30d", "rpm_limit": None, "tpm_limit": None}
    gateway.ask("/team/member_add", {"team_id": "core", "member": {"user_id": "rich"}, "max_budget_in_team": 1})
    ann, bob, rich = (gateway.key(team_id="core", user_id=user) for user in ("ann", "bob", "rich"))
    spends_all(gateway, ann)
    assert "error" not in spend(gateway, bob)
    for _ in range(5):
        assert "error" not in spend(gateway, rich)
    gateway.ask("/team/update", {"team_id": "core", "team_member_budget": None, "team_member_budget_duration": None})
    assert "error" not in spend(gateway, ann)
    assert gateway.ask("/team/info?team_id=core")["team_info"]["team_member_budget_table"] is None


@SQLITE
def test_limits_of_a_member_hold_within_the_team_alone(gateway: Gateway) -> None:
    gateway.ask("/team/new", {"team_id": "core", "members_with_roles": [{"user_id": "ann", "role": "admin"}]})
    ann, own = gateway.key(team_id="core", user_id="ann"), gateway.key(user_id="ann")
    gateway.chat(ann)
    changed = gateway.ask("/team/member_update", {"team_id": "core", "user_id": "ann", "rpm_limit": 1, "tpm_limit": 100000})
    assert (changed["rpm_limit"], changed["tpm_limit"], changed["role"]) == (1, 100000, "admin")
    gateway.chat(ann, max_wait=0)
    assert "member:team:core:ann" in gateway.chat(ann, 429, max_wait=0)["error"]["message"]
    gateway.chat(own, max_wait=0)
    gateway.ask("/team/member_update", {"team_id": "core", "user_id": "ann", "rpm_limit": None})
    gateway.chat(ann, max_wait=0)


@SQLITE
@pytest.mark.usefixtures("nobody_else_listens")
def test_a_member_s_budget_holds_on_the_straight_way(gateway: Gateway) -> None:
    gateway.ask("/team/new", {"team_id": "core", "team_member_budget": 0.001})
    key, body, status = gateway.key(team_id="core", user_id="ann"), json.dumps({**CHAT, "model": "gpt", "max_tokens": 12}).encode(), 200
    with closing(Client(gateway.base, key)) as client:
        for _ in range(30):
            status, _, said = client.post(body)
            if status != 200:
                break
    assert (status, b"member:team:core:ann" in said) == (429, True)


@SQLITE
def test_members_are_added_changed_and_removed_by_id_and_by_email(gateway: Gateway) -> None:
    gateway.ask("/team/new", {"team_id": "core"})
    named = [{"user_email": "ann@mill.example"}, {"user_id": "bob", "role": "admin"}]
    added = gateway.ask("/team/bulk_member_add", {"team_id": "core", "members": named, "max_budget_in_team": 2})
    assert [member["role"] for member in added["members_with_roles"]] == ["user", "admin"]
    assert gateway.ask("/user/info?user_id=bob")["user_info"]["user_role"] == "internal_user"
    (ann,) = gateway.ask("/user/list?user_email=ann@mill.example")["users"]
    gateway.ask("/team/member_update", {"team_id": "core", "user_email": "ann@mill.example", "role": "admin"})
    rows = gateway.ask("/team/info?team_id=core")
    assert {"user_id": ann["user_id"], "role": "admin"} in rows["team_info"]["members_with_roles"]
    assert [row["litellm_budget_table"]["max_budget"] for row in rows["team_memberships"]] == [2, 2]
    left = gateway.ask("/team/member_delete", {"team_id": "core", "user_email": "ann@mill.example"})["members_with_roles"]
    assert left == [{"user_id": "bob", "role": "admin"}]
    for path, body, status in (
        ("add", {"team_id": "none", "member": {"user_id": "x"}}, 404),
        ("add", {"team_id": "core", "member": {"user_id": "x"}, "max_budget_in_team": "much"}, 400),
        ("add", {"team_id": "core", "member": {"user_id": "x"}, "budget_duration": "30d"}, 400),
        ("add", {"team_id": "core"}, 400),
        ("update", {"team_id": "core", "user_id": "nobody"}, 404),
        ("update", {"team_id": "core", "user_id": "bob", "tpm_limit": 0}, 400),
        ("delete", {"team_id": "core", "user_email": "nobody@mill.example"}, 404),
    ):
        gateway.ask(f"/team/member_{path}", body, status=status)
    gateway.ask("/team/bulk_member_add", {"team_id": "core", "members": []}, status=400)
