"""Parsing a model_list: LiteLLM's forms, and errors that name the mistake."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headrace import Router
from headrace.errors import ConfigurationError
from headrace.limits import override, profile_of
from headrace.routing.patterns import filled, stars_of
from headrace.routing.plan import make_plan, read_deployment, read_deployments


def entry(**changes: Any) -> dict[str, Any]:
    params = {"model": "openai/m", "api_key": "sk-secret-value", "base_url": "http://127.0.0.1:1/v1"}
    return {"model_name": "gpt", "litellm_params": params | changes.pop("params", {}), **changes}


def amounts(deployment: Any) -> dict[str, int]:
    return {limit.name: limit.amount for limit in deployment.limits}


def test_limits_are_taken_inside_litellm_params_or_beside_it() -> None:
    inside = read_deployment(entry(params={"rpm": 60, "tpm": 1000}), "d", {})
    beside = read_deployment(entry(rpm=60, tpm=1000), "d", {})
    assert amounts(inside) == amounts(beside) == {"rpm": 60, "tpm": 1000}
    assert amounts(read_deployment(entry(rpm=1, params={"rpm": 60}), "d", {})) == {"rpm": 60}


def test_limits_as_text_are_read_as_numbers() -> None:
    assert amounts(read_deployment(entry(rpm="60"), "d", {})) == {"rpm": 60}


def test_weight_follows_litellm() -> None:
    weights = [read_deployment(entry(params=params), "d", {}).weight for params in ({"weight": 3}, {"rpm": 60}, {"tpm": 5000}, {})]
    assert weights == [3.0, 60.0, 5.0, 1.0]


def test_values_may_stand_in_the_environment() -> None:
    read = read_deployment(entry(params={"api_key": "os.environ/MY_KEY"}), "d", {"MY_KEY": "sk-from-env"})
    assert read.control["api_key"] == "sk-from-env"


def test_other_parameters_become_defaults_of_the_body() -> None:
    read = read_deployment(entry(params={"temperature": 0.2, "timeout": 5, "tags": ["a"]}), "d", {})
    assert read.defaults == {"temperature": 0.2}
    assert read.control["timeout"] == 5


def test_the_same_configuration_gives_the_same_id_and_twins_differ() -> None:
    first, second = read_deployments([entry(), entry()], {})
    assert first.id != second.id
    assert first.id == read_deployments([entry()], {})[0].id
    assert read_deployment(entry(model_info={"id": "mine"}), "d", {}).id == "mine"


@pytest.mark.parametrize(
    ("model_list", "said"),
    [
        ({}, "model_list must be a list"),
        ("gpt", "model_list must be a list"),
        ([1], r"model_list\[0\] must be a mapping"),
        ([{"litellm_params": {"model": "openai/m"}}], r"model_list\[0\].model_name must be a non-empty string"),
        ([{"model_name": "gpt"}], r"model_list\[0\].litellm_params is missing"),
        ([entry(params={"model": ""})], r"litellm_params.model must be a non-empty string"),
        ([entry(), entry(rpm=-1)], r"model_list\[1\].rpm must be a whole number of at least 1, got the int -1"),
        ([entry(params={"tpm": 0})], r"model_list\[0\].litellm_params.tpm must be a whole number"),
        ([entry(rpm="80k")], r"model_list\[0\].rpm must be a whole number of at least 1, got a string of 3 characters"),
        ([entry(rpm=True)], r"rpm must be a whole number"),
        ([entry(params={"weight": -1})], "weight must be a number"),
        ([entry(params={"api_key": "os.environ/NOT_SET"})], "environment variable NOT_SET, which is not set"),
        ([entry(model_info={"id": "a"}), entry(model_info={"id": "a"})], r"model_list\[1\].model_info.id repeats 'a'"),
    ],
)
def test_what_is_wrong_is_said_by_name_and_shape(model_list: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_deployments(model_list, {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ({"aliases": {"short": "nobody"}}, r"model_group_alias\['short'\] names 'nobody'"),
    ],
)
def test_aliases_must_name_groups(behind: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make_plan(read_deployments([entry()], {}), **behind)


def test_a_caller_may_use_a_groups_name_an_alias_or_a_name_that_fits_a_pattern() -> None:
    names = ["a", "openai/*", "openai/gpt-*", "*-small"]
    plan = make_plan(
        read_deployments([entry(model_name=name) for name in names], {}), aliases={"x": {"model": "a", "hidden": True}, "y": "a"}
    )
    asked = ["a", "x", "openai/o3", "openai/gpt-5", "any-small", "openai/", "nobody"]
    assert [plan.group_of(name) for name in asked] == ["a", "a", "openai/*", "openai/gpt-*", "*-small", None, None]
    assert plan.hidden == {"x"}
    assert stars_of("openai/gpt-*", "openai/gpt-5") == ("5",)


def test_a_pattern_may_have_several_stars_and_gives_each_its_own_part() -> None:
    plan = make_plan(read_deployments([entry(model_name=name) for name in ("*llama3*", "eu/*/*:free", "*")], {}))
    asked = ["bedrock/meta.llama3-70b", "eu/groq/gemma:free", "eu/groq/gemma"]
    assert [plan.group_of(name) for name in asked] == ["*llama3*", "eu/*/*:free", "*"]
    stars = stars_of("eu/*/*:free", "eu/groq/gemma:free")
    assert stars == ("groq", "gemma")
    assert [filled(model, stars) for model in ("*/*", "openai/*", "*/*/*")] == ["groq/gemma", "openai/groq", "groq/gemma/gemma"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"cooldown_time": -1}, r"model_list\[0\].litellm_params.cooldown_time"),
        ({"tags": "paid"}, r"litellm_params.tags must be a list"),
        ({"max_input_tokens": 0}, "max_input_tokens"),
    ],
)
def test_facts_of_a_deployment_are_checked(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_deployments([entry(params=params)], {})


def test_entries_that_cannot_work_are_left_out_when_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = entry(), entry(rpm=-1)
    assert len(read_deployments([bad, good], {}, lenient=True)) == 1
    assert "model_list[0].rpm" in caplog.text
    with pytest.raises(ConfigurationError):
        read_deployments([bad], {}, lenient=True)


def test_a_deployment_shows_no_secret() -> None:
    assert "secret" not in repr(read_deployment(entry(), "d", {}))


def test_windows_are_limits_without_a_name() -> None:
    (deployment,) = read_deployments([entry(windows=[{"unit": "requests", "amount": 10, "window": 1}], rpm=60)], {})
    assert [limit.label for limit in deployment.limits] == ["rpm", "requests/1s"]


@pytest.mark.parametrize(
    "windows", ["ten", 10, [{"unit": "bananas", "amount": 1, "window": 1}], [{"unit": "requests", "amount": -1, "window": 1}]]
)
def test_windows_that_cannot_be_are_refused_by_name(windows: object) -> None:
    with pytest.raises(ConfigurationError, match="windows"):
        read_deployments([entry(windows=windows)], {})


def test_facts_of_a_profile_may_be_overridden() -> None:
    read = read_deployment(entry(params={"profile": {"name": "openai", "accounting": "settle"}}), "d", {})
    assert isinstance(read.profile, dict)
    profile = override(profile_of("default"), read.profile)
    assert (profile.accounting, profile.estimate) == ("settle", "max")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"accounting": "never"}, "accounting"),
        ({"colour": "blue"}, "colour"),
        ({"windows": [10.0], "request_burst": 5.0}, "contradict"),
        ({"accounting": "post", "estimate": "max"}, "contradict"),
        ({"name": "nobody"}, "nobody"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused_by_name(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        override(profile_of("openai"), facts)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"tpm": 1}, "tpm is smaller than one request: the smallest takes 2 tokens, and 1 are allowed at once"),
        ({"windows": [{"unit": "tokens", "amount": 1, "window": 10}]}, "tokens/10s is smaller than one request"),
        ({"tpm": 600, "profile": {"token_burst": 0.1}}, "tpm is smaller than one request: the smallest takes 2 tokens, and 1 are allowed"),
    ],
)
def test_a_limit_smaller_than_any_request_is_refused_at_construction(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        Router([entry(params=limits)])
    Router([entry(params={"tpm": 2})])
