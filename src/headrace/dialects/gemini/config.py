"""`generationConfig`: sampling, limits, response format and thinking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.dialects.fields import flag, items, merged, number, obj, rest, string, whole
from headrace.dialects.gemini.models import version
from headrace.dialects.gemini.names import camel
from headrace.dialects.gemini.schemas import reduced, standard
from headrace.types import ChatRequest, Extra, Json, ResponseFormat

_PLAIN: Final = (
    ("temperature", "temperature", number), ("topP", "top_p", number), ("topK", "top_k", whole), ("candidateCount", "n", whole),
    ("maxOutputTokens", "max_tokens", whole), ("seed", "seed", whole), ("presencePenalty", "presence_penalty", number),
    ("frequencyPenalty", "frequency_penalty", number), ("responseLogprobs", "logprobs", flag), ("logprobs", "top_logprobs", whole),
)  # fmt: skip
"""Gemini's name, the hub's name, and the type check."""

_KNOWN: Final = frozenset({"stopSequences", *(name for name, _, _ in _PLAIN)})

BUDGETS: Final[Mapping[str, int]] = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""Thinking budget in tokens for each effort, on models that take a budget. The first four are LiteLLM 1.106's."""

_LEVELS: Final = ("minimal", "low", "medium", "high")
_JSON: Final = "application/json"

OWN: Final = frozenset({
    "responseModalities", "speechConfig", "thinkingConfig", "imageConfig", "mediaResolution", "responseMimeType", "responseSchema",
    "responseJsonSchema", "audioTimestamp", "routingConfig", "modelSelectionConfig", "enableEnhancedCivicAnswers",
    "enableAffectiveDialog", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "responseLogprobs",
})  # fmt: skip
"""`generationConfig` fields that a caller of another dialect may set among its own parameters."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_config(value: Json, extra: dict[str, Json]) -> dict[str, Any]:
    """The hub's fields. Adds to `extra` what the hub cannot express."""
    if value is None:
        return {}
    config = camel(obj(value, "generationConfig"))
    found: dict[str, Any] = {ours: check(config.get(name), f"generationConfig.{name}") for name, ours, check in _PLAIN}
    stops = config.get("stopSequences")
    stops = [stops] if isinstance(stops, str) else items(stops, "generationConfig.stopSequences")
    found["stop"] = tuple([string(text, f"generationConfig.stopSequences[{index}]") for index, text in enumerate(stops)])
    left = rest(config, _KNOWN)
    found |= _read_thinking(left) | _read_format(left)
    if left or not config:
        extra["generationConfig"] = left
    return found


def _read_thinking(left: dict[str, Json]) -> dict[str, Any]:
    """Thinking budget and effort, removed from `left`.

    A negative budget lets the model decide, which the hub cannot express, so it stays.
    """
    given = left.get("thinkingConfig")
    if not isinstance(given, Mapping):
        return {}
    config = dict(camel(given))
    found: dict[str, Any] = {}
    budget, level = config.get("thinkingBudget"), config.get("thinkingLevel")
    if isinstance(budget, int) and not isinstance(budget, bool) and budget >= 0:
        found["thinking_budget"] = config.pop("thinkingBudget")
    if isinstance(level, str) and level.lower() in _LEVELS:
        found["effort"] = level.lower()
        if level == level.lower():
            del config["thinkingLevel"]
    if config or not given:
        left["thinkingConfig"] = config
    else:
        del left["thinkingConfig"]
    return found


def _read_format(left: dict[str, Json]) -> dict[str, Any]:
    """The response format, removed from `left`."""
    kind, whole_schema, schema = left.get("responseMimeType"), left.get("responseJsonSchema"), left.get("responseSchema")
    if whole_schema is None and schema is None and kind in (_JSON, "text/plain"):
        del left["responseMimeType"]
        return {"response_format": ResponseFormat(type="json_object" if kind == _JSON else "text")}
    if kind != _JSON or (whole_schema is None) == (schema is None):
        return {}
    extra: dict[str, Json] = {}
    if whole_schema is None:
        whole_schema, extra = standard(schema), {"responseSchema": schema}
    if not isinstance(whole_schema, Mapping) or not whole_schema:
        return {}
    left.pop("responseSchema", None)
    left.pop("responseJsonSchema", None)
    del left["responseMimeType"]
    return {"response_format": ResponseFormat(type="json_schema", name="output", schema=whole_schema, extra=extra)}


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_config(request: ChatRequest, extra: Extra, model: str, *, foreign: bool) -> Json:
    """The `generationConfig`, None if empty. `extra` holds its fields unknown to the hub, under Gemini's names."""
    given = extra.get("generationConfig")
    left = dict(camel(given)) if isinstance(given, Mapping) else {}
    said: dict[str, Json] = {name: getattr(request, ours) for name, ours, _ in _PLAIN}
    said["stopSequences"] = list(request.stop) or None
    if foreign:
        said |= _foreign(said)
    said |= _write_format(request.response_format, model, foreign=foreign)
    said["thinkingConfig"] = _write_thinking(request, left.get("thinkingConfig"), model, foreign=foreign)
    written = merged({}, left, said)
    return written if written or given is not None else None


def _foreign(said: Mapping[str, Json]) -> dict[str, Json]:
    """Values that OpenAI's clients send but that equal Gemini's defaults, such as `n=1` or an empty stop sequence, as None."""
    stops = [text for text in said["stopSequences"] or () if text]
    return {
        "candidateCount": said["candidateCount"] if (said["candidateCount"] or 1) > 1 else None,
        "responseLogprobs": said["responseLogprobs"] or None,
        "logprobs": said["logprobs"] if said["responseLogprobs"] else None,
        "stopSequences": stops or None,
    }


def _write_format(format_: ResponseFormat | None, model: str, *, foreign: bool) -> dict[str, Json]:
    if format_ is None:
        return {}
    if format_.type != "json_schema":
        return {"responseMimeType": _JSON if format_.type == "json_object" else None if foreign else "text/plain"}
    extra: Extra = {} if foreign else format_.extra
    if "responseSchema" in extra:
        return {"responseMimeType": _JSON, "responseSchema": extra["responseSchema"]}
    if foreign and format_.schema and version(model) < (2, 0):
        return {"responseMimeType": _JSON, "responseSchema": reduced(format_.schema)}
    return {"responseMimeType": _JSON, "responseJsonSchema": format_.schema or None}


def thinks(model: str) -> bool:
    """Whether the model's thinking can be configured: Gemini 2.5 and later."""
    return version(model) >= (2, 5)


def _write_thinking(request: ChatRequest, given: Json, model: str, *, foreign: bool) -> Json:
    left = dict(camel(given)) if isinstance(given, Mapping) else {}
    if not foreign:
        if "thinkingLevel" not in left and request.effort is not None:
            left["thinkingLevel"] = request.effort
        if request.thinking_budget is not None:
            left["thinkingBudget"] = request.thinking_budget
        return left or given
    if left or not thinks(model):
        return left or None  # the caller's own settings in Gemini's format take precedence
    if request.thinking_budget is not None:
        return {"thinkingBudget": request.thinking_budget, "includeThoughts": request.thinking_budget != 0}
    return None if request.effort is None else _wished(request.effort, request.max_tokens, model)


def _wished(effort: str, most: int | None, model: str) -> dict[str, Json]:
    """The thinking config for an effort: the nearest level from Gemini 3 on, a budget for earlier models.

    The budget leaves half of the tokens for the response.
    """
    pro = "pro" in model
    if version(model) >= (3, 0):
        level = effort if effort in _LEVELS else "high" if effort in BUDGETS else "minimal"
        return {"thinkingLevel": "low" if pro and level == "minimal" else level, "includeThoughts": effort != "none"}
    if effort == "none":
        return {"thinkingBudget": 128 if pro else 0, "includeThoughts": False}  # 2.5 Pro always thinks, with 128 tokens at least
    budget = BUDGETS.get(effort, BUDGETS["medium"])
    return {"thinkingBudget": budget if most is None else max(128, min(budget, most // 2)), "includeThoughts": True}
