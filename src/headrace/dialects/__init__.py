"""The dialects: each reads and writes one wire format in both directions, without network, clock or environment."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.dialects.base import Dialect

NAMES: Final = ("openai_chat", "openai_responses", "anthropic_messages", "bedrock_converse", "gemini", "cohere", "ollama")

SERVED: Final = ("openai_chat", "openai_responses", "anthropic_messages", "bedrock_converse", "gemini", "cohere", "ollama")
"""Dialects with both halves: they can also serve callers."""


EMBEDDERS: Final = ("titan", "nova", "predict", "embed_content", "watsonx")
"""Embedding formats that belong to no chat dialect."""


def load(name: str) -> Dialect:
    """The dialect with that name. Raises ConfigurationError for an unknown name."""
    if name in EMBEDDERS:
        form: Dialect = importlib.import_module("headrace.dialects.cloud_embeddings").FORMS[name]  # late, as below
        return form
    if name not in NAMES:
        raise ConfigurationError(f"there is no dialect {name!r}; known: {', '.join(NAMES)}")
    dialect: Dialect = importlib.import_module(f"headrace.dialects.{name}").dialect  # late: an unused dialect costs no import
    return dialect
