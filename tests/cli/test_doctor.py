"""`headrace doctor`: what it finds, and what it never shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import KEY
from tests.cli.shell import Program, Terminal

from headrace.simulator.server import Running


def entry(base: str, name: str = "chat", **params: Any) -> dict[str, Any]:
    given = {"model": "openai/gpt-sim", "base_url": base, "api_key": KEY, "rpm": 100, "tpm": 100_000}
    return {"model_name": name, "litellm_params": {key: value for key, value in {**given, **params}.items() if value is not None}}


@pytest.fixture
def examine(program: Program, place: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    def examined(*entries: Any, options: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
        (place / "models.json").write_text(json.dumps({"model_list": list(entries)}))
        code, out, _ = program("doctor", "models.json", "--json", *options)
        assert KEY not in out
        return code, json.loads(out)

    return examined


def told(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding["level"], finding["what"]) for finding in report["findings"]]


@pytest.mark.usefixtures("configured")
def test_good_settings_are_well(program: Program) -> None:
    code, out, err = program("doctor")
    assert (code, err) == (0, "")
    assert "setting\tLLM_PROVIDER\topenai" in out.splitlines()
    assert f"setting\tLLM_PROVIDER_API_KEY\t…{KEY[-4:]}" in out.splitlines()
    deployments = [line.split("\t") for line in out.splitlines() if line.startswith("deployment\t")]
    assert [(row[1], row[3], row[-1]) for row in deployments] == [("ok", "openai/gpt-sim", "yes"), ("ok", "openai/embed-sim", "yes")]
    assert KEY not in out


@pytest.mark.usefixtures("place")
def test_no_settings_at_all_are_broken_by_name(program: Program) -> None:
    code, out, _ = program("doctor")
    assert code == 1
    assert "LLM_PROVIDER" in out
    assert "LLM_MODEL" in out


@pytest.mark.usefixtures("place")
def test_settings_that_cannot_be_read_are_told_all_at_once(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_RPM", "many")
    monkeypatch.setenv("LLM_PROVIDER_BASE_URL", "nowhere")
    code, out, _ = program("doctor")
    assert code == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == ["broken", "broken"]
    assert "LLM_RPM" in out
    assert "LLM_PROVIDER_BASE_URL" in out


def test_a_healthy_model_list_is_well(examine: Callable[..., Any], providers: Running) -> None:
    code, report = examine(entry(providers.url("fast")))
    assert code == 0
    assert report["findings"] == []
    assert report["deployments"][0] == {
        "name": "chat",
        "level": "ok",
        "model": "openai/gpt-sim",
        "base_url": providers.url("fast"),
        "key": f"…{KEY[-4:]}",
        "limits": {"rpm": 100, "tpm": 100_000},
        "reached": "yes",
    }


def test_a_wrong_key_is_broken(examine: Callable[..., Any], providers: Running) -> None:
    code, report = examine(entry(providers.url("fast"), api_key="sk-wrong-0123456789"))
    assert code == 1
    assert told(report)[0][0] == "broken"
    assert "sk-wrong-0123456789" not in json.dumps(report)


def test_an_unreachable_host_is_broken(examine: Callable[..., Any]) -> None:
    code, report = examine(entry("http://127.0.0.1:9/v1"), options=("--timeout", "2"))
    assert code == 1
    assert "not reached" in told(report)[0][1]
    assert examine(entry("http://127.0.0.1:9/v1"), options=("--offline",))[0] == 0


def test_a_model_that_is_not_listed_is_a_warning(examine: Callable[..., Any], providers: Running) -> None:
    code, report = examine(entry(providers.url("fast"), model="openai/gpt-none"))
    assert code == 0
    assert told(report)[0][0] == "warning"
    assert "gpt-none" in told(report)[0][1]


def test_a_missing_key_and_an_unknown_provider_are_broken_and_do_not_hide_each_other(examine: Callable[..., Any]) -> None:
    code, report = examine(
        entry("", model="groq/llama", base_url=None, api_key=None),
        entry("", model="no-such/llama", base_url=None),
        {"model_name": "empty"},
        entry("http://127.0.0.1:9/v1", rpm=-1),
        options=("--offline",),
    )
    assert code == 1
    texts = [what for level, what in told(report) if level == "broken"]
    assert any("GROQ_API_KEY" in text for text in texts)
    assert any("no-such" in text for text in texts)
    assert any("model_list[2].litellm_params is missing" in text for text in texts)
    assert any("model_list[3].litellm_params.rpm" in text for text in texts)


@pytest.mark.parametrize(
    ("params", "level", "word"),
    [
        ({"rpm": None, "tpm": None}, "warning", "no rpm and tpm"),
        ({"tpm": None}, "warning", "no tpm"),
        ({"rpm": None}, "warning", "no rpm"),
        ({"tpm": 500}, "warning", "smaller than a call without max_tokens"),
        ({"tpm": 500, "max_tokens": 2000}, "broken", "smaller than one request"),
        ({"tpm": 10}, "broken", "smaller than one request"),
        ({"tpm": 500, "max_tokens": 100}, None, ""),
        ({"windows": [{"unit": "tokens", "amount": 200, "window": 10}]}, "warning", "tokens/10s 200 is smaller than a call without"),
        ({"windows": [{"unit": "output", "amount": 9, "window": 1}]}, "broken", "output/1s 9 is smaller than one request"),
        ({"tpm": 60_000, "profile": {"token_burst": 0.5}}, "warning", "of which 500 can be used at once"),
        ({"tpm": None, "itpm": 1000, "otpm": 500, "profile": "anthropic"}, None, ""),
        ({"tpm": None, "itpm": 10, "otpm": 500, "profile": "anthropic"}, "broken", "itpm 10 is smaller than one request"),
        ({"rpm": None, "tpm": None, "max_parallel_requests": 4}, None, ""),
        ({"tpm": None, "itpm": 1000, "otpm": 5000}, None, ""),
    ],
)
def test_limits_that_are_legal_but_foolish(
    examine: Callable[..., Any], providers: Running, params: dict[str, Any], level: str | None, word: str
) -> None:
    code, report = examine(entry(providers.url("fast"), **params), options=("--offline",))
    assert code == (1 if level == "broken" else 0)
    if level is None:
        assert report["findings"] == []
    else:
        assert [found[0] for found in told(report)] == [level]
        assert word in told(report)[0][1]


def test_two_deployments_on_one_quota_have_to_say_so(examine: Callable[..., Any], providers: Running) -> None:
    base = providers.url("fast")
    _, report = examine(entry(base), entry(base, temperature=0.5), options=("--offline",))
    assert [(finding["level"], finding["where"]) for finding in report["findings"]] == [("warning", "chat + chat #2")]
    _, said = examine(entry(base, quota_group="a"), entry(base, temperature=0.5, quota_group="a"), options=("--offline",))
    assert said["findings"] == []
    _, apart = examine(entry(base), entry(base, api_key="sk-other-0123456789"), options=("--offline",))
    assert apart["findings"] == []


def test_a_deployment_that_lists_no_models_is_called_only_when_asked(examine: Callable[..., Any], upstream_without_list: str) -> None:
    code, report = examine(entry(upstream_without_list))
    assert (code, report["deployments"][0]["reached"]) == (0, "lists no models")
    code, report = examine(entry(upstream_without_list), options=("--call",))
    assert (code, report["deployments"][0]["reached"]) == (0, "yes, by a call")


YAML = """
model_list:
  - model_name: chat
    litellm_params: {{model: openai/gpt-sim, api_base: "{url}", api_key: os.environ/THE_KEY, rpm: 5, tpm: 20}}
  - model_name: other
    litellm_params: {{model: openai/gpt-sim, api_base: "{url}", api_key: os.environ/THE_KEY, rpm: 5, tpm: 5000}}
"""


def test_a_proxys_config_is_read_and_what_is_foolish_in_it_told(program: Program, place: Path, providers: Running) -> None:
    (place / "config.yaml").write_text(YAML.format(url=providers.url("fast")))
    (place / ".env").write_text(f"THE_KEY={KEY}\n")
    code, out, _ = program("doctor", "config.yaml", "--offline")
    assert code == 1
    assert "tpm 20 is smaller than" in out, "a limit that no request can meet"
    assert "chat + other\tsame key, address and model" in out, "two deployments that share a quota without saying so"
    assert KEY not in out


def test_toml_is_read_and_what_is_no_configuration_refused(program: Program, place: Path, providers: Running) -> None:
    (place / "models.toml").write_text(
        f'[[model_list]]\nmodel_name = "chat"\nlitellm_params = {{ model = "openai/gpt-sim", base_url = "{providers.url("fast")}", '
        f'api_key = "os.environ/THE_KEY", rpm = 5, tpm = 5000 }}\n'
    )
    (place / ".env").write_text(f"THE_KEY={KEY}\n")
    code, out, _ = program("doctor", "models.toml")
    assert code == 0
    assert out.startswith("deployment\tok\tchat\topenai/gpt-sim\t")
    for name, text, word in (
        ("models.yaml", "model_list: []", "models.yaml:1: model_list must be a list of at least one"),
        ("bad.yaml", "model_list: [", "in bad.yaml, line 1, column 14"),
        ("bad.json", "{", "not valid JSON"),
        ("bad.toml", "[", "not valid TOML"),
        ("empty.json", "{}", "model_list must be"),
    ):
        (place / name).write_text(text)
        code, out, err = program("doctor", name)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert word in err


@pytest.mark.usefixtures("configured")
def test_on_a_terminal_it_is_a_table_without_secrets(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("doctor", columns=160)
    assert screen.end() == 0
    assert "no problems found" in screen.text
    assert "…cdef" in screen.text
    assert KEY not in screen.text
