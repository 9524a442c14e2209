"""Scopes: the user's own limits besides those of deployments, for example of a key, a team, or all callers together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from msgspec import structs

from headrace.calls import shape
from headrace.errors import BadRequestError, ConfigurationError
from headrace.limits import Limit, limits_of
from headrace.limits.money import budget_of


class ScopeLimits(TypedDict, total=False):
    """Limits of a scope."""

    rpm: int | None
    tpm: int | None
    rpd: int | None
    tpd: int | None
    itpm: int | None
    otpm: int | None
    max_parallel_requests: int | None
    windows: Sequence[Mapping[str, Any]]
    """Any others: `{"unit": "requests", "amount": 10, "window": 1}`, in seconds."""
    max_budget: float | None
    """Dollars per `budget_duration`."""
    budget_duration: str | None
    """`30m`, `24h`, `7d`, `1mo`; without one the budget never resets."""


def limits_of_scope(name: str, given: Mapping[str, Any]) -> list[Limit]:
    """The limits, named `scope:limit` so that a waiting caller sees whose limit it is.

    Raises ConfigurationError that names both.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"a scope's name must be a non-empty string, got {shape(name)}")
    where, named = f"scope {name!r}", {limit: value for limit, value in given.items() if value is not None}
    dollars, duration = named.pop("max_budget", None), named.pop("budget_duration", None)
    try:
        found = limits_of(**named)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    if dollars is not None:
        found = (*found, budget_of(dollars, duration, where))
    if not found:
        raise ConfigurationError(f"{where} has no limits: give it rpm, tpm, max_parallel_requests, max_budget or windows")
    return [structs.replace(limit, name=f"{name}:{limit.label}") for limit in found]


def scope_names(value: Any) -> tuple[str, ...]:
    """The scopes that a call names, without duplicates, in order."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise BadRequestError(f"scopes must be a list of names given to add_scope, got {shape(value)}")
    return tuple(dict.fromkeys(value))


def unpriced(group: str, models: Iterable[str]) -> ConfigurationError:
    return ConfigurationError(
        f"{group}: a budget applies to this call, and no price is known for {', '.join(sorted(models))}: give input_cost_per_token and "
        "output_cost_per_token in litellm_params (0 if it is free), or its base_model"
    )
