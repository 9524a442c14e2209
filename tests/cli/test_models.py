"""`headrace models` and `headrace providers`."""

from __future__ import annotations

import json

import pytest
from tests.cli.conftest import KEY
from tests.cli.shell import Program

from headrace.cli.app import run
from headrace.providers.catalog import providers as all_providers
from headrace.simulator.server import Running


@pytest.mark.usefixtures("configured")
def test_the_configured_provider_lists_its_models(program: Program) -> None:
    code, out, err = program("models")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["openai/embed-sim", "openai/gpt-sim"]
    assert {model["id"] for model in json.loads(program("models", "--json").out)} == {"embed-sim", "gpt-sim"}


@pytest.mark.usefixtures("place")
def test_another_provider_s_models(program: Program, providers: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    code, out, _ = program("models", "--provider", "groq", "--base-url", providers.url("fast"))
    assert code == 0
    assert "groq/gpt-sim" in out.splitlines()


@pytest.mark.usefixtures("place")
def test_no_key_no_model_and_no_such_provider_are_bad_configuration(program: Program) -> None:
    for arguments, told in (
        (("models", "--provider", "groq"), "GROQ_API_KEY"),
        (("models", "--provider", "no-such"), "no-such"),
        (("models",), "LLM_PROVIDER"),
        (("chat", "Hello"), "LLM_PROVIDER"),
        (("embed", "Hello"), "EMBEDDING_PROVIDER"),
    ):
        code, out, err = program(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), arguments
        assert told in err


@pytest.mark.usefixtures("place")
def test_something_that_is_no_list_of_models_is_told(program: Program, providers: Running) -> None:
    code, _, err = program("models", "--provider", "openai", "--base-url", f"{providers}/nowhere/v1")
    assert code == 1
    assert "does not list its models" in err


@pytest.mark.usefixtures("place")
def test_every_provider_is_a_line_and_an_entry(program: Program) -> None:
    lines = program("providers").out.splitlines()
    assert [line.split("\t")[1] for line in lines] == sorted(provider.name for provider in all_providers())
    assert all(line.count("\t") == 5 for line in lines)
    assert len(json.loads(program("providers", "--json").out)) == len(lines) >= 120


@pytest.mark.usefixtures("place")
def test_providers_are_found_by_words_and_those_with_a_key_are_marked(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "gsk_0123456789abcdef"
    monkeypatch.setenv("GROQ_API_KEY", secret)
    assert "voyage" in program("providers", "rerank").out
    assert "anthropic_text\tnot supported\t" in program("providers", "anthropic_text").out
    [entry] = json.loads(program("providers", "voyage", "--json").out)
    assert (entry["offers"], entry["forms"], entry["unspoken"]) == (["embeddings", "rerank"], {"rerank": "voyage"}, None)
    out = program("providers", "groq").out
    assert out.startswith("key\tgroq\t")
    assert secret not in out
    assert run(["providers", "no-such-provider-at-all"]) == 0
