"""Prices in the admin API: the known facts about a model, and cost estimates for calls of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.errors import BadRequestError
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, not_found
from headrace.gateway.admin.forms import check_names, dollars, text
from headrace.models.cost import Bill, Rates, rates_of
from headrace.models.info import find, get_model_info

_TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens")
_TIMES: Final[Mapping[str, str]] = {"num_requests_per_day": "daily", "num_requests_per_month": "monthly"}
_MOST: Final = 10**12


class PriceHandlers:
    """Handlers of model facts and cost estimates."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def routes(self) -> dict[str, Route]:
        return {
            "/utils/model_info": Route(("GET",), "anyone", self.info),
            "/cost/estimate": Route(("POST",), "anyone", self.estimate),
        }

    async def info(self, request: AdminRequest) -> Any:
        """The known facts about a `model`, whether it is served here or not."""
        name, whose = text("model", request.query.get("model")), request.query.get("custom_llm_provider")
        deployment = self._context.behind(request, name)
        known = get_model_info(name if deployment is None else deployment.priced_as, whose)
        return {"model": name, "custom_llm_provider": known.get("litellm_provider"), "model_info": known}

    async def estimate(self, request: AdminRequest) -> Any:
        """The estimated cost of a call of a `model` with these token counts, and of so many calls per day or month.

        Input tokens include cached ones, output tokens include reasoning.
        """
        body = request.body
        check_names(body, ("model", *_TOKENS, *_TIMES))
        name, tokens = text("model", body.get("model")), {word: _count(word, body.get(word) or 0) for word in _TOKENS}
        times = {word: None if body.get(word) is None else _count(word, body[word]) for word in _TIMES}
        deployment = self._context.behind(request, name)
        facts = find(name if deployment is None else deployment.priced_as)
        rates = (None if deployment is None else deployment.known_price) or (None if facts is None else rates_of(facts))
        if rates is None:
            raise not_found(f"price of {name!r}")
        costs = _costs(rates, tokens)
        told = {"model": name, **tokens, **times, **{f"{part}cost_per_request": dollars(cost) for part, cost in costs.items()}}
        for word, prefix in _TIMES.items():
            count = times[word]
            told |= {f"{prefix}_{part}cost": None if count is None else dollars(cost * count) for part, cost in costs.items()}
        return {**told, "provider": None if facts is None else facts.get("litellm_provider")}


def _costs(rates: Rates, tokens: Mapping[str, int]) -> dict[str, int]:
    """Nano-dollars by part of a call, under the prefix that LiteLLM's field names have for it. Raises BadRequestError."""
    read, written, thought = tokens["cache_read_input_tokens"], tokens["cache_creation_input_tokens"], tokens["reasoning_tokens"]
    plain, said = tokens["input_tokens"] - read - written, tokens["output_tokens"] - thought
    if plain < 0 or said < 0:
        raise BadRequestError("input_tokens must include the cached tokens, and output_tokens the reasoning tokens")
    whole = Bill(input=plain, cached=read, cache_write=written, output=said, reasoning=thought)
    prompt, answer = rates.parts(whole)
    parts = {
        "cache_read_": Bill(cached=read), "cache_creation_": Bill(cache_write=written), "reasoning_": Bill(reasoning=thought),
    }  # fmt: skip
    costs = {part: rates.of(bill) for part, bill in parts.items()}
    return {"": rates.of(whole), "input_": prompt, "output_": answer, "margin_": 0, **costs}


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise BadRequestError(f"{name} must be a whole number of at least 0, got {value!r}")
    return value
