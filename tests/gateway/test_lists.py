"""Lists of the admin API: filters, sorting and pages as in LiteLLM's proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway.persistence import Gateway

pytestmark = pytest.mark.parametrize("at", ["sqlite"], indirect=True)
Eventually = Callable[[Callable[[], bool]], bool]


def aliases(gateway: Gateway, query: str) -> list[str]:
    return [key["key_alias"] for key in gateway.ask(f"/key/list?return_full_object=true&{query}")["keys"]]


def test_keys_that_a_query_did_not_ask_for_were_listed(gateway: Gateway) -> None:
    """`organization_id` and `status` were read over: who deleted what was listed would have deleted all keys."""
    gateway.ask("/organization/new", {"organization_id": "o", "organization_alias": "O"})
    gateway.key(key_alias="plain", user_id="ann")
    gateway.key(key_alias="of-o", organization_id="o", user_id="anna")
    gateway.key(key_alias="ended", duration="1s", blocked=True)
    assert aliases(gateway, "organization_id=o") == ["of-o"]
    assert aliases(gateway, "search=PLA") == ["plain"]
    assert aliases(gateway, "status=revoked") == ["ended"]
    assert aliases(gateway, "status=active") == ["of-o", "plain"]
    assert aliases(gateway, "user_id=ann") == ["plain"]
    assert aliases(gateway, "user_id=ann&substring_matching=true") == ["of-o", "plain"]
    assert aliases(gateway, "project_id=p") == []
    assert aliases(gateway, "sort_by=key_alias") == ["ended", "of-o", "plain"]
    assert aliases(gateway, "sort_by=key_alias&sort_order=desc&size=1&page=2") == ["of-o"]
    assert aliases(gateway, "sort_by=user_id") == ["plain", "of-o", "ended"]
    for wrong in ("status=deleted", "sort_by=metadata", "sort_by=nothing", "sort_by=spend&sort_order=up", "expires=never"):
        gateway.ask(f"/key/list?{wrong}", status=400)


def test_users_that_a_query_did_not_ask_for_were_listed(gateway: Gateway) -> None:
    for name in ("ann", "anna", "bob"):
        gateway.ask("/user/new", {"user_id": name, "user_email": f"{name}@mill.example", "auto_create_key": name != "bob"})
    gateway.ask("/team/new", {"team_id": "core", "members_with_roles": [{"user_id": "ann"}]})

    def users(query: str) -> list[str]:
        return [user["user_id"] for user in gateway.ask(f"/user/list?{query}")["users"]]

    assert users("") == ["bob", "anna", "ann"]
    assert users("user_ids=anna") == ["anna"]
    assert users("user_ids=ann,bob") == ["bob", "ann"]
    assert users("user_email=BOB@") == ["bob"]
    assert users("search=nna") == ["anna"]
    assert users("team=core") == ["ann"]
    assert users("role=internal_user&sort_by=user_id&page_size=2") == ["ann", "anna"]
    assert users("role=proxy_admin") == []
    (shown,) = gateway.ask("/user/list?team=core")["users"]
    assert (shown["teams"], shown["key_count"]) == (["core"], 1)


def test_teams_that_a_query_did_not_ask_for_were_listed(gateway: Gateway) -> None:
    gateway.ask("/organization/new", {"organization_id": "o", "organization_alias": "O"})
    gateway.ask("/team/new", {"team_id": "core", "team_alias": "Core", "members_with_roles": [{"user_id": "ann"}]})
    gateway.ask("/team/new", {"team_id": "ops", "team_alias": "Ops", "organization_id": "o"})
    gateway.key(team_id="ops", key_alias="k")

    def teams(query: str) -> list[str]:
        return [team["team_id"] for team in gateway.ask(f"/v2/team/list?{query}")["teams"]]

    assert teams("organization_id=o") == ["ops"]
    assert teams("organization_id=default_organization") == ["core"]
    assert teams("user_id=ann") == ["core"]
    assert teams("team_id=ops") == ["ops"]
    assert teams("team_alias=cor") == ["core"]
    assert teams("search=ops") == ["ops"]
    (shown,) = gateway.ask("/v2/team/list?team_id=ops")["teams"]
    assert (shown["members_count"], shown["keys_count"]) == (0, 1)
    (listed,) = gateway.ask("/team/list?organization_id=o")
    assert [key["key_alias"] for key in listed["keys"]] == ["k"]


def test_several_keys_and_users_are_changed_at_once(gateway: Gateway) -> None:
    key, other = gateway.key(), gateway.key()
    said = gateway.ask("/key/bulk_update", {"keys": [{"key": key, "max_budget": 9}, {"key": "sk-none"}, {"key": other, "models": "gpt"}]})
    assert (said["total_requested"], len(said["successful_updates"]), len(said["failed_updates"])) == (3, 1, 2)
    assert said["successful_updates"][0]["key_info"]["max_budget"] == 9
    assert "no such key" in said["failed_updates"][0]["failed_reason"]
    gateway.ask("/key/bulk_update", {"keys": []}, status=400)
    gateway.ask("/key/bulk_update", {"keys": [{"key": key}]}, key, status=403)
    for name in ("ann", "bob"):
        gateway.ask("/user/new", {"user_id": name, "auto_create_key": False})
    said = gateway.ask("/user/bulk_update", {"users": [{"user_id": "ann", "max_budget": 3}, {"user_id": "none"}]})
    assert [one["success"] for one in said["results"]] == [True, False]
    assert (said["successful_updates"], said["failed_updates"]) == (1, 1)
    assert gateway.ask("/user/bulk_update", {"all_users": True, "user_updates": {"max_budget": 4}})["successful_updates"] == 2
    assert gateway.ask("/user/info?user_id=bob")["user_info"]["max_budget"] == 4


def test_whom_a_key_was_made_for_was_no_user(gateway: Gateway) -> None:
    key = gateway.key(user_id="ann", key_alias="k")
    said = gateway.ask("/user/info?user_id=ann")
    assert [one["key_alias"] for one in said["keys"]] == ["k"]
    assert gateway.ask("/user/info", key=key)["user_id"] == "ann"
    gateway.key(user_id="ann")
    assert gateway.ask("/user/list?user_ids=ann")["users"][0]["key_count"] == 2


def test_a_customer_whom_calls_were_for_was_unknown_until_it_was_made(gateway: Gateway, eventually: Eventually) -> None:
    key = gateway.key()
    gateway.chat(key, user="acme")
    assert eventually(lambda: gateway.ask("/customer/info?end_user_id=acme", status=200)["spend"] > 0)
    assert gateway.ask("/customer/info?end_user_id=acme")["litellm_budget_table"] is None
    gateway.ask("/customer/info?end_user_id=nobody", status=404)
    gateway.ask("/customer/info", status=400)
    made = gateway.ask("/customer/new", {"user_id": "small", "max_budget": 2})
    assert (made["litellm_budget_table"]["max_budget"], made["litellm_budget_table"]["budget_id"]) == (2, None)


def test_a_deployment_s_health_did_not_tell_where_it_is(gateway: Gateway) -> None:
    (found,) = gateway.ask("/health?model=gpt")["healthy_endpoints"]
    assert found["api_base"].endswith("/sim/v1")
    assert "api_key" not in found


def test_calls_that_a_query_did_not_ask_for_were_listed(gateway: Gateway) -> None:
    key, other = gateway.key(key_alias="one"), gateway.key(key_alias="two", models=["gpt"])
    gateway.chat(key, metadata={"session_id": "s"})
    gateway.chat(other)
    gateway.chat(other, 403, model="slow")

    def names(query: str) -> list[Any]:
        return [call["metadata"]["user_api_key_alias"] for call in gateway.ask(f"/spend/logs/v2?{query}")["data"]]

    assert names("key_alias=one") == ["one"]
    assert names("session_id=s") == ["one"]
    assert names("model_id=first&status_filter=success") == ["two", "one"]
    assert names("status_filter=failure") == ["two"]
    assert names("min_spend=0.0000001") == ["two", "one"]
    assert names("max_spend=0") == ["two"]
    for wrong in ("status_filter=odd", "min_spend=nan", "max_spend=much"):
        gateway.ask(f"/spend/logs/v2?{wrong}", status=400)
    reset = gateway.ask(f"/key/{key}/reset_spend", {"reset_to": 0})
    assert reset["previous_spend"] > 0 == reset["spend"]


def test_end_users_are_told_by_what_was_spent_for_them(gateway: Gateway) -> None:
    key = gateway.key()
    for customer, calls in (("acme", 2), ("other", 1)):
        for _ in range(calls):
            gateway.chat(key, user=customer, max_tokens=5)
    found = gateway.ask("/global/spend/end_users", {"api_key": key, "startTime": "2020-01-01", "endTime": None})
    assert {one["end_user"]: one["total_count"] for one in found} == {"acme": 2, "other": 1}
    assert found[0]["total_spend"] >= found[1]["total_spend"] > 0
    assert gateway.ask("/global/spend/end_users", {"startTime": "2020-01-01", "endTime": "2020-01-02"}) == []
    gateway.ask("/global/spend/end_users", {}, key, status=403)
    (call, *_) = gateway.ask("/spend/logs?end_user=acme")
    assert call["metadata"]["user_api_key"] == call["api_key"]
