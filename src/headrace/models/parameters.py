"""Which of OpenAI's parameters a model accepts, as far as known."""

from __future__ import annotations

from typing import Any, Final

from headrace.errors import HeadraceError
from headrace.models.facts import catalogue
from headrace.models.info import supports
from headrace.options import CallOptions, ChatOptions, EmbeddingOptions
from headrace.providers.catalog import resolve
from headrace.providers.rows import Provider

OPENAI_CHAT_COMPLETION_PARAMS: Final = sorted(
    set(ChatOptions.__annotations__) - set(CallOptions.__annotations__) | {"stream", "extra_headers"}
)


def provider_or_none(model: str, custom_llm_provider: str | None) -> Provider | None:
    try:
        return resolve(model, custom_llm_provider=custom_llm_provider).provider
    except HeadraceError:
        return None


def get_supported_openai_params(
    model: str, custom_llm_provider: str | None = None, request_type: str = "chat_completion", **_: Any
) -> list[str] | None:
    """OpenAI's parameters that a model's provider is not known to refuse; None for an unknown provider."""
    provider = provider_or_none(model, custom_llm_provider)
    if provider is None:
        return None
    if request_type == "embeddings":
        return sorted(set(EmbeddingOptions.__annotations__) - set(CallOptions.__annotations__))
    refused = {name for quirk in provider.quirks if not quirk.models for name in (*quirk.refuse, *quirk.drop)}
    if catalogue.find(model, provider.name) is not None and not supports("reasoning", model, custom_llm_provider):
        refused |= {"reasoning_effort"}
    offered = [*OPENAI_CHAT_COMPLETION_PARAMS, *(["thinking"] if provider.dialect == "anthropic_messages" else [])]
    return [name for name in offered if name not in refused]
