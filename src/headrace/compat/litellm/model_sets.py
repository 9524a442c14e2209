"""litellm's sets of models by provider and kind: `litellm.anthropic_models`, `litellm.open_ai_embedding_models`, …"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from headrace.models.facts import Facts, catalogue


class Which(NamedTuple):
    """Selects rows of the model catalogue by litellm's provider name and, if given, by mode."""

    provider: str
    mode: str = ""


MODEL_SETS: Final[Mapping[str, Which]] = {
    "open_ai_chat_completion_models": Which("openai", "chat"),
    "open_ai_embedding_models": Which("openai", "embedding"),
    "open_ai_text_completion_models": Which("text-completion-openai"),
    "openai_image_generation_models": Which("openai", "image_generation"),
    "cohere_embedding_models": Which("cohere", "embedding"),
    "cohere_chat_models": Which("cohere_chat"),
    "cohere_models": Which("cohere", "completion"),
    "vertex_language_models": Which("vertex_ai-language-models"),
    "vertex_embedding_models": Which("vertex_ai-embedding-models"),
    "vertex_anthropic_models": Which("vertex_ai-anthropic_models"),
    "bedrock_embedding_models": Which("bedrock", "embedding"),
    "mistral_chat_models": Which("mistral", "chat"),
    **{
        f"{name}_models": Which(name)
        for name in (
            "ai21", "anthropic", "azure", "azure_ai", "bedrock", "bedrock_converse", "cerebras", "cloudflare", "codestral", "dashscope",
            "databricks", "deepinfra", "deepseek", "fireworks_ai", "gemini", "groq", "huggingface", "moonshot", "nebius", "novita",
            "openrouter", "perplexity", "replicate", "sambanova", "snowflake", "together_ai", "volcengine", "voyage", "watsonx", "xai",
        )
    },
}  # fmt: skip
"""The selection behind each set."""


def made(name: str) -> set[str]:
    """The names of the catalogue's models in a set; a new set each time."""
    which = MODEL_SETS[name]
    return {model for model, facts in catalogue.table().items() if model != "sample_spec" and _is(which, facts)}


def _is(which: Which, facts: Facts) -> bool:
    return facts.get("litellm_provider") == which.provider and which.mode in ("", facts.get("mode"))


TABLES: Final[Mapping[str, Callable[[], set[str]]]] = {name: (lambda name=name: made(name)) for name in MODEL_SETS}  # type: ignore[misc]
