"""Policies: which guardrails apply to whose calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, KEY
from tests.gateway.persistence import Gateway, kept, priced

from headrace.gateway.callers import Caller
from headrace.gateway.config import Mistakes, read_config
from headrace.gateway.guardrails import GuardrailService
from headrace.gateway.persistence import Where
from headrace.gateway.policies import Policies, read_policies
from headrace.layers.guardrails import Finding, Guardrail

RULES = ("pii", "secrets", "audit", "toxic")


def policies(known: Any, attached: Any) -> Policies:
    wrong: list[str] = []
    found = read_policies(known, attached, RULES, wrong.append)
    assert wrong == []
    return found


KNOWN = {
    "baseline": {"description": "for all", "guardrails": {"add": ["pii", "secrets"]}},
    "health": {"inherit": "baseline", "guardrails": {"add": ["audit"], "remove": ["secrets"]}},
    "strict": {"guardrails": {"add": ["toxic"]}, "condition": {"model": ["gpt-4.*", "claude"]}},
    "strict health": {"inherit": "health", "guardrails": {"add": ["toxic"]}, "condition": {"model": "gpt-4"}},
}
ANNA = Caller(key="key_1", name="dev-anna", team="t-1", team_name="healthcare", tags=("prod-eu",))


@pytest.mark.parametrize(
    ("attached", "caller", "model", "rules"),
    [
        ([{"policy": "baseline", "scope": "*"}], Caller(), "gpt", {"pii", "secrets"}),
        ([{"policy": "baseline"}], Caller(), "gpt", {"pii", "secrets"}),
        ([{"policy": "health", "teams": ["health*"]}], ANNA, "gpt", {"pii", "audit"}),
        ([{"policy": "health", "teams": ["t-1"]}], ANNA, "gpt", {"pii", "audit"}),
        ([{"policy": "health", "teams": ["health*"]}], Caller(), "gpt", set()),
        ([{"policy": "health", "teams": ["*"]}], Caller(), "gpt", {"pii", "audit"}),
        ([{"policy": "health", "keys": ["dev-*"], "teams": ["other"]}], ANNA, "gpt", set()),
        ([{"policy": "health", "keys": ["dev-*"], "models": ["gpt*"]}], ANNA, "gpt", {"pii", "audit"}),
        ([{"policy": "health", "tags": ["prod-*"]}], ANNA, "gpt", {"pii", "audit"}),
        ([{"policy": "health", "tags": ["prod-*"]}], Caller(), "gpt", set()),
        ([{"policy": "strict"}], ANNA, "gpt-4-turbo", {"toxic"}),
        ([{"policy": "strict"}], ANNA, "claude", {"toxic"}),
        ([{"policy": "strict"}], ANNA, "claude-2", set()),
        ([{"policy": "strict health"}], ANNA, "gpt-4", {"pii", "audit", "toxic"}),
        ([{"policy": "strict health"}], ANNA, "gpt-3", {"pii", "audit"}),
        ([{"policy": "baseline"}, {"policy": "strict"}], ANNA, "gpt-4", {"pii", "secrets", "toxic"}),
        ([{"policy": "baseline", "default": True}, {"policy": "health", "teams": ["healthcare"]}], ANNA, "gpt", {"pii", "audit"}),
        ([{"policy": "baseline", "default": True}, {"policy": "health", "teams": ["healthcare"]}], Caller(), "gpt", {"pii", "secrets"}),
        ([{"policy": "baseline", "default": True}, {"policy": "strict"}], ANNA, "other", {"pii", "secrets"}),
    ],
)
def test_what_is_attached_holds_for_whom_it_is_attached_to(attached: Any, caller: Caller, model: str, rules: set[str]) -> None:
    assert policies(KNOWN, attached).rules(caller, (model,)) == rules


@pytest.mark.parametrize(
    ("known", "attached", "said"),
    [
        ([], None, "policies must be a mapping"),
        ({}, {}, "policy_attachments must be a list"),
        ({"a": {"guardrails": {"add": ["lakera"]}}}, None, "policies.a: there is no guardrail 'lakera'"),
        ({"a": {"pipeline": {"steps": []}}}, None, "policies.a: pipeline is not known"),
        ({"a": {"inherit": "b"}}, None, "policies.a.inherit: there is no policy 'b'"),
        ({"a": {"condition": {"model": "("}}}, None, "policies.a: condition.model: '(' is not a regular expression"),
        ({"a": {}}, [{"policy": "b"}], "policy_attachments[0]: there is no policy 'b'"),
        ({"a": {}}, [{"policy": "a", "scope": "team"}], "policy_attachments[0]: scope must be '*'"),
        ({"a": {}}, [{"policy": "a", "priority": 3}], "policy_attachments[0]: priority is not known"),
        ({"a": {}}, ["a"], "policy_attachments[0]: an attachment must be an object"),
    ],
)
def test_what_a_policy_has_not_is_named(known: Any, attached: Any, said: str) -> None:
    wrong: list[str] = []
    read_policies(known, attached, RULES, wrong.append)
    assert wrong[0].startswith(said)


def test_policies_that_inherit_in_a_circle_are_told() -> None:
    wrong: list[str] = []
    read_policies({"a": {"inherit": "b"}, "b": {"inherit": "a"}}, [{"policy": "a"}], RULES, wrong.append)
    assert "cycle" in wrong[0]


class Anvils(Guardrail):
    def find(self, text: str) -> Iterable[Finding]:
        at = text.find("anvil")
        return [Finding(at, at + 5, "ANVIL")] if at >= 0 else []


@pytest.fixture
def guarded(upstream: object, at: Where) -> Iterator[Gateway]:
    """The model is known as `gpt` and by an alias; its policy is for one team's keys."""
    router = priced(upstream)
    router.model_group_alias = {"other-name": "gpt"}
    found = read_policies(
        {"strict": {"guardrails": {"add": ["anvils"]}, "condition": {"model": "gpt"}}},
        [{"policy": "strict", "teams": ["health*"]}],
        ["anvils"],
        pytest.fail,
    )
    rules = [Anvils(name="anvils", action="block", default_on=False)]

    def group_of(model: str) -> str:
        known = router.get_deployment_by_model_group_name(model)
        return model if known is None else known.group

    guarding = GuardrailService(rules, found, group_of)
    asyncio.run(guarding.start())
    try:
        with kept(router, at) as opened:
            yield Gateway(*opened)
    finally:
        asyncio.run(guarding.stop())


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_policy_holds_for_the_calls_of_its_team_by_whatever_name_they_call_the_model(guarded: Gateway) -> None:
    guarded.ask("/team/new", {"team_id": "t-1", "team_alias": "healthcare"})
    theirs, others = guarded.key(team_id="t-1"), guarded.key()
    said = {**CHAT, "messages": [{"role": "user", "content": "an anvil"}]}
    for model in ("gpt", "other-name"):
        refused = guarded.ask("/v1/chat/completions", {**said, "model": model}, theirs, 400)
        assert "'anvils' refuses the input" in refused["error"]["message"]
        guarded.ask("/v1/chat/completions", {**said, "model": model}, others)
    guarded.ask("/v1/chat/completions", {**said, "model": "slow", "max_tokens": 1}, theirs)
    guarded.ask("/v1/chat/completions", {**said, "model": "gpt"}, KEY)


def test_policies_are_read_with_the_rest_of_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    content = {
        "model_list": [{"model_name": "gpt", "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-x"}}],
        "guardrails": [{"guardrail_name": "mail", "litellm_params": {"guardrail": "presidio", "default_on": False}}],
        "policies": {"all": {"guardrails": {"add": ["mail"]}}},
        "policy_attachments": [{"policy": "all", "scope": "*"}],
    }
    path.write_text(json.dumps(content))
    read = read_config(path, {})
    assert read.policies.rules(Caller(), ("gpt",)) == {"mail"}
    assert read.unused == ()
    path.write_text(json.dumps({**content, "policies": {"all": {"guardrails": {"add": ["post"]}}}}))
    with pytest.raises(Mistakes, match="there is no guardrail 'post'; known: mail"):
        read_config(path, {})
