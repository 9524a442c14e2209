"""Budgets of providers and tags: scopes that apply without being named.

In litellm, `provider_budget_config` and `tag_budget_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.calls import shape
from headrace.errors import ConfigurationError

_NAMES: Final[Mapping[str, str]] = {
    "max_budget": "max_budget", "budget_limit": "max_budget", "budget_duration": "budget_duration", "time_period": "budget_duration",
    "tpm_limit": "tpm", "rpm_limit": "rpm",
}  # fmt: skip
"""Names of litellm's BudgetConfig fields, mapped to those of a scope's limits."""


def read_budgets(given: Any, where: str) -> dict[str, dict[str, Any]]:
    """Limits by provider or tag, as `Router.add_scope` takes them. Raises ConfigurationError that names the entry and the field."""
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{where} must be a mapping like {{'openai': {{'budget_limit': 100, 'time_period': '1d'}}}}, got {shape(given)}"
        )
    return {str(name): _limits(entry, f"{where}[{name!r}]") for name, entry in given.items()}


def _limits(given: Any, where: str) -> dict[str, Any]:
    dump = getattr(given, "model_dump", None)  # litellm's BudgetConfig
    fields = dump(exclude_none=True) if dump is not None else given
    if not isinstance(fields, Mapping):
        raise ConfigurationError(f"{where} must be a mapping with budget_limit and time_period, got {shape(given)}")
    limits: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name not in _NAMES:
            raise ConfigurationError(f"{where} has no {name!r}; known: {', '.join(_NAMES)}")
        limits[_NAMES[name]] = value
    if not limits:
        raise ConfigurationError(f"{where} has no limits: give it budget_limit, in dollars, and time_period")
    return limits


def scope_of_provider(provider: str) -> str:
    return f"provider {provider}"


def scope_of_tag(tag: str) -> str:
    return f"tag {tag}"
