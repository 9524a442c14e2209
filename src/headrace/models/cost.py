"""Costs of calls in whole nano-dollars: sums are exact, and only displayed dollars are floats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from operator import mul
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import astuple, force_setattr

NANO: Final = 1_000_000_000
"""Nano-dollars in a dollar."""
MILLION: Final = 1_000_000
_PER_MILLION: Final = NANO * MILLION

CLASSES: Final[tuple[tuple[str, str, str], ...]] = (
    ("input", "input_cost_per_token", ""),
    ("cached", "cache_read_input_token_cost", "input"),
    ("cache_write", "cache_creation_input_token_cost", "input"),
    ("cache_write_hour", "cache_creation_input_token_cost_above_1hr", "cache_write"),
    ("audio_input", "input_cost_per_audio_token", "input"),
    ("image_input", "input_cost_per_image_token", "input"),
    ("output", "output_cost_per_token", ""),
    ("reasoning", "output_cost_per_reasoning_token", "output"),
    ("audio_output", "output_cost_per_audio_token", "output"),
    ("image_output", "output_cost_per_image_token", "output"),
)
"""Token classes: name, litellm's name of the price per token, and the class whose price applies if there is none."""

PIECES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("queries", ("input_cost_per_query",)),
    ("images", ("output_cost_per_image", "input_cost_per_image")),
    ("seconds", ("input_cost_per_second", "output_cost_per_second")),
    ("characters", ("input_cost_per_character",)),
)
"""What is not counted in tokens, and the possible names of its price."""

TIERS: Final[Mapping[str, str]] = {"priority": "_priority", "flex": "_flex", "batch": "_batches", "batches": "_batches", "fast": "_fast"}
"""Service tiers with prices of their own, and the suffix of their price names."""


def is_price(name: str) -> bool:
    """Whether a fact of that name is a price."""
    return "cost_per" in name or "_token_cost" in name


_ABOVE: Final = re.compile(r"_above_(\d+)k_tokens")


class Bill(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was used.

    Each token is in one class only: `input` excludes cached and other prompt tokens, `output` excludes reasoning
    tokens.
    """

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_hour: int = 0
    audio_input: int = 0
    image_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_output: int = 0
    image_output: int = 0
    searches: int = 0
    """Web searches."""
    queries: int = 0
    images: int = 0
    seconds: float = 0.0
    """Of audio, input or output."""
    characters: int = 0

    @property
    def prompt(self) -> int:
        """All prompt tokens, which determine the price step."""
        return self.input + self.cached + self.cache_write + self.cache_write_hour + self.audio_input + self.image_input


class Rates(Struct, frozen=True):
    """A model's prices at one service tier."""

    steps: tuple[tuple[int, tuple[int, ...]], ...]
    """For calls with more prompt tokens than the first number: nano-dollars per million of each field of `Bill`. The
    highest step comes first. Beyond a step, all tokens of the call have its prices, as with providers."""
    dearest: tuple[tuple[int, int, int], ...] = ()
    """The same token numbers, with the highest possible price of a prompt token and of an output token."""

    def __post_init__(self) -> None:
        dearest = [
            (above, max(prices[_INPUT], prices[_CACHE_WRITE]), max(prices[_PROMPT], prices[_REASONING])) for above, prices in self.steps
        ]
        force_setattr(self, "dearest", tuple(dearest))

    def of(self, bill: Bill) -> int:
        """Nano-dollars, rounded up."""
        prices = self.steps[0][1] if len(self.steps) == 1 else self._prices(bill.prompt)
        return -(-int(sum(map(mul, astuple(bill), prices))) // MILLION)

    def of_plain(self, prompt: int, answer: int) -> int:
        """`of` for plain text only, without caching or reasoning."""
        price = self.steps[0][1] if len(self.steps) == 1 else self._prices(prompt)
        return -(-(prompt * price[_INPUT] + answer * price[_PROMPT]) // MILLION)

    def parts(self, bill: Bill) -> tuple[int, int]:
        """Nano-dollars for the prompt, and for the output with everything that is not counted in tokens."""
        prompt = _sum(astuple(bill)[:_PROMPT], self._prices(bill.prompt))
        return prompt, self.of(bill) - prompt

    def most(self, prompt: int, answer: int) -> int:
        """The most nano-dollars that a call of that size may cost.

        The prompt may be written to a cache, and all output be reasoning.
        """
        for above, read, written in self.dearest:
            if prompt > above:
                return -(-(prompt * read + answer * written) // MILLION)
        raise ValueError(_LAST)

    def _prices(self, prompt: int) -> tuple[int, ...]:
        for above, prices in self.steps:
            if prompt > above:
                return prices
        raise ValueError(_LAST)


_LAST: Final = "the last step is for prompts of any size"
FIELDS: Final = Bill.__struct_fields__
_PROMPT: Final = FIELDS.index("output")
"""The number of fields of a bill that belong to the prompt."""
_INPUT, _CACHE_WRITE, _REASONING = [FIELDS.index(name) for name in ("input", "cache_write", "reasoning")]


def _sum(counts: Iterable[float], prices: Iterable[int]) -> int:
    return _whole(sum([count * price for count, price in zip(counts, prices, strict=False) if count]))


def _whole(millionths: float) -> int:
    return -(-int(millionths) // MILLION)


def rates_of(facts: Mapping[str, Any], tier: str = "") -> Rates | None:
    """Prices from litellm's names, in dollars; None if there are none.

    A tier without prices of its own uses the standard ones.
    """
    ends = (TIERS[tier], "") if tier in TIERS else ("",)
    pieces = dict(_pieces(facts))
    if not pieces and not any(facts.get(name) is not None for _, name, _ in CLASSES):
        return None
    above = sorted({int(found[1]) for name in facts if (found := _ABOVE.search(name))}, reverse=True)
    sizes = [(thousand * 1000, (f"_above_{thousand}k_tokens", "")) for thousand in above]
    return Rates(tuple([(least, _in_order(_step(facts, size, ends) | pieces)) for least, size in [*sizes, (-1, ("",))]]))


def _in_order(prices: Mapping[str, int]) -> tuple[int, ...]:
    return tuple([prices.get(name, 0) for name in FIELDS])


def _step(facts: Mapping[str, Any], sizes: Iterable[str], ends: Iterable[str]) -> dict[str, int]:
    prices: dict[str, int] = {}
    for name, known_as, other in CLASSES:
        found = [facts[key] for size in sizes for end in ends if facts.get(key := known_as + size + end) is not None]
        prices[name] = _price(found[0]) if found else prices.get(other, 0)
    return prices


def _pieces(facts: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, known_as in PIECES:
        found = [facts[key] for key in known_as if facts.get(key)]
        if found:
            yield name, _price(found[0])
    searches = facts.get("search_context_cost_per_query")
    if isinstance(searches, Mapping) and searches:
        yield "searches", _price(searches.get("search_context_size_medium") or max(searches.values()))


def _price(dollars: Any) -> int:
    """Nano-dollars per million: a whole number for every known price, even where one unit costs less than a nano-dollar."""
    return round(float(dollars) * _PER_MILLION)


def bill_of(usage: Any) -> Bill:
    """The bill of a usage in the form of OpenAI's dialects or Anthropic's; a mapping or an object."""
    if type(usage) is not dict:
        usage = fields_of(usage)
    if (plain := _plain(usage)) is not None:
        return plain
    prompt, answer = _first(usage, "prompt_tokens", "input_tokens"), _first(usage, "completion_tokens", "output_tokens")
    given = _given(usage, _details_of(usage))
    written = _written(fields_of(usage.get("completion_tokens_details") or usage.get("output_tokens_details")))
    if "prompt_tokens" not in usage and ("cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage):
        prompt += given["cached"] + given["cache_write"] + given["cache_write_hour"]  # Anthropic's input count excludes them
    searches = _first(fields_of(usage.get("server_tool_use")), "web_search_requests") or _first(usage, "num_search_queries")
    return Bill(
        input=max(0, prompt - sum(given.values())), output=max(0, answer - sum(written.values())), searches=searches,
        seconds=_seconds(usage), **given, **written,
    )  # fmt: skip


def pieces_of(answer: Mapping[str, Any]) -> Bill:
    """What a response used that is not counted in tokens: generated images, searches of a ranking, seconds of audio."""
    units = fields_of(fields_of(answer.get("meta")).get("billed_units"))
    pictures = [item for item in answer.get("data") or () if {"b64_json", "url"} & fields_of(item).keys()]
    return Bill(
        queries=int(units.get("search_units") or ("results" in answer)),
        images=len(pictures),
        seconds=float(answer.get("duration") or fields_of(answer.get("usage")).get("seconds") or 0.0),
    )


def _details_of(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The prompt's details; transcriptions have a field name of their own."""
    names = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
    return fields_of(next((found for name in names if (found := usage.get(name))), None))


def _seconds(usage: Mapping[str, Any]) -> float:
    """Seconds of audio, for a transcription that is billed by duration."""
    seconds = usage.get("seconds") if usage.get("type") == "duration" else 0
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 0.0


_CLASSED: Final = frozenset({
    "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "prompt_cache_hit_tokens", "cached_tokens",
    "input_tokens_details", "output_tokens_details", "server_tool_use", "num_search_queries",
})  # fmt: skip
"""Usage fields besides the token sums that have classes of their own."""


def _plain(usage: Mapping[str, Any]) -> Bill | None:
    """The bill of plain text without caching or reasoning; None for any other usage.

    Most usage is plain, and this costs a fifth of the full analysis.
    """
    prompt, answer = usage.get("prompt_tokens"), usage.get("completion_tokens") or 0
    if type(prompt) is not int or type(answer) is not int or prompt <= 0 or answer < 0:
        return None
    if not _CLASSED.isdisjoint(usage) and any(usage.get(name) for name in _CLASSED):
        return None
    for name in _DETAILS:
        if (details := usage.get(name)) and (type(details) is not dict or any(details.values())):
            return None
    return Bill(input=prompt, output=answer)


_DETAILS: Final = ("prompt_tokens_details", "completion_tokens_details")


def fields_of(value: Any) -> Mapping[str, Any]:
    """The fields of a mapping or an object; none for None."""
    if value is None:
        return {}
    kind: Any = type(value)
    return value if _is_mapping(kind) else getattr(value, "__dict__", {})


@cache
def _is_mapping(kind: Any) -> bool:
    """Cached, because an `issubclass` check against an ABC costs more than the rest of a bill."""
    return issubclass(kind, Mapping)


def _given(usage: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, int]:
    """Prompt tokens by class, except plain uncached text."""
    hour = _first(fields_of(usage.get("cache_creation")), "ephemeral_1h_input_tokens")
    stored = _first(details, "cache_write_tokens", "cache_creation_tokens") or _first(usage, "cache_creation_input_tokens")
    cached = _first(details, "cached_tokens") or _first(usage, "cache_read_input_tokens", "prompt_cache_hit_tokens", "cached_tokens")
    heard, seen = _first(details, "audio_tokens"), _first(details, "image_tokens")
    return {"cached": cached, "cache_write": max(0, stored - hour), "cache_write_hour": hour, "audio_input": heard, "image_input": seen}


def _written(details: Mapping[str, Any]) -> dict[str, int]:
    """Output tokens by class, except plain text."""
    if not details:
        return {}
    names = {"reasoning": "reasoning_tokens", "audio_output": "audio_tokens", "image_output": "image_tokens"}
    return {field: _count(details.get(name)) for field, name in names.items()}


def _first(counts: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if count := _count(counts.get(name)):
            return count
    return 0


def _count(count: Any) -> int:
    if type(count) is int:
        return count if count > 0 else 0
    return int(count) if type(count) is float and count > 0 else 0
