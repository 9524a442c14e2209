"""The configuration as a planner reads it: LiteLLM's form, and never a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import BadRequestError, ConfigurationError
from headrace.planner import Fleet, read_config, read_fleet

ENTRY = {"model_name": "chat", "litellm_params": {"model": "azure/gpt-4o", "api_base": "https://a.example", "rpm": 60, "tpm": 9000}}

YAML = """
model_list:
  - model_name: chat
    litellm_params:
      model: azure/gpt-4o
      api_base: os.environ/PLANNED_BASE
      api_key: os.environ/PLANNED_KEY
      rpm: 60
    tpm: 9000
  - model_name: chat
    litellm_params: {model: groq/llama-3.3-70b-versatile, rpm: os.environ/PLANNED_RPM}
    model_info: {id: fast}
router_settings:
  model_group_alias: {best: chat}
"""

TOML = """
[[model_list]]
model_name = "chat"
litellm_params = { model = "groq/llama-3.3-70b-versatile", rpm = 30 }
"""


def entry(**params: Any) -> dict[str, Any]:
    return {"model_name": "chat", "litellm_params": {"model": "openai/gpt-4o", **params}}


def limits(fleet: Fleet) -> list[dict[str, int]]:
    return [{limit.label: limit.amount for limit in place.limits} for place in fleet.places]


@pytest.mark.parametrize(("name", "text"), [("a.json", json.dumps({"model_list": [ENTRY]})), ("b.json", json.dumps([ENTRY]))])
def test_json_is_read_with_and_without_the_name_of_the_list(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert limits(read_config(path)) == [{"rpm": 60, "tpm": 9000}]


def test_toml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(TOML)
    (place,) = read_config(path).places
    assert (place.name, place.group, place.profile.accounting) == ("chat", "chat", "settle")


def test_no_key_is_needed_and_none_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNED_KEY", "sk-very-secret")
    monkeypatch.delenv("ABSENT_KEY", raising=False)
    fleet = read_fleet([entry(api_key="os.environ/PLANNED_KEY"), entry(api_key="os.environ/ABSENT_KEY")])
    accounts = [place.account for place in fleet.places]
    assert len(set(accounts)) == 2
    assert not any("very-secret" in account for account in accounts)


def test_a_key_written_into_the_file_is_not_shown() -> None:
    (place,) = read_fleet([entry(api_key="sk-written-down")]).places
    assert "written-down" not in f"{place!r} {place.account}"


def test_an_account_has_the_same_name_in_every_process() -> None:
    """Python salts its hashes anew in each: two plans of one file named their accounts differently."""
    script = (
        "from headrace.planner import read_fleet; "
        "print(read_fleet([{'model_name': 'a', 'litellm_params': {'model': 'openai/x', 'api_key': 'k'}}]).places[0].account)"
    )
    names = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(names) == 1


def test_a_limit_from_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNED_RPM", "42")
    assert limits(read_fleet([entry(rpm="os.environ/PLANNED_RPM")])) == [{"rpm": 42}]


def test_a_limit_from_an_environment_that_has_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANNED_RPM", raising=False)
    with pytest.raises(ConfigurationError, match=r"model_list\[0\]\.litellm_params\.rpm"):
        read_fleet([entry(rpm="os.environ/PLANNED_RPM")])


def test_deployments_are_named_after_their_group_or_their_id() -> None:
    named = {**entry(api_key="c"), "model_info": {"id": "mine"}}
    assert [place.name for place in read_fleet([entry(api_key="a"), entry(api_key="b"), named]).places] == ["chat", "chat #2", "mine"]


def test_one_key_and_model_is_one_account_and_a_quota_group_is_as_well() -> None:
    shared = read_fleet([entry(api_key="a"), entry(api_key="a", order=1)])
    told = read_fleet([entry(api_key="a", quota_group="ours"), entry(api_key="b", quota_group="ours")])
    apart = read_fleet([entry(api_key="a"), entry(api_key="b")])
    assert [len({place.account for place in fleet.places}) for fleet in (shared, told, apart)] == [1, 1, 2]


def test_the_profile_is_the_provider_s_unless_the_configuration_says_otherwise() -> None:
    own, said = read_fleet([entry(api_key="a"), entry(api_key="b", profile={"accounting": "post", "estimate": "sum"})]).places
    assert (own.profile.accounting, own.profile.estimate) == ("reserve", "max")
    assert (said.profile.accounting, said.profile.estimate) == ("post", "sum")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "model_list must be a list"),
        ({"model_list": []}, "model_list must be a list"),
        ("model_list", "model_list must be a list"),
        (None, "model_list must be a list"),
        ([{"model_name": "a"}], r"model_list\[0\]\.litellm_params is missing"),
        ([ENTRY, {"model_name": "a", "litellm_params": {"model": "openai/x", "rpm": -1}}], r"model_list\[1\]\.litellm_params\.rpm"),
        ([7], r"model_list\[0\] must be a mapping"),
    ],
)
def test_what_is_wrong_is_named(content: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_fleet(content)


def test_an_unknown_provider_is_named() -> None:
    with pytest.raises(BadRequestError, match="nobody"):
        read_fleet([{"model_name": "a", "litellm_params": {"model": "nobody/x"}}])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("bad.json", "{", "bad.json is not valid JSON"),
        ("bad.toml", "= 3", "bad.toml is not valid TOML"),
        ("list.json", "{}", "list.json: model_list"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        read_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_config(tmp_path / "nowhere.json")
