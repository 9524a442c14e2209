"""The model catalogue: prices, context windows, abilities.

Shipped in `facts.json` (`make facts`), extended by `register_model`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

Facts: TypeAlias = dict[str, Any]
"""One model's facts under litellm's names, prices in dollars: `input_cost_per_token`, `max_input_tokens`,
`supports_vision`, …"""

_DATED: Final = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d|latest|preview|\d{4})(-v\d+(:\d+)?)?$")
"""Suffixes of dated model snapshots."""

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "bedrock": ("bedrock_converse",), "cohere": ("cohere_chat",), "vertex_ai": ("vertex_ai-",), "azure": ("azure_text",),
    "openai": ("text-completion-openai",),
}  # fmt: skip
"""Other provider names used in a provider's rows; one that ends in a dash is a prefix."""


class Catalogue:
    """Facts by model name. The shipped data is loaded on first use, and each row decoded when needed."""

    def __init__(self, shipped: bytes | None = None) -> None:
        """shipped: replaces `facts.json`: a JSON object of rows, in which "" describes the data itself."""
        self._source = shipped
        self._rows: dict[str, msgspec.Raw] | None = None
        self._open: dict[str, Facts] = {}
        self._about: dict[str, str] = {}
        self.registrations = 0
        """Increases with every registration, so that caches derived from rows can be checked."""
        self.handed_out = False
        """Whether rows may change without a registration."""

    @property
    def about(self) -> Mapping[str, str]:
        """Source and date of the data."""
        self._shipped()
        return self._about

    def find(self, model: str, provider: str = "") -> Facts | None:
        """Facts about a provider's model by its own name; None if unknown.

        A dated snapshot falls back to its model's facts.
        """
        found = self.named(model, provider)
        return None if found is None else found[1]

    def named(self, model: str, provider: str = "") -> tuple[str, Facts] | None:
        """The same with the name of the matching row."""
        for name in _candidates(model, provider):
            facts = self.row(name)
            if facts is not None and ("/" in name or _served_by(facts, provider)):
                return name, facts
        return None

    def row(self, name: str) -> Facts | None:
        """The row of exactly that name."""
        known = self._open.get(name)
        if known is not None:
            return known
        raw = self._shipped().get(name)
        if raw is None:
            return None
        return self._open.setdefault(name, msgspec.json.decode(raw))

    def register(self, name: str, facts: Mapping[str, Any]) -> None:
        """Add or replace facts of a model; facts that are not given are kept."""
        self._open[name] = {**(self.row(name) or {}), **facts}
        self.registrations += 1

    def names(self) -> list[str]:
        return [*dict.fromkeys([*self._open, *self._shipped()])]

    def table(self) -> dict[str, Facts]:
        """All rows as one mutable dictionary: changes to it take effect."""
        for name in self._shipped():
            self.row(name)
        self.handed_out = True
        return self._open

    def _shipped(self) -> dict[str, msgspec.Raw]:
        if self._rows is None:
            rows = msgspec.json.decode(self._source or _shipped(), type=dict[str, msgspec.Raw])
            about = rows.pop("", None)
            self._about = {} if about is None else msgspec.json.decode(about)
            self._rows = rows
        return self._rows


def _shipped() -> bytes:
    from importlib.resources import files  # late: most programs never ask what a model costs

    return files("headrace.models").joinpath("facts.json").read_bytes()


def _candidates(model: str, provider: str) -> Iterator[str]:
    """Names to look a model up by, the most specific first."""
    plain = _tuned(model)
    for name in dict.fromkeys([model, plain, _DATED.sub("", plain)]):
        if provider:
            yield f"{provider}/{name}"
        yield name
        if provider == "bedrock":
            yield re.sub(r"^(us|eu|apac|global|jp|au|us-gov)\.", "", name)


def _tuned(model: str) -> str:
    """A fine-tuned model's base: `ft:gpt-4o-mini-2024-07-18:org::id` costs what `ft:gpt-4o-mini-2024-07-18` costs."""
    return ":".join(model.split(":")[:2]) if model.startswith("ft:") else model


def _served_by(facts: Facts, provider: str) -> bool:
    """Whether a row without a prefix in its name belongs to the provider."""
    house = facts.get("litellm_provider")
    if not provider or house is None or house == provider:
        return True
    return any(house.startswith(other) if other.endswith("-") else house == other for other in FAMILIES.get(provider, ()))


catalogue: Final = Catalogue()
"""The catalogue of this process."""
