"""The cost of a call in nano-dollars, from model name and usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.models.cost import NANO, Bill, Rates, bill_of, fields_of, rates_of
from headrace.models.facts import catalogue

_KEPT: dict[tuple[str, str, str], tuple[int, Rates | None]] = {}
_MOST_KEPT: Final = 4096


def rates_for(model: str, provider: str = "", tier: str = "") -> Rates | None:
    """Prices of a provider's model; None if unknown."""
    if catalogue.handed_out:
        return _read(model, provider, tier)
    kept = _KEPT.get((model, provider, tier))
    if kept is not None and kept[0] == catalogue.registrations:
        return kept[1]
    rates = _read(model, provider, tier)
    if len(_KEPT) < _MOST_KEPT:
        _KEPT[model, provider, tier] = catalogue.registrations, rates
    return rates


def _read(model: str, provider: str, tier: str) -> Rates | None:
    facts = catalogue.find(model, provider)
    return None if facts is None else rates_of(facts, tier)


class Beside(dict[str, Any]):
    """What is known of a call besides its response (`_hidden_params`). `response_cost`, in dollars, is computed on access."""

    __slots__ = ("_bill", "_billed", "_priced", "pieces", "rates", "tier", "usage")

    def __init__(self, known: Mapping[str, Any]) -> None:
        dict.__init__(self, known)  # `super()` would take a third of the time of this method
        self.usage: Any = None
        """Usage in OpenAI's form, once known."""
        self.pieces: Bill | None = None
        """What was used by a response that counts no tokens."""
        self.tier: str | None = None
        """The service tier that the response reports."""
        self.rates: Rates | None = None
        """Prices that take precedence over the catalogue's: those of a deployment."""
        self._bill: Bill | None = None
        self._billed: Any = None
        self._priced: tuple[Bill, Rates, int] | None = None

    def __missing__(self, name: str) -> Any:
        if name != "response_cost":
            raise KeyError(name)
        return self.response_cost()

    def get(self, name: str, default: Any = None) -> Any:
        return self.response_cost() if name == "response_cost" and name not in self else super().get(name, default)

    def bill(self) -> Bill | None:
        """What was used, by class; None until known. Computed once."""
        if self.usage is None:
            return self.pieces
        if self.usage is not self._billed:
            self._billed, self._bill = self.usage, bill_of(self.usage)
        return self._bill

    def cost(self) -> int | None:
        """Nano-dollars; None if prices or usage are unknown. Computed once for the same prices."""
        priced = self._priced
        if priced is not None and self.usage is not None and self.usage is self._billed and priced[1] is self.rates:
            return priced[2]
        bill = self.bill()
        if bill is None:
            return None
        rates = self.rates or rates_said(self.usage, self["model"], self["custom_llm_provider"], self.tier)
        if rates is None:
            return None
        if priced is None or priced[0] is not bill or priced[1] is not rates:
            priced = self._priced = (bill, rates, rates.of(bill))
        return priced[2]

    def response_cost(self) -> float | None:
        """The cost in dollars."""
        nano = self.cost()
        return None if nano is None else nano / NANO


def rates_said(usage: Any, model: str, provider: str, tier: str | None) -> Rates | None:
    """The catalogue's prices of a model at the service tier that its response reports.

    Anthropic reports the tier inside the usage.
    """
    if not tier:
        usage = fields_of(usage)
        tier = usage.get("service_tier") or usage.get("speed")
    return rates_for(model, provider, tier if isinstance(tier, str) else "")


def cost_of(usage: Any, model: str, provider: str = "", tier: str | None = None, rates: Rates | None = None) -> int | None:
    """Nano-dollars for usage in OpenAI's form; None if the model's prices are unknown.

    tier: the service tier that the response reports; Anthropic reports it inside the usage. rates: prices that take
    precedence, such as a deployment's own.
    """
    rates = rates or rates_said(usage, model, provider, tier)
    return None if rates is None else rates.of(bill_of(usage))
