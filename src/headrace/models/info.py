"""Queries about a model, under litellm's names: its facts, its abilities, what a call costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headrace.errors import BadRequestError, NotFoundError
from headrace.models.cost import NANO, Bill, Rates, bill_of, fields_of, is_price, pieces_of, rates_of
from headrace.models.counting import token_counter
from headrace.models.facts import Facts, catalogue

ALWAYS: Final = (
    "max_tokens", "max_input_tokens", "max_output_tokens", "input_cost_per_token", "output_cost_per_token",
    "cache_creation_input_token_cost", "cache_read_input_token_cost", "litellm_provider", "mode", "supports_function_calling",
    "supports_vision", "supports_response_schema", "supports_reasoning", "supports_tool_choice", "supports_prompt_caching",
    "supports_system_messages", "supports_audio_input", "supports_audio_output", "supports_pdf_input", "supports_web_search",
)  # fmt: skip
"""Facts that `get_model_info` includes even if unknown."""


def get_model_info(model: str, custom_llm_provider: str | None = None, api_base: str | None = None) -> dict[str, Any]:
    """Facts about a model: context window, prices in dollars per token, abilities.

    model: `provider/name`, or a name that only one provider has. Raises NotFoundError for an unknown model;
    `register_model` adds one.
    """
    found = named(model, custom_llm_provider)
    if found is None:
        raise unmapped(model, custom_llm_provider)
    key, facts = found
    return {"key": key, **dict.fromkeys(ALWAYS), "mode": "chat", **facts}


def find(model: str, provider: str | None = None) -> Facts | None:
    """A model's facts by its full name, or by its own name and its provider; None if unknown."""
    found = named(model, provider)
    return None if found is None else found[1]


def named(model: str, provider: str | None = None) -> tuple[str, Facts] | None:
    """The same with the name of the row."""
    house, slash, own = model.partition("/")
    if provider:
        return catalogue.named(own if slash and house == provider else model, provider)
    return catalogue.named(model) or (catalogue.named(own, house) if slash else None)


def unmapped(model: str, provider: str | None = None) -> NotFoundError:
    """The error for an unknown model, in the words that litellm's users search for."""
    return NotFoundError(
        f"This model isn't mapped yet: {model!r}. Register it: register_model({{{model!r}: {{'input_cost_per_token': …, "
        "'output_cost_per_token': …, 'max_input_tokens': …}})",
        model,
        provider or "",
    )


def register_model(model_cost: Mapping[str, Mapping[str, Any]] | str) -> dict[str, Facts]:
    """Add facts about models: a mapping, or its JSON text, from names to facts under litellm's names.

    Facts not given are kept.

    Raises BadRequestError that names the model and the field.
    """
    given: Any = model_cost
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except msgspec.DecodeError:
            raise BadRequestError("register_model takes a mapping of models or its JSON text; URLs are not fetched") from None
    if not isinstance(given, Mapping):
        raise BadRequestError(f"register_model takes a mapping of names to facts, got {type(given).__name__}")
    for name, facts in given.items():
        _check(name, facts)
    for name, facts in given.items():
        catalogue.register(name, facts)
    return {name: dict(catalogue.row(name) or {}) for name in given}


def _check(name: Any, facts: Any) -> None:
    if not isinstance(name, str) or not isinstance(facts, Mapping):
        raise BadRequestError(f"register_model[{name!r}] must be a mapping of facts, got {type(facts).__name__}")
    for field, value in facts.items():
        given = is_price(field) and value is not None and not isinstance(value, Mapping)
        if given and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf):
            raise BadRequestError(f"register_model[{name!r}].{field} must be a price in dollars of at least 0, got {value!r}")


def get_max_tokens(model: str) -> int | None:
    """The model's output limit in tokens; if unknown, its context window."""
    facts = find(model)
    if facts is None:
        raise unmapped(model)
    found = [facts[name] for name in ("max_output_tokens", "max_tokens", "max_input_tokens") if facts.get(name)]
    return int(found[0]) if found else None


def supports(ability: str, model: str, custom_llm_provider: str | None = None) -> bool:
    """Whether a model is known to have an ability (`vision`, `function_calling`, …). False for an unknown model."""
    facts = find(model, custom_llm_provider)
    return facts is not None and facts.get(f"supports_{ability}") is True


def completion_cost(
    completion_response: Any = None,
    model: str | None = None,
    prompt: str = "",
    messages: Sequence[Any] = (),
    completion: str = "",
    *,
    custom_llm_provider: str | None = None,
    base_model: str | None = None,
    service_tier: str | None = None,
    custom_cost_per_token: Mapping[str, float] | None = None,
    **_: Any,
) -> float:
    """The cost in dollars of a response: of a chat, a completion, embeddings, images, a reranking or a transcription.

    Without a response, texts are counted: `prompt` or `messages`, and `completion`. Raises NotFoundError for a model
    without known prices. For a response made by headrace this is `response._hidden_params["response_cost"]`.
    """
    beside = getattr(completion_response, "_hidden_params", None) or {}
    own = model is None and base_model is None and custom_cost_per_token is None and service_tier is None
    if own and beside.get("response_cost") is not None:
        return float(beside["response_cost"])
    fields = fields_of(completion_response)
    name = base_model or model or beside.get("model") or fields.get("model") or ""
    provider = custom_llm_provider or (None if base_model or model else beside.get("custom_llm_provider"))
    rates = _rates(name, provider, service_tier or fields.get("service_tier"), custom_cost_per_token)
    if completion_response is None:
        return rates.of(Bill(input=count(name, prompt, messages), output=count(name, completion))) / NANO
    return rates.of(_bill(fields)) / NANO


def count(model: str, text: str, messages: Sequence[Any] = ()) -> int:
    """Tokens of a text or of messages; 0 for neither."""
    return token_counter(model, messages=messages or None, text=text or None) if text or messages else 0


def _bill(fields: Mapping[str, Any]) -> Bill:
    """What a response of any endpoint used, in tokens and otherwise."""
    pieces = pieces_of(fields)
    return replace(bill_of(fields.get("usage")), queries=pieces.queries, images=pieces.images, seconds=pieces.seconds)


def cost_per_token(
    model: str = "",
    prompt_tokens: float = 0,
    completion_tokens: float = 0,
    custom_llm_provider: str | None = None,
    *,
    cache_creation_input_tokens: int | None = 0,
    cache_read_input_tokens: int | None = 0,
    service_tier: str | None = None,
    custom_cost_per_token: Mapping[str, float] | None = None,
    number_of_queries: int | None = None,
    audio_transcription_file_duration: float = 0.0,
    prompt_characters: int | None = None,
    usage_object: Any = None,
    **_: Any,
) -> tuple[float, float]:
    """Dollars for prompt tokens (including cached ones) and for output tokens.

    Raises NotFoundError for a model without known prices.
    """
    rates = _rates(model, custom_llm_provider, service_tier, custom_cost_per_token)
    read, stored = cache_read_input_tokens or 0, cache_creation_input_tokens or 0
    bill = Bill(
        input=max(0, int(prompt_tokens) - read - stored), cached=read, cache_write=stored, output=int(completion_tokens),
        queries=number_of_queries or 0, seconds=audio_transcription_file_duration, characters=prompt_characters or 0,
    )  # fmt: skip
    if usage_object is not None:
        bill = bill_of(usage_object)
    prompt, answer = rates.parts(bill)
    return prompt / NANO, answer / NANO


def _rates(model: str, provider: str | None, tier: str | None, own: Mapping[str, float] | None) -> Rates:
    facts = own if own is not None else find(model, provider)
    rates = None if facts is None else rates_of(facts, tier or "")
    if rates is None:
        raise unmapped(model, provider)
    return rates
