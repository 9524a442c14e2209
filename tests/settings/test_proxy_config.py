"""A Router from the `config.yaml` of LiteLLM's proxy."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import headrace
from headrace.proxy_config import read_proxy_config

FILE = """
include: [more.yaml]
environment_variables: {PROXY_TEST_KEY: sk-from-the-file}
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/PROXY_TEST_KEY, mock_response: from fast, rpm: 10}
litellm_settings: {num_retries: 1, drop_params: true, fallbacks: [{fast: [slow]}], cache: true}
router_settings: {routing_strategy: simple-shuffle, cooldown_time: 7}
general_settings: {master_key: sk-master}
"""
MORE = """
model_list:
  - model_name: slow
    litellm_params: {model: openai/gpt-4o, api_key: k, mock_response: from slow}
router_settings: {cooldown_time: 99, timeout: 30}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PROXY_TEST_KEY", "taken back afterwards")
    (tmp_path / "config.yaml").write_text(FILE)
    (tmp_path / "more.yaml").write_text(MORE)
    return str(tmp_path / "config.yaml")


def test_a_router_answers_by_the_file(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "headrace"):
        router = headrace.Router.from_config(path)
    assert router.completion("fast", [{"role": "user", "content": "x"}]).choices[0].message.content == "from fast"
    assert router.completion("slow", [{"role": "user", "content": "x"}]).choices[0].message.content == "from slow"
    assert "litellm_settings.cache, general_settings" in caplog.text
    assert "sk-" not in caplog.text


def test_settings_become_the_router_s_parameters(path: str) -> None:
    environment: dict[str, str] = {}
    options = read_proxy_config(path, environment).options
    assert environment == {"PROXY_TEST_KEY": "sk-from-the-file"}
    assert options == {
        "num_retries": 1, "fallbacks": [{"fast": ["slow"]}], "default_litellm_params": {"drop_params": True},
        "routing_strategy": "simple-shuffle", "cooldown_time": 7, "timeout": 30,
    }  # fmt: skip


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model_lsit: []\nmodel_list: [1]")
    with pytest.raises(headrace.ConfigurationError, match="unknown section 'model_lsit'"):
        headrace.Router.from_config(str(tmp_path / "c.yaml"))


def test_an_unknown_parameter_is_named(path: str) -> None:
    with pytest.raises(headrace.ConfigurationError, match="routing_strategi"):
        headrace.Router.from_config(path, routing_strategi="x")


def test_files_that_include_one_another_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("include: [b.yaml]")
    (tmp_path / "b.yaml").write_text("include: [a.yaml]")
    with pytest.raises(headrace.ConfigurationError, match="cycle"):
        read_proxy_config(tmp_path / "a.yaml", {})
