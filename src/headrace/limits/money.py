"""What a call costs in money, as whole nano-dollars: so that sums are exact."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.limits.limit import DAY, NANO, Limit, Unit, Used

PROMPT_DOUBT: Final = 2.0
"""By how much a prompt may turn out longer than estimated: a budget sets that much aside, and gets the rest back."""
UNITS: Final[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY, "mo": 30 * DAY}
LIFETIME: Final = 36_500 * DAY
"""The window of a budget that is not renewed."""


class Price(Struct, frozen=True):
    """Nano-dollars a token."""

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None
    """A prompt token that was read from the provider's cache; None where it costs like any other."""

    def most(self, input: int, max_output: int) -> int:
        """What a call may cost that is estimated at so many prompt tokens."""
        return math.ceil(input * PROMPT_DOUBT * self.input + max_output * self.output)

    def of(self, used: Used) -> int:
        """What a call did cost."""
        cached = self.input if self.cached is None else self.cached
        return math.ceil((used.input - used.cached) * self.input + used.cached * cached + used.output * self.output)


def price_of(facts: Mapping[str, Any], where: str) -> Price | None:
    """From litellm's names, in dollars a token; None where none is given. Raises ConfigurationError that names the field."""
    names = {"input": "input_cost_per_token", "output": "output_cost_per_token", "cached": "cache_read_input_token_cost"}
    given = {field: facts[name] for field, name in names.items() if facts.get(name) is not None}
    for field, dollars in given.items():
        if isinstance(dollars, bool) or not isinstance(dollars, int | float) or not 0 <= dollars < 1:
            raise ConfigurationError(f"{where}.{names[field]} must be the price of one token in dollars, got {dollars!r}")
    return Price(**{field: dollars * NANO for field, dollars in given.items()}) if given else None


def budget_of(dollars: Any, duration: Any, where: str) -> Limit:
    """At most so many dollars in any such time. Raises ConfigurationError that names the field."""
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
