"""`_hidden_params["additional_headers"]` as in litellm: the provider's headers under both names, and the Router's own."""

from __future__ import annotations

from typing import Any, Final

from headrace.models.prices import Beside

PROVIDERS: Final = "llm_provider-"
"""litellm's prefix for headers that came from the provider."""


def tell_headers(hidden: Any) -> None:
    """Set the headers once; a cached response has none."""
    if not isinstance(hidden, Beside) or isinstance(sent := hidden["additional_headers"], dict):
        return
    told: dict[str, Any] = dict(sent.items())
    told |= {f"{PROVIDERS}{name}": value for name, value in sent.items()}
    if (record := hidden.get("headrace")) is not None:
        told |= {"x-litellm-model-group": hidden["model_group"], "x-litellm-attempted-retries": len(record["failed"])}
    hidden["additional_headers"] = told
