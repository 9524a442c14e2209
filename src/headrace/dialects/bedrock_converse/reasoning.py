"""Reasoning settings, and other fields that each model family on Bedrock takes through `additionalModelRequestFields`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from headrace.dialects.fields import obj
from headrace.types import ChatRequest, Json

Family = Literal["claude", "nova", "gpt-oss", ""]

_FAMILIES: Final[tuple[tuple[Family, re.Pattern[str]], ...]] = (
    ("claude", re.compile(r"(?:^|[./])(?:anthropic\.)?claude")),
    ("nova", re.compile(r"(?:^|[./])nova")),
    ("gpt-oss", re.compile(r"(?:^|[./])(?:gpt-oss|deepseek|qwen|kimi|minimax|glm)")),
)

_ADAPTIVE: Final = re.compile(r"claude-(?:opus|sonnet|haiku|fable|mythos)-(?:4-[6-9]|4-\d\d(?!\d)|[5-9])")
"""Models with adaptive thinking, which take an effort (platform.claude.com/docs/en/build-with-claude/adaptive-thinking)."""

BUDGETS: Final[Mapping[str, int]] = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""Thinking budget in tokens for each effort; up to `high` as LiteLLM 1.106 has it."""

_WORDS: Final = frozenset({"thinking", "reasoning_config", "reasoningConfig", "reasoning_effort", "output_config"})


def family(model: str) -> Family:
    return next((name for name, pattern in _FAMILIES if pattern.search(model.lower())), "")


def read_fields(value: Json, extra: dict[str, Json]) -> dict[str, Any]:
    """The hub's fields among the additional ones; adds the others to `extra`."""
    if value is None:
        return {}
    fields = dict(obj(value, "additionalModelRequestFields"))
    said: dict[str, Any] = {}
    match fields.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget), **more} if not more:
            said["thinking_budget"] = budget
            del fields["thinking"]
    top_k, effort = fields.get("top_k"), fields.get("reasoning_effort")
    if isinstance(top_k, int) and not isinstance(top_k, bool):
        said["top_k"] = fields.pop("top_k")
    if isinstance(effort, str) and effort and "thinking_budget" not in said:
        said["effort"] = fields.pop("reasoning_effort")
    if fields or not value:
        extra["additionalModelRequestFields"] = fields
    return said


def write_fields(request: ChatRequest, model: str, given: Mapping[str, Json]) -> dict[str, Json]:
    """The additional fields for `model`. Fields in `given` take precedence."""
    kind = family(model)
    fields = dict(given)
    if request.top_k is not None and "top_k" not in fields:
        if kind == "nova":
            fields["inferenceConfig"] = {"topK": request.top_k, **_object(fields.get("inferenceConfig"))}
        else:
            fields["top_k"] = request.top_k
    if fields.keys().isdisjoint(_WORDS):
        fields |= _reasoning(request, kind, model)
    return fields


def thinks(fields: Mapping[str, Json], given: Mapping[str, Json]) -> bool:
    """Whether an effort enabled Claude's thinking, which requires the default temperature. False if the caller set `thinking` itself."""
    thinking = fields.get("thinking")
    return "thinking" not in given and isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _reasoning(request: ChatRequest, kind: Family, model: str) -> dict[str, Json]:
    effort, budget = request.effort, request.thinking_budget
    if effort is None and budget is None:
        return {}
    if kind == "nova":
        return _nova(effort or _effort(budget))
    if kind == "gpt-oss" or (not kind and effort is not None):
        return {"reasoning_effort": effort or _effort(budget)}
    return _claude(effort, budget, request.max_tokens, model)


def _claude(effort: str | None, budget: int | None, most: int | None, model: str) -> dict[str, Json]:
    if effort == "none" or budget == 0:
        return {"thinking": {"type": "disabled"}}
    if budget is None and _ADAPTIVE.search(model):
        word = {"minimal": "low", "xhigh": "high"}.get(effort or "", effort)
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": word}}
    if budget is None:
        # An effort is only a preference: its budget is kept below max_tokens, as Claude requires, and dropped if that is below the
        # minimum.
        budget = min(BUDGETS.get(effort or "", BUDGETS["medium"]), (most or 2**31) - 1)
        return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget >= BUDGETS["minimal"] else {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _nova(effort: str) -> dict[str, Json]:
    """docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html, read 2026-11."""
    if effort == "none":
        return {"reasoningConfig": {"type": "disabled"}}
    word = effort if effort in ("low", "medium", "high") else "low" if effort == "minimal" else "high"
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}}


def _effort(budget: int | None) -> str:
    """The lowest effort whose budget is not below `budget`."""
    if not budget:
        return "none"
    return next((effort for effort in ("low", "medium", "high") if budget <= BUDGETS[effort]), "high")
