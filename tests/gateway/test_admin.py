"""The admin API: LiteLLM's request and response bodies, permissions, and sums."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.client.upstream import standing
from tests.gateway.conftest import CHAT, KEY
from tests.gateway.persistence import Gateway, kept, priced
from tests.gateway.test_keys import _any

from headrace.gateway.admin.asked_calls import at as moment_of
from headrace.gateway.admin.model_handlers import secret
from headrace.gateway.persistence import Where
from headrace.runtime.sql import Database
from headrace.runtime.sql_drivers import DatabaseError
from headrace.simulator.server import Running

Eventually = Callable[[Callable[[], bool]], bool]
TODAY = datetime.now(UTC).date()


def test_a_key_is_made_and_shown_in_litellm_s_shape(gateway: Gateway) -> None:
    form = {
        "key_alias": "ci", "models": ["gpt"], "rpm_limit": 60, "tpm_limit": 5000, "max_parallel_requests": 4, "max_budget": 2.5,
        "budget_duration": "30d", "duration": "90d", "metadata": {"owner": "ops"}, "tags": ["blue"], "user_id": "u1", "team_id": None,
        "permissions": {}, "config": {}, "key_type": "default",
    }  # fmt: skip
    made = gateway.ask("/key/generate", form)
    assert made["key"].startswith("sk-")
    assert made["key_name"] == f"sk-...{made['key'][-4:]}"
    said = gateway.ask(f"/key/info?key={made['key']}")
    assert said["key"] == made["key"]
    info = said["info"]
    expected = {name: form[name] for name in ("key_alias", "models", "rpm_limit", "tpm_limit", "max_parallel_requests", "max_budget")}
    assert (
        info.items() >= {**expected, "metadata": {"owner": "ops"}, "user_id": "u1", "team_id": None, "spend": 0, "status": "active"}.items()
    )
    assert "key" not in info
    assert datetime.fromisoformat(info["budget_reset_at"]).date() == TODAY + timedelta(days=30)
    assert datetime.fromisoformat(info["expires"]).date() == TODAY + timedelta(days=90)
    assert gateway.ask(f"/key/info?key={info['token']}")["info"] == info  # by its hash


def test_a_key_may_be_given_as_one_s_own_and_once(gateway: Gateway) -> None:
    own = "sk-0123456789abcdef"
    assert gateway.key(key=own) == own
    gateway.chat(own)
    assert "already" in gateway.ask("/key/generate", {"key": own}, status=400)["error"]["message"]


def test_null_takes_a_term_back(gateway: Gateway) -> None:
    key = gateway.key(rpm_limit=1, max_budget=1.0, budget_duration="1h", models=["slow"])
    said = gateway.ask("/key/update", {"key": key, "rpm_limit": None, "max_budget": None, "models": None})
    assert (said["rpm_limit"], said["max_budget"], said["budget_duration"], said["models"]) == (None, None, None, [])
    gateway.chat(key)
    gateway.chat(key, max_wait=0)


def test_keys_are_listed_page_by_page(gateway: Gateway) -> None:
    for number in range(5):
        gateway.key(key_alias=f"k{number}", team_id="t" if number % 2 else None)
    first = gateway.ask("/key/list?size=2&return_full_object=true")
    assert [key["key_alias"] for key in first["keys"]] == ["k4", "k3"]
    assert (first["total_count"], first["current_page"], first["total_pages"]) == (5, 1, 3)
    assert len(gateway.ask("/key/list?size=2&page=3")["keys"]) == 1
    mine = gateway.ask("/key/list?team_id=t&return_full_object=true")["keys"]
    assert [key["key_alias"] for key in mine] == ["k3", "k1"]
    assert all(isinstance(hash, str) and len(hash) == 64 for hash in gateway.ask("/key/list")["keys"])


def test_keys_are_deleted_by_alias_or_not_at_all(gateway: Gateway) -> None:
    key = gateway.key(key_alias="gone")
    gateway.ask("/key/delete", {"keys": [key], "key_aliases": ["nobody"]}, status=404)
    gateway.chat(key)
    assert gateway.ask("/key/delete", {"key_aliases": ["gone"]}) == {"deleted_keys": ["gone"]}
    gateway.chat(key, 401)


def test_keys_are_found_by_what_they_are_called(gateway: Gateway) -> None:
    keys = [gateway.key(key_alias=f"Job {number}") for number in range(3)]
    gateway.key()
    told = gateway.ask("/key/aliases?search=job&size=2&page=2")
    assert told == {"aliases": ["Job 2"], "total_count": 3, "current_page": 2, "total_pages": 2, "size": 2}
    found = gateway.ask("/v2/key/info", {"keys": [keys[1], "sk-" + "0" * 20]})
    assert [one["key_alias"] for one in found["info"]] == ["Job 1"]
    assert gateway.ask("/key/health", {}, keys[0])["key"] == "healthy"
    gateway.ask("/key/health", {}, "sk-" + "0" * 20, status=401)
    gateway.ask("/key/aliases", key=keys[0], status=403)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_service_s_key_is_its_team_s_alone(gateway: Gateway) -> None:
    gateway.ask("/team/new", {"team_id": "t"})
    made = gateway.ask("/key/service-account/generate", {"team_id": "t", "key_alias": "ci"})
    assert (made["team_id"], made["user_id"]) == ("t", None)
    assert "team_id" in gateway.ask("/key/service-account/generate", {}, status=400)["error"]["message"]
    assert "user_id" in gateway.ask("/key/service-account/generate", {"team_id": "t", "user_id": "u"}, status=400)["error"]["message"]


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_team_s_models_are_added_and_taken_away_but_the_last(gateway: Gateway) -> None:
    gateway.ask("/team/new", {"team_id": "t", "models": ["gpt"]})
    assert gateway.ask("/team/model/add", {"team_id": "t", "models": ["slow", "gpt"]})["models"] == ["gpt", "slow"]
    assert gateway.ask("/team/model/delete", {"team_id": "t", "models": ["gpt"]})["models"] == ["slow"]
    assert "may call all" in gateway.ask("/team/model/delete", {"team_id": "t", "models": ["slow"]}, status=400)["error"]["message"]
    members = [{"user_id": "a"}, {"user_id": "b", "role": "admin"}]
    shown = gateway.ask("/team/bulk_member_add", {"team_id": "t", "members": members})
    assert [one["user_id"] for one in shown["members_with_roles"]] == ["a", "b"]
    page = gateway.ask("/v2/team/list?page_size=1")
    assert ([one["team_id"] for one in page["teams"]], page["total"]) == (["t"], 1)
    assert gateway.ask("/v2/user/info?user_id=a")["user_id"] == "a"
    assert set(gateway.ask("/user/available_roles")) == {"proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"}


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_an_alias_is_one_key_s_alone(gateway: Gateway) -> None:
    gateway.key(key_alias="one")
    other = gateway.key(key_alias="other")
    gateway.ask("/key/generate", {"key_alias": "one"}, status=400)
    gateway.ask("/key/update", {"key": other, "key_alias": "one"}, status=400)
    assert gateway.ask(f"/key/info?key={other}")["info"]["key_alias"] == "other"


def test_a_team_has_members_limits_and_keys(gateway: Gateway) -> None:
    made = gateway.ask("/team/new", {"team_alias": "blue", "max_budget": 5, "members_with_roles": [{"role": "admin", "user_id": "ann"}]})
    team = made["team_id"]
    key = gateway.key(team_id=team)
    gateway.chat(key)
    gateway.ask("/team/member_add", {"team_id": team, "member": [{"role": "user", "user_id": "bob"}]})
    said = gateway.ask(f"/team/info?team_id={team}")
    assert said["team_info"]["members_with_roles"] == [{"user_id": "ann", "role": "admin"}, {"user_id": "bob", "role": "user"}]
    assert said["team_info"]["spend"] > 0
    assert [one["team_id"] for one in said["keys"]] == [team]
    gateway.ask("/team/member_delete", {"team_id": team, "user_id": "ann"})
    assert [one["team_alias"] for one in gateway.ask("/team/list?user_id=bob")] == ["blue"]
    assert gateway.ask("/team/list?user_id=ann") == []
    assert gateway.ask("/team/update", {"team_id": team, "rpm_limit": 1})["data"]["max_budget"] == 5
    gateway.ask("/team/block", {"team_id": team})
    gateway.chat(key, 401)
    gateway.ask("/team/unblock", {"team_id": team})
    gateway.chat(key)
    assert gateway.ask("/team/delete", {"team_ids": [team]}) == {"deleted_teams": [team], "deleted_keys": 1}
    gateway.chat(key, 401)
    gateway.ask(f"/team/info?team_id={team}", status=404)


def test_a_user_comes_with_a_key_under_its_terms(gateway: Gateway) -> None:
    made = gateway.ask("/user/new", {"user_email": "ann@example.com", "rpm_limit": 1, "user_role": "internal_user"})
    gateway.chat(made["key"])
    gateway.chat(made["key"], 429, max_wait=0)
    said = gateway.ask(f"/user/info?user_id={made['user_id']}")
    assert (said["user_info"]["user_email"], said["user_info"]["spend"] > 0, len(said["keys"])) == ("ann@example.com", True, 1)
    gateway.ask("/user/update", {"user_id": made["user_id"], "rpm_limit": 50})
    gateway.chat(made["key"], max_wait=0)
    listed = gateway.ask("/user/list?page_size=10")
    assert ([user["user_id"] for user in listed["users"]], listed["total"]) == ([made["user_id"]], 1)
    assert gateway.ask("/user/delete", {"user_ids": [made["user_id"]]})["deleted_keys"] == 1
    gateway.chat(made["key"], 401)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_team_takes_a_member_by_email_and_refuses_words_that_change_nothing(gateway: Gateway) -> None:
    user = gateway.ask("/user/new", {"user_email": "anna@example.org", "auto_create_key": False})["user_id"]
    gateway.ask("/team/new", {"team_id": "core"})
    team = gateway.ask("/team/member_add", {"team_id": "core", "member": {"role": "admin", "user_email": "anna@example.org"}})
    assert team["members_with_roles"] == [{"user_id": user, "role": "admin"}]
    wrong = {"team_id": "core", "member": {"user_id": "b"}, "allowed_models": ["gpt"]}
    assert "allowed_models is not known" in gateway.ask("/team/member_add", wrong, status=400)["error"]["message"]


def test_an_id_that_is_taken_is_refused(gateway: Gateway) -> None:
    gateway.ask("/team/new", {"team_id": "t", "rpm_limit": 7})
    assert "'t'" in gateway.ask("/team/new", {"team_id": "t", "rpm_limit": 8}, status=400)["error"]["message"]
    assert gateway.ask("/team/info?team_id=t")["team_info"]["rpm_limit"] == 7


# ---- who may ask what ------------------------------------------------------------------------------------------------------------

CHANGES = ["/key/generate", "/key/update", "/key/delete", "/key/regenerate", "/key/block", "/team/new", "/user/new", "/model/new"]
SIGHTS = [
    "/key/list",
    "/team/list",
    "/user/list",
    "/spend/keys",
    "/spend/tags",
    "/global/spend",
    "/global/spend/report",
    "/global/activity",
]


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_roles_administer_look_or_call(gateway: Gateway) -> None:
    caller = gateway.key()
    viewer = gateway.ask("/user/new", {"user_role": "proxy_admin_viewer"})["key"]
    admin = gateway.key(user_role="proxy_admin")
    for path in CHANGES:
        for key in (caller, viewer):
            gateway.ask(path, {}, key, 403)
    for path in SIGHTS:
        gateway.ask(path, key=caller, status=403)
        gateway.ask(path, key=viewer)
    gateway.chat(viewer, 403)
    gateway.chat(admin)
    assert gateway.ask("/key/generate", {"key_alias": "by-admin"}, admin)["key_alias"] == "by-admin"


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_caller_sees_its_own_and_nobody_else_s(gateway: Gateway) -> None:
    own, other = gateway.key(key_alias="own"), gateway.key(key_alias="other")
    gateway.chat(own)
    gateway.chat(other)
    assert gateway.ask("/key/info", key=own)["info"]["key_alias"] == "own"
    gateway.ask(f"/key/info?key={other}", key=own, status=404)
    assert [one["metadata"]["user_api_key_alias"] for one in gateway.ask("/spend/logs", key=own)] == ["own"]
    assert len(gateway.ask("/spend/logs")) == 2
    gateway.ask("/user/info?user_id=someone", key=own, status=404)
    gateway.ask("/team/info?team_id=someone", key=own, status=404)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("path", "status"), [("/key/nonsense", 404), ("/key/a/b/regenerate/c", 404), ("/team/", 404), ("/key/generate", 405)]
)
def test_what_the_admin_api_does_not_know_is_said(gateway: Gateway, path: str, status: int) -> None:
    said = gateway.ask(path, status=status)["error"]["message"]
    assert path in said
    assert ("takes POST, not GET" in said) == (status == 405)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_the_admin_api_is_closed_without_a_key(gateway: Gateway) -> None:
    gateway.key(key_alias="hidden")
    said = gateway.ask("/key/list", key="sk-nobody", status=401)
    assert set(said) == {"error"}
    assert "hidden" not in str(said)


# ---- models ----------------------------------------------------------------------------------------------------------------------


def entry(upstream: object, **params: Any) -> dict[str, Any]:
    given = {"model": "openai/gpt-sim", "api_base": f"{upstream}/sim/v1", "api_key": "os.environ/UPSTREAM_KEY", **params}
    return {"model_name": "late-comer", "litellm_params": given, "model_info": {"id": "added"}}


def test_a_model_added_at_run_time_serves_here_elsewhere_and_after_a_restart(
    upstream: object, at: Where, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream")
    with kept(priced(upstream), at) as opened, kept(priced(upstream), at) as opened_too:
        one, other = Gateway(*opened), Gateway(*opened_too)
        assert one.ask("/model/new", entry(upstream))["model_id"] == "added"
        one.chat(KEY, model="late-comer")
        assert eventually(lambda: "late-comer" in str(other.ask("/v1/models")))
        other.chat(KEY, model="late-comer")
        one.ask("/model/update", {"model_info": {"id": "added"}, "litellm_params": {"rpm": 1}})
        (said,) = one.ask("/model/info?litellm_model_id=added")["data"]
        assert (said["litellm_params"]["rpm"], said["model_info"]["db_model"]) == (1, True)
        assert "api_key" not in said["litellm_params"]
    with kept(priced(upstream), at) as opened:
        again = Gateway(*opened)
        again.chat(KEY, model="late-comer")
        again.state.admin._models._context.router.delete_deployment("added")  # as another configuration's model_list does
        assert eventually(lambda: "late-comer" in str(again.ask("/v1/models")))
        again.ask("/model/delete", {"id": "added"})
        again.chat(KEY, 404, model="late-comer")


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"api_key": "sk-in-clear-0123456789"}, "os.environ/NAME"),
        ({"extra_headers": {"authorization": "sk-in-clear-0123456789"}}, "extra_headers"),
        ({"api_key": "os.environ/NOT_THERE"}, "NOT_THERE"),
        ({"rpm": 0}, "rpm"),
    ],
)
def test_a_model_that_cannot_be_is_refused_and_not_kept(
    gateway: Gateway, upstream: object, change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream")
    message = gateway.ask("/model/new", entry(upstream, **change), status=400)["error"]["message"]
    assert said in message
    assert "in-clear" not in message
    assert "late-comer" not in str(gateway.ask("/v1/models"))


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_models_of_the_configuration_are_changed_there(gateway: Gateway) -> None:
    assert "configuration" in gateway.ask("/model/delete", {"id": "first"}, status=400)["error"]["message"]


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_models_come_in_pages_and_their_tokens_are_counted(gateway: Gateway) -> None:
    page = gateway.ask("/v2/model/info?size=1&page=2")
    assert ([one["model_name"] for one in page["data"]], page["total_count"], page["total_pages"]) == (["slow"], 2, 2)
    assert gateway.ask("/v2/model/info?search=gp")["total_count"] == gateway.ask("/v2/model/info?model=gpt")["total_count"] == 1
    said = {"model": "gpt", "messages": CHAT["messages"]}
    counted = gateway.ask("/utils/token_counter", said, gateway.key())
    assert (counted["request_model"], counted["model_used"], counted["tokenizer_type"]) == ("gpt", "openai/gpt-sim", "local_tokenizer")
    assert counted["total_tokens"] > 0
    more = {**said, "messages": [{"role": "user", "content": "hi " * 500}]}
    assert gateway.ask("/utils/token_counter", more)["total_tokens"] > 400
    assert gateway.ask("/utils/token_counter", {"model": "other", "prompt": "hi " * 500})["total_tokens"] > 400
    for wrong, named in (({"messages": "hi"}, "messages"), ({"messages": [1]}, "messages"), ({}, "prompt"), ({"prompt": 1}, "prompt")):
        assert named in gateway.ask("/utils/token_counter", {"model": "gpt", **wrong}, status=400)["error"]["message"]


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_models_are_described_without_their_secrets(gateway: Gateway) -> None:
    models = {model["model_name"]: model for model in gateway.ask("/v1/model/info")["data"]}
    assert set(models) == {"gpt", "slow"}
    assert models["gpt"]["model_info"]["input_cost_per_token"] == 2e-6
    assert "sk-upstream" not in str(models)
    (group,) = gateway.ask("/model_group/info?model_group=gpt")["data"]
    assert (group["model_group"], group["providers"], group["output_cost_per_token"]) == ("gpt", ["openai"], 1e-5)
    key = gateway.key(models=["slow"])
    assert [one["model_name"] for one in gateway.ask("/model/info", key=key)["data"]] == ["slow"]


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("api_key", True), ("aws_secret_access_key", True), ("aws_session_token", True), ("azure_ad_token", True), ("client_secret", True),
        ("vertex_credentials", True), ("azure_password", True), ("extra_headers", True), ("token", True),
        ("max_tokens", False), ("input_cost_per_token", False), ("model", False), ("api_base", False), ("tpm", False),
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_names(name: str, hidden: bool) -> None:
    assert secret(name) is hidden


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_health_asks_each_deployment(gateway: Gateway) -> None:
    said = gateway.ask("/health?model=gpt")
    assert (said["healthy_count"], said["unhealthy_count"], len(said["healthy_endpoints"])) == (1, 0, 1)
    assert "sk-upstream" not in str(said)
    gateway.ask("/health", key=gateway.key(), status=403)
    gateway.ask("/health?model=none", status=404)
    gateway.ask("/health?cached=soon", status=400)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_health_that_may_be_a_little_old_asks_once_for_all_who_watch(gateway: Gateway, upstream: Running) -> None:
    def asked() -> int:
        with urllib.request.urlopen(f"{upstream}/stats") as answer:
            return int(json.load(answer)["providers"]["sim"]["requests"])

    before = asked()
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: gateway.ask("/health?model=gpt&cached=300"), range(4)))
    assert asked() == before + 1
    assert [one["healthy_count"] for one in told] == [1] * 4
    gateway.ask("/health?model=gpt")
    assert asked() == before + 2
    latest = gateway.ask("/health/latest")
    assert latest["total_models"] == 2
    assert latest["latest_health_checks"]["first"]["healthy"] is True
    assert latest["latest_health_checks"]["second"]["healthy"] is None
    assert asked() == before + 2  # nobody was asked
    assert gateway.ask("/health/backlog") == {"in_flight_requests": 0, "queued_requests": 0, "queues": {"gpt": 0, "slow": 0}}
    gateway.ask("/health/other", status=404)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_connection_is_tested_before_a_model_is_added(gateway: Gateway, upstream: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for named in ({"litellm_params": {"model": "gpt"}}, {"litellm_params": {"model": "openai/gpt-sim"}}):
        said = gateway.ask("/health/test_connection", named)
        assert (said["status"], said["result"]["model_name"]) == ("success", "gpt")
    said = gateway.ask("/health/test_connection", {"litellm_params": {"model": "gpt"}, "model_info": {"id": "second"}})
    assert said["result"]["model_id"] == "second"
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream")
    new = {"model": "openai/embed-sim", "api_base": f"{upstream}/sim/v1", "api_key": "os.environ/UPSTREAM_KEY"}
    assert gateway.ask("/health/test_connection", {"litellm_params": new, "mode": "embedding"})["status"] == "success"
    said = gateway.ask("/health/test_connection", {"litellm_params": {**new, "model": "openai/no-such-model"}, "mode": "chat"})
    assert (said["status"], "no-such-model" in said["result"]["error"]) == ("error", True)
    assert "sk-upstream" not in str(said)
    with standing() as other:
        elsewhere = {"model": "openai/gpt-sim", "api_base": other.url}
        assert gateway.ask("/health/test_connection", {"litellm_params": elsewhere})["status"] == "success"
        assert "sk-upstream" not in str(other.seen[0].headers)  # the key of the deployment with that model stays here
    assert gateway.ask("/health/test_connection", {"litellm_params": {**new, "model": "openai/*"}})["status"] == "error"
    gateway.ask("/health/test_connection", {"litellm_params": {"model": "nobody/knows"}}, status=400)
    gateway.ask("/health/test_connection", {}, status=400)
    gateway.ask("/health/test_connection", {"litellm_params": {"model": "gpt"}}, gateway.key(), 403)
    assert gateway.ask("/health?model_id=second")["healthy_count"] == 1


def test_what_the_gateway_leans_on_is_asked_how_it_is(gateway: Gateway) -> None:
    assert gateway.ask("/health/services?service=database")["status"] == "success"
    assert "langfuse" in gateway.ask("/health/services?service=langfuse", status=400)["error"]["message"]
    gateway.ask("/health/services?service=database", key=gateway.key(), status=403)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_database_that_does_not_answer_is_told_as_unhealthy(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(self: Database, work: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(Database, "read", away)
    said = gateway.ask("/health/services?service=database")
    assert (said["status"], "gone" in said["message"]) == ("unhealthy", True)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_parameters_that_a_model_takes_are_told(gateway: Gateway) -> None:
    key = gateway.key(models=["slow"])
    for model in ("gpt", "openai/gpt-4o", "anthropic/claude-sonnet-4-5"):
        assert "temperature" in gateway.ask(f"/utils/supported_openai_params?model={model}")["supported_openai_params"]
    gateway.ask("/utils/supported_openai_params?model=gpt", key=key, status=400)  # it is not for this key to know
    assert "'nobody'" in gateway.ask("/utils/supported_openai_params?model=nobody", status=400)["error"]["message"]
    gateway.ask("/utils/supported_openai_params", status=400)
    own = {"model": "grey-parrot", "custom_llm_provider": "anthropic", "api_key": "os.environ/HOME"}
    gateway.ask("/model/new", {"model_name": "parrot", "litellm_params": own})
    polly = gateway.key(models=["parrot"], aliases={"polly": "parrot"})
    found = gateway.ask("/utils/supported_openai_params?model=polly", key=polly)["supported_openai_params"]
    assert found == gateway.ask("/utils/supported_openai_params?model=anthropic/claude-sonnet-4-5")["supported_openai_params"]


# ---- spending --------------------------------------------------------------------------------------------------------------------


def test_sums_by_everything_there_is_agree(gateway: Gateway) -> None:
    team = gateway.ask("/team/new", {"team_alias": "blue"})["team_id"]
    one, two = gateway.key(key_alias="one", team_id=team, tags=["t1"]), gateway.key(key_alias="two", user_id="ann")
    for key in (one, one, two):
        gateway.chat(key, metadata={"tags": ["t2"]}, user="customer-1")
    logs = gateway.ask("/spend/logs")
    total = sum(call["spend"] for call in logs)
    assert len(logs) == 3
    assert total > 0
    assert gateway.ask("/global/spend")["spend"] == pytest.approx(total)
    assert sum(day["spend"] for day in gateway.ask("/global/spend/logs")) == pytest.approx(total)
    assert sum(key["total_spend"] for key in gateway.ask("/global/spend/keys")) == pytest.approx(total)
    assert [key["key_alias"] for key in gateway.ask("/spend/keys")] == ["one", "two"]
    assert gateway.ask("/global/spend/models") == [{"model": "gpt-sim", "total_spend": pytest.approx(total)}]
    assert gateway.ask("/global/spend/provider") == [{"provider": "openai", "spend": pytest.approx(total)}]
    tags = {tag["individual_request_tag"]: tag["log_count"] for tag in gateway.ask("/spend/tags")}
    assert tags == {"t1": 2, "t2": 3}
    teams = {one["team_id"]: one["total_spend"] for one in gateway.ask("/global/spend/teams")["total_spend_per_team"]}
    assert sum(teams.values()) == pytest.approx(total)
    assert set(teams) == {"", team}
    (day,) = gateway.ask("/global/spend/report?group_by=customer")
    assert (day["group_by_day"], day["customers"][0]["customer_name"]) == (TODAY.isoformat(), "customer-1")
    activity = gateway.ask("/global/activity")
    assert (activity["sum_api_requests"], activity["sum_total_tokens"]) == (3, sum(call["total_tokens"] for call in logs))
    (summary,) = gateway.ask(f"/spend/logs?start_date={TODAY}&end_date={TODAY}")
    assert summary["spend"] == pytest.approx(total)
    assert summary["models"] == {"gpt-sim": pytest.approx(total)}
    pages = gateway.ask("/spend/logs/v2?page=2&page_size=2")
    assert (len(pages["data"]), pages["total"], pages["total_pages"]) == (1, 3, 2)


def test_each_day_is_told_by_whose_it_was_and_its_parts_add_up(gateway: Gateway) -> None:
    team = gateway.ask("/team/new", {"team_alias": "blue"})["team_id"]
    one, two = gateway.key(key_alias="one", team_id=team, tags=["t1"]), gateway.key(key_alias="two", user_id="ann")
    for key in (one, one, two):
        gateway.chat(key, metadata={"tags": ["t2"]}, user="customer-1")
    gateway.chat(two, 404, model="nobody")
    logs = gateway.ask("/spend/logs")
    total = pytest.approx(sum(call["spend"] for call in logs))
    days = f"start_date={TODAY}&end_date={TODAY}"

    def told(room: str, more: str = "", key: str = KEY) -> tuple[dict[str, Any], dict[str, Any]]:
        answer = gateway.ask(f"/{room}/daily/activity?{days}{more}", key=key)
        (day,) = answer["results"]
        assert day["date"] == TODAY.isoformat()
        metrics = day["metrics"]
        assert answer["metadata"] == {
            **{f"total_{name.removeprefix('total_')}": value for name, value in metrics.items()},
            "page": 1, "total_pages": 1, "has_more": False,
        }  # fmt: skip
        return metrics, day["breakdown"]

    metrics, parts = told("user")
    assert metrics["spend"] == total
    assert (metrics["api_requests"], metrics["successful_requests"], metrics["failed_requests"]) == (4, 3, 1)
    assert metrics["total_tokens"] == sum(call["total_tokens"] for call in logs)
    assert metrics["total_response_time_ms"] >= 0
    assert parts["models"]["gpt-sim"]["metrics"]["spend"] == total
    assert parts["providers"]["openai"]["metrics"]["api_requests"] == 3
    assert parts["endpoints"]["/v1/chat/completions"]["metrics"]["api_requests"] == 4
    assert {key["metadata"]["key_alias"]: key["metrics"]["api_requests"] for key in parts["api_keys"].values()} == {"one": 2, "two": 2}
    of_gpt = parts["model_groups"]["gpt"]["api_key_breakdown"]
    assert sorted(key["metrics"]["api_requests"] for key in of_gpt.values()) == [1, 2]
    assert set(parts["entities"]) == {"ann"}
    assert told("team", f"&team_ids={team},none")[0]["api_requests"] == 2
    assert told("customer", "&end_user_ids=customer-1")[0]["api_requests"] == 3
    metrics, parts = told("tag", "&tags=t1")
    assert metrics["api_requests"] == 2
    assert {name: one["metrics"]["api_requests"] for name, one in parts["entities"].items()} == {"t1": 2, "t2": 2}
    assert told("user", key=one)[0]["api_requests"] == 2  # a caller's own alone
    assert gateway.ask(f"/user/daily/activity?{days}&user_id=none")["results"] == []
    assert "start_date" in gateway.ask("/team/daily/activity", status=400)["error"]["message"]
    (group, nobody) = gateway.ask("/global/activity/model")
    assert (group["model"], group["sum_api_requests"], nobody["model"]) == ("gpt", 3, "nobody")
    assert gateway.ask("/global/spend/all_tag_names") == {"tag_names": ["t1", "t2"]}
    assert gateway.ask("/global/all_end_users") == {"end_users": ["customer-1"]}
    gateway.ask("/global/activity/model", key=one, status=403)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_days_come_in_pages_the_newest_first(gateway: Gateway) -> None:
    from tests.gateway.test_ledger import record

    for day in (1, 2, 3):
        gateway.state.ledger.append(record(day, began=day * 86_400.0 + 60))
    asked = "/user/daily/activity?start_date=1970-01-01&end_date=1970-01-09&page_size=2"
    first, second = gateway.ask(asked), gateway.ask(f"{asked}&page=2")
    assert [day["date"] for day in (*first["results"], *second["results"])] == ["1970-01-04", "1970-01-03", "1970-01-02"]
    assert (first["metadata"]["has_more"], second["metadata"]["has_more"], second["metadata"]["total_pages"]) == (True, False, 2)
    assert second["metadata"]["total_api_requests"] == 3


def test_a_call_is_found_by_its_request_id_in_litellm_s_shape(gateway: Gateway) -> None:
    began = time.time()
    key = gateway.key(key_alias="one")
    gateway.chat(key, metadata={"session_id": "s1", "spend_logs_metadata": {"order": 7}})
    (call,) = gateway.ask(f"/spend/logs?api_key={key}")
    assert gateway.ask(f"/spend/logs?request_id={call['request_id']}") == [call]
    assert call["api_key"] == gateway.ask(f"/key/info?key={key}")["info"]["token"]
    assert call["total_tokens"] == call["prompt_tokens"] + call["completion_tokens"] > 0
    assert (call["model"], call["model_group"], call["model_id"], call["status"]) == ("gpt-sim", "gpt", "first", "success")
    assert (call["session_id"], call["metadata"]["spend_logs_metadata"]) == ("s1", {"order": 7})
    assert began <= datetime.fromisoformat(call["startTime"]).timestamp() <= datetime.fromisoformat(call["endTime"]).timestamp()
    assert call["spend"] == pytest.approx(call["prompt_tokens"] * 2e-6 + call["completion_tokens"] * 1e-5)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_failed_call_is_a_failure_and_costs_nothing(gateway: Gateway) -> None:
    gateway.chat(KEY, 404, model="nobody")
    (call,) = gateway.ask("/spend/logs")
    assert (call["status"], call["spend"], call["metadata"]["http_status"], call["metadata"]["error"]) == ("failure", 0, 404, "not_found")


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_call_whose_caller_left_before_it_was_answered_says_where_it_was(gateway: Gateway, eventually: Eventually) -> None:
    from tests.gateway.test_leavers import ask

    with ask(gateway.base, "/v1/chat/completions", {**CHAT, "model": "slow", "max_tokens": 50}):
        time.sleep(0.3)
    assert eventually(lambda: len(gateway.ask("/spend/logs")) == 1)
    (call,) = gateway.ask("/spend/logs")
    assert (call["model_id"], call["metadata"]["outcome"], call["metadata"]["http_status"]) == ("second", "left", 499)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_what_was_spent_is_forgiven_to_all_at_once_and_stays_in_the_ledger(gateway: Gateway) -> None:
    gateway.ask("/team/new", {"team_id": "t"})
    key, rich = gateway.key(max_budget=0.0003, team_id="t"), gateway.key()
    small = {**CHAT, "model": "gpt", "max_tokens": 12, "max_wait": 0}
    while "error" not in gateway.ask("/v1/chat/completions", small, key, _any(200, 429)):
        pass
    gateway.chat(rich)
    assert gateway.ask("/team/info?team_id=t")["team_info"]["spend"] > 0
    gateway.ask("/global/spend/reset", {}, key, 403)
    gateway.ask("/global/spend/reset", status=405)
    assert gateway.ask("/global/spend/reset", {})["status"] == "success"
    assert [gateway.ask(f"/key/info?key={one}")["info"]["spend"] for one in (key, rich)] == [0, 0]
    assert gateway.ask("/team/info?team_id=t")["team_info"]["spend"] == 0
    gateway.chat(key, max_tokens=12, max_wait=0)
    assert gateway.ask(f"/key/info?key={key}")["info"]["spend"] > 0
    assert gateway.ask("/global/spend")["spend"] > 0.0003


def test_a_price_is_told_without_a_call(gateway: Gateway) -> None:
    said = gateway.ask("/spend/calculate", {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})
    assert 0 < said["cost"] < 0.001
    gateway.ask("/spend/calculate", {"model": "nobody-knows", "messages": []}, status=400)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
@pytest.mark.parametrize("query", ["start_date=yesterday", "page=0", "group_by=moon"])
def test_a_question_that_cannot_be_is_refused_by_its_word(gateway: Gateway, query: str) -> None:
    path = {"page=0": "/spend/logs/v2", "group_by=moon": "/global/spend/report"}.get(query, "/spend/logs")
    assert query.partition("=")[0] in gateway.ask(f"{path}?{query}", status=400)["error"]["message"]


@pytest.mark.parametrize(
    ("value", "end", "seconds"),
    [("1970-01-02", False, 86_400), ("1970-01-02", True, 2 * 86_400), ("1970-01-01T01:00:00+01:00", True, 0)],
)
def test_days_are_those_of_utc(value: str, end: bool, seconds: float) -> None:
    assert moment_of(value, "day", end=end) == seconds
