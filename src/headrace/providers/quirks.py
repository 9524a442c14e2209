"""Adapts request parameters to one provider."""

from __future__ import annotations

import re
from typing import Any

from headrace.errors import UnsupportedParamsError
from headrace.providers.rows import Provider, Quirk


def apply(provider: Provider, body: dict[str, Any], *, operation: str, drop_params: bool = False) -> dict[str, Any]:
    """`body` as `provider` accepts it: the same object if nothing has to change, else a new one.

    Raises UnsupportedParamsError, naming the parameter and the source, for parameters that the provider is known to
    reject, unless `drop_params`.
    """
    for quirk in concerning(provider, operation, body.get("model", "")):
        body = _applied(quirk, provider.name, body, drop_params)
    return body


def concerning(provider: Provider, operation: str, model: str) -> list[Quirk]:
    """The quirks that apply to such calls."""
    return [quirk for quirk in provider.quirks if _concerns(quirk, operation, model)]


def _concerns(quirk: Quirk, operation: str, model: str) -> bool:
    return quirk.operation in ("", operation) and (not quirk.models or re.match(quirk.models, model) is not None)


def _applied(quirk: Quirk, provider: str, body: dict[str, Any], drop_params: bool) -> dict[str, Any]:
    refused = [name for name in quirk.refuse if name in body]
    if refused and not drop_params:
        raise UnsupportedParamsError(
            f"{provider} rejects {', '.join(refused)} ({quirk.source}): remove it, or pass drop_params=True to drop it",
            model=body.get("model"),
            llm_provider=provider,
        )
    rename = {**quirk.rename, **{name: other for name, other in quirk.rename_texts.items() if isinstance(body.get(name), str)}}
    left_out = {*refused, *quirk.drop, *(name for name, other in rename.items() if other in body)}
    written = {rename.get(name, name): value for name, value in body.items() if name not in left_out}
    if quirk.messages and "messages" in written:
        from headrace.dialects import mistral  # late: only needed for Mistral

        written["messages"] = mistral.messages(written["messages"])
    return {**quirk.default, **written}
