"""From a model's name to a provider and the provider's own name for it."""

from __future__ import annotations

import pytest

from headrace.destinations import destination
from headrace.errors import BadRequestError, ConfigurationError
from headrace.providers import catalog
from headrace.providers.auth import headers_for
from headrace.providers.catalog import find_base_url, find_key, placed, providers, register_provider, resolve
from headrace.providers.rows import Provider

SILICONFLOW = "https://api.siliconflow.cn/v1"
ELSEWHERE = "https://llm.example.test/v1"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows registered in a test are forgotten after it."""
    monkeypatch.setattr(catalog, "_own", None)


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("openai/deepseek-ai/DeepSeek-V3.2-Exp", "openai", "deepseek-ai/DeepSeek-V3.2-Exp"),
        ("siliconflow/Qwen/Qwen3-Embedding-8B", "siliconflow", "Qwen/Qwen3-Embedding-8B"),
        ("groq/openai/gpt-oss-120b", "groq", "openai/gpt-oss-120b"),
        ("openrouter/anthropic/claude-sonnet-4.5:nitro", "openrouter", "anthropic/claude-sonnet-4.5:nitro"),
        ("openrouter/auto", "openrouter", "openrouter/auto"),
        ("openrouter/openrouter/auto", "openrouter", "openrouter/auto"),
        ("fireworks_ai/llama-v3p3-70b-instruct", "fireworks_ai", "accounts/fireworks/models/llama-v3p3-70b-instruct"),
        ("fireworks_ai/accounts/me/deployments/x", "fireworks_ai", "accounts/me/deployments/x"),
        ("text-completion-openai/davinci-002", "openai", "davinci-002"),
        ("kimi/kimi-k2", "moonshot", "kimi-k2"),
        ("nano-gpt/x", "nano-gpt", "x"),
        ("ollama/llama3:8b", "ollama", "llama3:8b"),
        ("gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("chatgpt-4o-latest", "openai", "chatgpt-4o-latest"),
        ("o1", "openai", "o1"),
        ("o3-mini", "openai", "o3-mini"),
        ("text-embedding-3-small", "openai", "text-embedding-3-small"),
        ("ft:gpt-4o:me::1", "openai", "ft:gpt-4o:me::1"),
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("deepseek-chat", "deepseek", "deepseek-chat"),
    ],
)
def test_a_name_says_whom_to_call(model: str, provider: str, name: str) -> None:
    found = resolve(model)
    assert (found.provider.name, found.model) == (provider, name)


@pytest.mark.parametrize(
    ("model", "given", "provider", "name"),
    [
        ("gpt-4o", "openai", "openai", "gpt-4o"),
        ("openai/gpt-4o", "openai", "openai", "gpt-4o"),
        ("deepseek-ai/DeepSeek-V3", "siliconflow", "siliconflow", "deepseek-ai/DeepSeek-V3"),
        ("openai/gpt-oss-120b", "groq", "groq", "openai/gpt-oss-120b"),
        ("groq/openai/gpt-oss-120b", "groq", "groq", "openai/gpt-oss-120b"),
        ("together_ai/x", "together", "together_ai", "x"),
        ("together/x", "together", "together_ai", "x"),
        ("openrouter/auto", "openrouter", "openrouter", "openrouter/auto"),
        ("openaix/y", "openai", "openai", "openaix/y"),
    ],
)
def test_custom_llm_provider_wins_and_the_rest_is_verbatim(model: str, given: str, provider: str, name: str) -> None:
    found = resolve(model, custom_llm_provider=given)
    assert (found.provider.name, found.model) == (provider, name)


@pytest.mark.parametrize(
    ("model", "base_url", "provider", "name"),
    [
        ("my-model", ELSEWHERE, "custom_openai", "my-model"),
        ("BAAI/bge-m3", ELSEWHERE, "custom_openai", "BAAI/bge-m3"),
        ("BAAI/bge-m3", SILICONFLOW, "siliconflow", "BAAI/bge-m3"),
        ("Qwen/Qwen3-8B", "https://api.siliconflow.com/v1/", "siliconflow", "Qwen/Qwen3-8B"),
        ("x", "https://api.siliconflow.cn.evil.test/v1", "custom_openai", "x"),
        ("x", "https://evil.test/api.siliconflow.cn/v1", "custom_openai", "x"),
        ("x", "https://api.siliconflow.cn/v11", "custom_openai", "x"),
        ("x", "http://127.0.0.1:8080/v1", "custom_openai", "x"),
        ("x", "http://localhost:11434/v1", "custom_openai", "x"),
        ("gpt-4o", ELSEWHERE, "openai", "gpt-4o"),
        ("openai/BAAI/bge-m3", SILICONFLOW, "openai", "BAAI/bge-m3"),
        ("x", "https://[::1/v1", "custom_openai", "x"),
    ],
)
def test_an_address_says_whom_to_call_when_the_name_does_not(model: str, base_url: str, provider: str, name: str) -> None:
    found = resolve(model, base_url=base_url)
    assert (found.provider.name, found.model) == (provider, name)


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        ("gpt5", None, ["LLM Provider NOT provided", "'openai/gpt5'", "custom_llm_provider", "base_url="]),
        ("gpt-oss-120b", None, ["LLM Provider NOT provided"]),
        ("opnai/gpt-4o", None, ["unknown provider 'opnai'", "openai", "register_provider"]),
        ("x", "siliconflo", ["unknown provider 'siliconflo' (from custom_llm_provider)", "siliconflow"]),
        ("OpenAI/gpt-4o", None, ["unknown provider 'OpenAI'"]),
        ("openai/", None, ["missing after openai/"]),
        ("/x", None, ["unknown provider ''"]),
    ],
)
def test_a_name_that_says_nothing_gets_help(model: str, given: str | None, said: list[str]) -> None:
    with pytest.raises(BadRequestError) as caught:
        resolve(model, custom_llm_provider=given)
    assert [part for part in said if part not in str(caught.value)] == []


def test_another_providers_address_brings_its_limits_and_quirks() -> None:
    home, away = resolve("openai/m").provider, resolve("openai/m", base_url=SILICONFLOW).provider
    siliconflow = resolve("siliconflow/m").provider
    assert away.name == "openai"
    assert (away.profile, away.quota, away.quirks) == (siliconflow.profile, siliconflow.quota, siliconflow.quirks)
    assert (home.profile, home.quota) == ("openai", "openai")


def test_an_unknown_address_has_unknown_limits() -> None:
    openai = resolve("openai/m").provider
    away = placed(openai, ELSEWHERE)
    assert (away.profile, away.quota) == ("", "")
    assert away.quirks == openai.quirks
    assert placed(openai, "https://api.openai.com/v1") is openai


@pytest.mark.parametrize("name", ["ollama", "hosted_vllm"])
def test_a_server_of_ones_own_is_the_same_wherever_it_stands(name: str) -> None:
    assert resolve(f"{name}/m", base_url="http://gpu.example.test:8000/v1").provider.profile == "local"


@pytest.mark.parametrize(
    ("provider", "env", "base_url"),
    [
        ("openai", {}, None),
        ("openai", {"OPENAI_BASE_URL": "https://a.test/v1/", "OPENAI_API_BASE": "https://b.test/v1"}, "https://a.test/v1"),
        ("openai", {"OPENAI_BASE_URL": " ", "OPENAI_API_BASE": "https://b.test/v1"}, "https://b.test/v1"),
        ("ollama", {"OLLAMA_API_BASE": "http://gpu:11434"}, "http://gpu:11434"),
        ("ollama", {"OLLAMA_API_BASE": "http://gpu:11434/"}, "http://gpu:11434"),
        ("ollama", {"OLLAMA_API_BASE": "http://gpu:11434/v1"}, "http://gpu:11434"),
        ("ollama", {"OLLAMA_API_BASE": "http://gpu:11434/api/generate"}, "http://gpu:11434"),
        ("cohere", {"COHERE_API_BASE": "https://api.cohere.com/v2/chat"}, "https://api.cohere.com/v2"),
        ("cohere", {"COHERE_API_BASE": "https://api.cohere.com"}, "https://api.cohere.com/v2"),
        ("ollama", {"OLLAMA_API_BASE": "https://h.test/ollama/v1"}, "https://h.test/ollama"),
        ("databricks", {"DATABRICKS_API_BASE": "https://w.test/serving-endpoints"}, "https://w.test/serving-endpoints"),
        ("cloudflare", {"CLOUDFLARE_ACCOUNT_ID": "me"}, "https://api.cloudflare.com/client/v4/accounts/me/ai/v1"),
        ("cloudflare", {"CLOUDFLARE_ACCOUNT_ID": ""}, None),
        ("cloudflare", {}, None),
    ],
)
def test_the_environment_may_give_the_address(provider: str, env: dict[str, str], base_url: str | None) -> None:
    assert find_base_url(resolve(f"{provider}/m").provider, env) == base_url


@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({}, None),
        ({"TOGETHER_API_KEY": ""}, None),
        ({"TOGETHERAI_API_KEY": "b", "TOGETHER_API_KEY": "a"}, "a"),
        ({"TOGETHER_API_KEY": "  ", "TOGETHERAI_API_KEY": "b\n"}, "b"),
    ],
)
def test_the_first_variable_that_is_set_holds_the_key(env: dict[str, str], key: str | None) -> None:
    assert find_key(resolve("together_ai/m").provider, env) == key


@pytest.mark.parametrize("key", ["sk-line\nbreak", "sk-…", "sk-\x00"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigurationError, match="the key for openai") as caught:
        headers_for(resolve("openai/m").provider, key)
    assert key not in str(caught.value)


@pytest.mark.usefixtures("fresh")
def test_a_registered_provider_is_like_any_other() -> None:
    made = register_provider("acme", base_url="https://llm.acme.test/v1/", api_key_env="ACME_KEY", aliases=["acme2"])
    assert resolve("acme/m/n") == (made, "m/n")
    assert resolve("acme2/m").provider is made
    assert resolve("m", base_url="https://llm.acme.test/v1").provider is made
    assert made in providers()
    assert find_key(made, {"ACME_KEY": "k"}) == "k"
    assert made.needs_key
    assert made.path("chat") == "/chat/completions"


@pytest.mark.usefixtures("fresh")
def test_a_provider_registered_without_a_key_needs_none() -> None:
    assert not register_provider("mine", base_url="http://10.0.0.1:8000/v1").needs_key


@pytest.mark.usefixtures("fresh")
def test_registering_again_replaces() -> None:
    register_provider("openai", base_url="https://proxy.test/v1", api_key_env=["PROXY_KEY"])
    assert resolve("openai/m").provider.base_url == "https://proxy.test/v1"
    assert resolve("text-completion-openai/m").provider.base_url == "https://proxy.test/v1"


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "a/b", "base_url": ELSEWHERE}, "without slashes"),
        ({"name": "", "base_url": ELSEWHERE}, "without slashes"),
        ({"name": "a", "base_url": "llm.example.test"}, "base_url of provider 'a'"),
        ({"name": "a", "base_url": ELSEWHERE, "dialect": "smoke_signals"}, "dialect of provider 'a' must be one of openai_chat"),
        ({"name": "a", "base_url": ELSEWHERE, "aliases": ["groq"]}, "'groq' belongs to 'groq'"),
    ],
)
def test_a_registration_that_cannot_be_says_why(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        register_provider(**arguments)  # type: ignore[arg-type]


def test_a_row_with_an_unknown_column_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"provider 'x'.*nonsense"):
        catalog.Catalog({"x": {"nonsense": 1, "evidence": {"source": "s", "checked": "2026-11-23", "confidence": "unchecked"}}})


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(BadRequestError, match="openai has no operation 'telepathy'"):
        resolve("openai/m").provider.path("telepathy")


@pytest.mark.parametrize("row", [resolve("openai/m").provider, resolve("cloudflare/m").provider, resolve("openai_like/m").provider])
def test_a_row_shows_itself_in_one_line(row: Provider) -> None:
    assert repr(row).startswith(f"<Provider {row.name} openai_chat ")
    assert "\n" not in repr(row)


def test_the_whole_address_of_a_chat_was_called_with_its_end_twice() -> None:
    to = destination("openai/x", {"base_url": "https://a.test/v1/chat/completions", "api_key": "k"})
    assert to.base_url == "https://a.test/v1"
