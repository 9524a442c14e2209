"""Reasoning effort: deployments can set it in several parameters, and a call's own `reasoning_effort` overrides them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_CARRIERS: Final = ("output_config", "reasoning")
"""Parameters that contain an `effort` field."""


def without_other_efforts(params: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment's parameters as they are sent with a call.

    If the call gives `reasoning_effort`, every other parameter that sets the reasoning effort is removed, because
    providers refuse contradicting ones.
    """
    kept = dict(params)
    if asked.get("reasoning_effort") is None:
        return kept
    kept.pop("thinking", None)
    for name in _CARRIERS:
        _let_go(kept, name, "effort")
    extra = kept.get("extra_body")
    if isinstance(extra, Mapping):
        kept["extra_body"] = extra = without_other_efforts(extra, asked)
        extra.pop("reasoning_effort", None)
        if not extra:
            del kept["extra_body"]
    return kept


def _let_go(params: dict[str, Any], name: str, field: str) -> None:
    value = params.get(name)
    if isinstance(value, Mapping) and field in value:
        left = {inner: what for inner, what in value.items() if inner != field}
        params[name] = left
        if not left:
            del params[name]
