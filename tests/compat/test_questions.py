"""What programs ask litellm without calling: whose a model is, and what is known of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

import headrace
from headrace.compat.litellm import questions, texts, values
from headrace.compat.litellm.questions import get_llm_provider
from headrace.compat.litellm.stand_in import module


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("anthropic.claude-3-sonnet-20240229-v1:0", "bedrock"),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "bedrock"),
        ("amazon.nova-lite-v1:0", "bedrock"),
        ("cohere.embed-english-v3", "bedrock"),
        ("gemini-1.5-pro", "vertex_ai"),
        ("text-embedding-004", "vertex_ai"),
        ("jamba-1.5-large", "ai21_chat"),
        ("command-r-plus-08-2024", "cohere_chat"),
        ("rerank-english-v3.0", "cohere"),
        ("gpt-3.5-turbo-instruct-0914", "text-completion-openai"),
        ("claude-opus-4-1", "anthropic"),
        ("*", "openai"),
    ],
)
def test_a_bare_name_belongs_to_whom_litellm_gives_it(model: str, provider: str) -> None:
    """As litellm 1.106.2 answers, or 1.80.10 for models that have retired since."""
    assert get_llm_provider(model)[:2] == (model, provider)


@pytest.mark.parametrize("bare", ["mistral-large-latest", "grok-4", "command.x", "gemini"])
def test_a_bare_name_of_nobodys_stays_nobodys(bare: str) -> None:
    with pytest.raises(headrace.BadRequestError, match="LLM Provider NOT provided"):
        get_llm_provider(bare)


def test_everything_by_a_proxy_keeps_the_whole_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_PROXY_API_BASE", "http://proxy.test")
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "k")
    there = ("mistral/mistral-large", "litellm_proxy", "k", "http://proxy.test")
    assert get_llm_provider("mistral/mistral-large", litellm_params=SimpleNamespace(use_litellm_proxy=True)) == there
    monkeypatch.setenv("USE_LITELLM_PROXY", "True")
    assert get_llm_provider("mistral/mistral-large") == there


def test_a_server_without_keys_is_given_one_for_clients_that_insist() -> None:
    assert get_llm_provider("hosted_vllm/llama")[2] == "fake-api-key"


def test_what_is_known_of_a_model_names_its_row_and_every_common_ability() -> None:
    info: Any = module("litellm").get_model_info("openai/ft:gpt-4o-mini-2024-07-18:org:suffix:id")
    assert info["key"] == "ft:gpt-4o-mini-2024-07-18"
    assert info["supports_audio_output"] is None


def test_lists_of_models_are_the_catalogues() -> None:
    litellm: Any = module("litellm")
    assert "claude-fable-5" in litellm.anthropic_models
    assert "text-embedding-3-small" in litellm.open_ai_embedding_models
    assert not litellm.open_ai_embedding_models & litellm.open_ai_chat_completion_models
    assert all(getattr(litellm, name) for name in ("bedrock_converse_models", "vertex_language_models", "groq_models", "ai21_models"))


def test_one_conversation_to_many_models_at_once() -> None:
    litellm: Any = module("litellm")
    said = {"messages": [{"role": "user", "content": "hi"}], "api_key": "k"}
    asked = {"models": ["openai/a", "openai/b"], **said}
    assert litellm.batch_completion_models(**asked, mock_response="x").choices[0].message.content == "x"
    assert [one.model for one in litellm.batch_completion_models_all_responses(**asked, mock_response="x")] == ["a", "b"]
    own = [{"model": "openai/a", "mock_response": "litellm.InternalServerError"}, {"model": "openai/b", "mock_response": "b"}]
    assert litellm.batch_completion_models(deployments=own, num_retries=0, **said).model == "b"
    assert litellm.batch_completion_models_all_responses(**asked, mock_response="litellm.InternalServerError", num_retries=0) == []
    with pytest.raises(headrace.InternalServerError):
        litellm.batch_completion_models(**asked, mock_response="litellm.InternalServerError", num_retries=0)


def test_secrets_and_texts_by_litellms_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    litellm: Any = module("litellm.utils")
    monkeypatch.setenv("A", "True")
    monkeypatch.setenv("B", "b")
    assert (litellm.get_secret("os.environ/A"), litellm.get_secret_str("A"), litellm.get_secret("B")) == (True, "True", "b")
    assert litellm.get_secret("C", "else") == "else"
    answer = headrace.completion("openai/m", [{"role": "user", "content": "x"}], mock_response="said", n=2)
    assert litellm.get_content_from_model_response(answer) == "saidsaid"


LONG = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello, how are you? " * 20},
    {"role": "assistant", "content": "fine " * 50},
    {"role": "user", "content": "and now?"},
]


def test_messages_are_cut_to_fit_and_say_what_is_left() -> None:
    """Symptom: `return_response_tokens=True` gave messages alone, and a message that did not fit was left out whole."""
    trimmed, left = texts.trim_messages(LONG, "gpt-4o-mini", max_tokens=60, return_response_tokens=True)
    assert [message["role"] for message in trimmed] == ["system", "assistant", "user"]
    assert trimmed[1]["content"].startswith("fine ")
    assert ".." in trimmed[1]["content"]
    assert headrace.token_counter("gpt-4o-mini", messages=trimmed) == 60 - left
    assert 0 <= left < 10
    assert texts.trim_messages(LONG, "gpt-4o-mini") == LONG
    assert texts.trim_messages(LONG) == LONG
    answered = [*LONG, {"role": "tool", "tool_call_id": "1", "content": "42"}]
    assert texts.trim_messages(answered, "gpt-4o-mini", max_tokens=40)[-1] == answered[-1]
    assert texts.trim_messages(LONG, "gpt-4o-mini", max_tokens=1) == [LONG[0], LONG[-1]]
    assert len(LONG[2]["content"]) == 250, "what was given is left as it was"


def test_a_class_is_a_response_format_as_calls_make_it() -> None:
    class Person(pydantic.BaseModel):
        name: str

    made = texts.type_to_response_format_param(Person)
    assert made["json_schema"]["schema"]["required"] == ["name"]
    assert texts.type_to_response_format_param({"type": "json_object"}) == {"type": "json_object"}


@pytest.mark.parametrize("name", ["ollama_chat/llama3", "sagemaker/x", "text-completion-openai/x", "cohere_chat/command-r"])
def test_a_provider_keeps_the_name_that_was_said(name: str) -> None:
    provider, _, model = name.partition("/")
    assert questions.get_llm_provider(name)[:2] == (model, provider)


def test_a_cloud_wants_more_than_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: with AWS's keys in the environment Bedrock was said to want AWS_BEARER_TOKEN_BEDROCK."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AZURE_API_KEY",
        "AZURE_API_BASE",
        "AZURE_API_VERSION",
    ):
        monkeypatch.delenv(name, raising=False)
    asked = questions.validate_environment("bedrock/anthropic.claude-3-haiku-20240307-v1:0")
    assert asked == {"keys_in_environment": False, "missing_keys": ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    assert questions.validate_environment("bedrock/anthropic.claude-3-haiku-20240307-v1:0")["keys_in_environment"]
    azure = questions.validate_environment("azure/dep", api_base="http://127.0.0.1")
    assert azure["missing_keys"] == ["AZURE_API_VERSION", "AZURE_API_KEY"]


def test_entries_of_a_model_list_are_made_as_objects() -> None:
    made = values.Deployment(model_name="g", litellm_params=values.LiteLLM_Params(model="openai/m", api_key="k"), model_info={"id": "x"})
    assert (made.litellm_params.model, made.model_info.id) == ("openai/m", "x")
    router = headrace.Router([made.to_json(exclude_none=True)])
    router.add_deployment(values.Deployment(model_name="h", litellm_params=values.LiteLLM_Params(model="openai/n", api_key="k")))
    assert router.get_model_names() == ["g", "h"]
    config = values.RouterConfig(model_list=[made.to_json()], num_retries=1)
    assert headrace.Router(**config.model_dump()).num_retries == 1
