"""How much a model is to think: said by a deployment in many words, and outranked by the one that a call says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_CARRIERS: Final = ("output_config", "reasoning")
"""Parameters that have an `effort` among others."""


def without_other_efforts(params: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment's parameters as they go beside a call's: where the call says `reasoning_effort`, what else says how much to think is
    left out, for two such words contradict each other and providers refuse them."""
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
