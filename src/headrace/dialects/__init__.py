"""One wire format each, read and written in both directions, with no network, clock or environment."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.dialects.base import Dialect

NAMES: Final = ("openai_chat", "openai_responses", "anthropic_messages", "bedrock_converse", "gemini", "cohere", "ollama")

SERVED: Final = ("openai_chat", "openai_responses", "anthropic_messages", "bedrock_converse", "gemini", "cohere", "ollama")
"""Those with both halves: a caller can be answered in them too."""


EMBEDDERS: Final = ("titan", "nova", "predict", "embed_content", "watsonx")
"""Forms of embeddings that belong to no dialect of chats."""


def load(name: str) -> Dialect:
    """The dialect of that name. Raises ConfigurationError for one that does not exist."""
    if name in EMBEDDERS:
        form: Dialect = importlib.import_module("headrace.dialects.cloud_embeddings").FORMS[name]  # late, as below
        return form
    if name not in NAMES:
        raise ConfigurationError(f"no dialect is called {name!r}; there are {', '.join(NAMES)}")
    dialect: Dialect = importlib.import_module(f"headrace.dialects.{name}").dialect  # late: a dialect nobody calls costs no import
    return dialect
