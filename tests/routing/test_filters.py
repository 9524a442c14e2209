"""Which deployments are eligible for a call."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import BadRequestError, ContextWindowExceededError
from headrace.routing.filters import Wants, fitting, wants_of
from headrace.routing.plan import Deployment, read_deployment


def deployment(id: str, info: dict[str, Any] | None = None, **params: Any) -> Deployment:
    entry = {"model_name": "gpt", "litellm_params": {"model": "openai/ours", **params}, "model_info": {"id": id, **(info or {})}}
    return read_deployment(entry, "d", {})


def ids(members: list[Deployment], wants: Wants, **how: Any) -> list[str]:
    found = fitting(members, wants, **{"by_tags": False, "any_tag": True, "window": False, **how})
    return [member.id for member in found]


TAGGED = [
    deployment("paid", tags=["paid"]), deployment("both", tags=["paid", "eu"]), deployment("default", tags=["default"]), deployment("plain")
]  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "any_tag", "found"),
    [
        (["paid"], True, ["paid", "both"]),
        (["paid", "eu"], True, ["paid", "both"]),
        (["paid", "eu"], False, ["both"]),
        ([], True, ["default"]),
        (["unheard-of"], True, ["default"]),
    ],
)
def test_tags_choose_and_the_default_is_for_all_others(tags: list[str], any_tag: bool, found: list[str]) -> None:
    assert ids(TAGGED, Wants(frozenset(tags)), by_tags=True, any_tag=any_tag) == found


def test_without_a_default_calls_without_tags_go_to_deployments_without() -> None:
    members = [TAGGED[0], TAGGED[3]]
    assert ids(members, Wants(), by_tags=True) == ["plain"]
    with pytest.raises(BadRequestError, match="no deployment of 'gpt' accepts tags unheard-of"):
        ids(members, Wants(frozenset(["unheard-of"])), by_tags=True)


def test_a_teams_deployment_serves_nobody_else() -> None:
    members = [deployment("theirs", {"team_id": "t1"}), deployment("anybody's")]
    assert ids(members, Wants()) == ["anybody's"]
    assert ids(members, Wants(team="t1")) == ["theirs", "anybody's"]
    with pytest.raises(BadRequestError, match="team t2"):
        ids(members[:1], Wants(team="t2"))


def test_a_region_may_be_demanded() -> None:
    members = [deployment("eu", region_name="eu-west-1"), deployment("us", region_name="us-east-1"), deployment("anywhere")]
    assert ids(members, Wants(region="eu")) == ["eu"]


def test_a_prompt_goes_where_the_window_is_large_enough() -> None:
    members = [deployment("small", max_input_tokens=100), deployment("large", {"max_input_tokens": 10_000}), deployment("unknown")]
    assert ids(members, Wants(tokens=5000), window=True) == ["large", "unknown"]
    known = deployment("known", model="openai/gpt-4o")
    assert ids([known], Wants(tokens=100_000), window=True) == ["known"]
    with pytest.raises(ContextWindowExceededError, match="about 200000 tokens, and the largest context window is 128000"):
        ids([known], Wants(tokens=200_000), window=True)


def test_what_a_call_wants_is_read_from_its_options_and_its_metadata() -> None:
    control = {"metadata": {"tags": ["a"], "user_api_key_team_id": "t"}, "allowed_model_region": "eu"}
    assert wants_of(control, 7) == Wants(frozenset(["a"]), team="t", region="eu", tokens=7)
    assert wants_of({"tags": ["b"], "metadata": {"tags": ["a"]}}, 0).tags == {"b"}
    with pytest.raises(BadRequestError, match="tags must be a list"):
        wants_of({"tags": "paid"}, 0)
