"""Limits, and what one call takes of them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from headrace.errors import ConfigurationError


class Unit(enum.Enum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT = "input"
    OUTPUT = "output"
    IN_FLIGHT = "in_flight"
    MONEY = "money"
    """Nano-dollars."""


class Limit(Struct, frozen=True):
    """At most `amount` of a unit in any `window` seconds; at once if the window is 0."""

    unit: Unit
    amount: int
    window: float = 60.0
    """Seconds; 0 for calls in flight."""
    name: str = ""
    """The user's name for it: rpm, tpm, …"""

    def __post_init__(self) -> None:
        label = self.name or self.unit.value
        if isinstance(self.amount, bool) or not isinstance(self.amount, int) or self.amount < 1:
            raise ConfigurationError(f"{label}: the amount must be a whole number of at least 1, got {self.amount!r}")
        if self.unit is Unit.IN_FLIGHT and self.window != 0:
            raise ConfigurationError(f"{label}: calls in flight have no window, so it must be 0, got {self.window!r}")
        if self.unit is not Unit.IN_FLIGHT and not 0 < self.window < float("inf"):
            raise ConfigurationError(f"{label}: the window must be a positive number of seconds, got {self.window!r}")

    @property
    def label(self) -> str:
        """Its name, else its unit and window: `requests/10s`."""
        return self.name or f"{self.unit.value}/{self.window:g}s"


class Charge(Struct, frozen=True, gc=False):
    """The most that one call can cost, known before it is sent. Tokens; money in nano-dollars."""

    input: int = 0
    max_output: int = 0
    stated: bool = True
    """Whether the caller gave `max_output`. Otherwise it is a guess, and the provider counts only what was written."""
    expected_output: float | None = None
    """Expected output tokens; None to use the learned average."""
    cached: int = 0
    requests: int = 1
    money: int = 0
    money_expected: int = 0

    def __post_init__(self) -> None:
        if self.input < self.cached or self.cached < 0 or self.max_output < 0 or self.requests < 0 or self.money < 0:
            raise ConfigurationError(f"a charge cannot be negative, nor have more cached than input tokens: {self!r}")


class Used(Struct, frozen=True, gc=False):
    """What a call really cost, as the provider reported it."""

    input: int = 0
    output: int = 0
    cached: int = 0
    """The part of `input` that was read from the provider's cache."""
    money: int = 0


DAY: Final = 86_400.0
NANO: Final = 1_000_000_000
"""Nano-dollars in a dollar."""

NAMES: Final[Mapping[str, tuple[Unit, float]]] = {
    "rpm": (Unit.REQUESTS, 60.0),
    "tpm": (Unit.TOKENS, 60.0),
    "itpm": (Unit.INPUT, 60.0),
    "otpm": (Unit.OUTPUT, 60.0),
    "rpd": (Unit.REQUESTS, DAY),
    "tpd": (Unit.TOKENS, DAY),
    "max_parallel_requests": (Unit.IN_FLIGHT, 0.0),
}
"""Limits that have names of their own."""


def limits_of(*, windows: Iterable[Mapping[str, Any]] = (), **named: Any) -> tuple[Limit, ...]:
    """Limits by name (`rpm=600`), and any others as `{"unit": "requests", "amount": 10, "window": 1}`.

    Raises ConfigurationError that names the limit.
    """
    limits = [_limit(name, amount) for name, amount in named.items() if amount is not None]
    return (*limits, *(_window(f"windows[{number}]", window) for number, window in enumerate(windows)))


def _limit(name: str, amount: Any) -> Limit:
    if name not in NAMES:
        raise ConfigurationError(f"{name!r} is not a named limit; known: {', '.join(NAMES)}. Any other goes into windows")
    unit, window = NAMES[name]
    return Limit(unit, _amount(name, amount), window, name)


def _amount(name: str, amount: Any) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, got {type(amount).__name__} {amount!r}")
    return amount


def _window(where: str, window: Mapping[str, Any]) -> Limit:
    if not isinstance(window, Mapping) or not {"unit", "amount", "window"} <= window.keys():
        raise ConfigurationError(f"{where} must be a mapping with unit, amount and window (seconds)")
    known = {unit.value: unit for unit in Unit}
    if window["unit"] not in known:
        raise ConfigurationError(f"{where}.unit must be one of {', '.join(known)}, got {window['unit']!r}")
    seconds = window["window"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{where}.window must be a positive number of seconds, got {seconds!r}")
    if known[window["unit"]] is Unit.IN_FLIGHT:
        raise ConfigurationError(f"{where}.unit: calls in flight have no window; use max_parallel_requests instead")
    return Limit(known[window["unit"]], _amount(f"{where}.amount", window["amount"]), float(seconds), str(window.get("name") or ""))
