"""`_hidden_params["additional_headers"]` as litellm's programs read it: the provider's headers under both names, and the Router's word."""

from __future__ import annotations

from typing import Any, Final

from headrace.models.prices import Beside

PROVIDERS: Final = "llm_provider-"
"""What litellm puts before the name of a header that came from the provider."""


def tell_headers(hidden: Any) -> None:
    """Name them once; an answer out of a cache has none."""
    if not isinstance(hidden, Beside) or isinstance(sent := hidden["additional_headers"], dict):
        return
    told: dict[str, Any] = dict(sent.items())
    told |= {f"{PROVIDERS}{name}": value for name, value in sent.items()}
    if (record := hidden.get("headrace")) is not None:
        told |= {"x-litellm-model-group": hidden["model_group"], "x-litellm-attempted-retries": len(record["failed"])}
    hidden["additional_headers"] = told
