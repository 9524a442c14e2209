"""Costs as whole nano-dollars, so that sums are exact."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from headrace.errors import ConfigurationError
from headrace.limits.limit import DAY, NANO, Limit, Unit
from headrace.models.cost import Rates, is_price, rates_of

PROMPT_DOUBT: Final = 2.0
"""Factor by which a prompt may be longer than estimated: a budget reserves that much, and gets the rest back."""
UNITS: Final[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY, "mo": 30 * DAY}
LIFETIME: Final = 36_500 * DAY
"""The window of a budget without a duration, in seconds."""


def price_of(facts: Mapping[str, Any], where: str) -> Rates | None:
    """Prices from litellm's fields, in dollars a token; None if none are given.

    Raises ConfigurationError that names the field.
    """
    for field, dollars in facts.items():
        if is_price(field) and dollars is not None and not isinstance(dollars, Mapping):
            if isinstance(dollars, bool) or not isinstance(dollars, int | float) or not 0 <= dollars < 1000:
                raise ConfigurationError(f"{where}.{field} must be a price in dollars, got {dollars!r}")
            if field.endswith(("_per_token", "_token_cost")) and dollars >= 1:
                raise ConfigurationError(f"{where}.{field} must be the price of one token in dollars, got {dollars!r}")
    return rates_of(facts)


def budget_of(dollars: Any, duration: Any, where: str) -> Limit:
    """A limit of so many dollars per duration. Raises ConfigurationError that names the field."""
    if isinstance(dollars, bool) or not isinstance(dollars, int | float) or not 0 < dollars < math.inf:
        raise ConfigurationError(f"{where}.max_budget must be a number of dollars above 0, got {dollars!r}")
    return Limit(Unit.MONEY, max(1, round(dollars * NANO)), _seconds(duration, where), "max_budget")


def _seconds(duration: Any, where: str) -> float:
    if duration is None:
        return LIFETIME
    found = re.fullmatch(r"(\d+)(s|m|h|d|w|mo)", duration) if isinstance(duration, str) else None
    if found is None or int(found[1]) == 0:
        raise ConfigurationError(f"{where}.budget_duration must be like '30m', '24h', '30d' or '1mo', got {duration!r}")
    return int(found[1]) * UNITS[found[2]]
