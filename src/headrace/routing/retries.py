"""Retry policies by kind of failure and by group, and the retry budget of all calls together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import shape, whole_number
from headrace.errors import ConfigurationError, Kind
from headrace.routing.decide import RetryPolicy

STEMS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "BadRequestError": (Kind.BAD_REQUEST, Kind.UNSUPPORTED_PARAMS, Kind.UNPROCESSABLE, Kind.CONTEXT_WINDOW),
    "AuthenticationError": (Kind.AUTHENTICATION, Kind.PERMISSION, Kind.PAYMENT),
    "TimeoutError": (Kind.TIMEOUT,),
    "RateLimitError": (Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED),
    "ContentPolicyViolationError": (Kind.CONTENT_POLICY,),
    "InternalServerError": (Kind.SERVER,),
    "ServiceUnavailableError": (Kind.OVERLOADED,),
    "BadGatewayError": (Kind.BAD_GATEWAY,),
    "NotFoundError": (Kind.NOT_FOUND,),
}
"""litellm's exception names, and the kinds of failure that each stands for."""


def by_kind(given: Any, ending: str, where: str) -> dict[Kind, int]:
    """Counts by kind of failure. Raises ConfigurationError that names the field.

    given: a mapping or an object with litellm's names (`TimeoutErrorRetries`), or a mapping with headrace's kinds
    (`timeout`).
    """
    fields = given if isinstance(given, Mapping) else _attributes(given, ending, where)
    counts: dict[Kind, int] = {}
    for name, value in fields.items():
        if value is not None:
            counts.update(dict.fromkeys(_kinds(str(name), ending, where), whole_number(f"{where}.{name}", value)))
    return counts


def _attributes(given: Any, ending: str, where: str) -> dict[str, Any]:
    found = {f"{stem}{ending}": getattr(given, f"{stem}{ending}", None) for stem in (*STEMS, "Default")}
    if given is None or isinstance(given, str | int | float | list) or not any(value is not None for value in found.values()):
        raise ConfigurationError(f"{where} must be a mapping like {{'TimeoutError{ending}': 2}}, got {shape(given)}")
    return found


def _kinds(name: str, ending: str, where: str) -> tuple[Kind, ...]:
    stem = name.removesuffix(ending)
    if name != stem and stem in STEMS:
        return STEMS[stem]
    if name == f"Default{ending}":
        named = {kind for kinds in STEMS.values() for kind in kinds}
        return tuple(kind for kind in Kind if kind not in named)
    if name in Kind._value2member_map_:
        return (Kind(name),)
    known = ", ".join(f"{stem}{ending}" for stem in (*STEMS, "Default"))
    raise ConfigurationError(f"{where} has no {name!r}; known: {known}, or a kind of failure such as 'timeout'")


def read_retries(policy: RetryPolicy, general: Any, groups: Any) -> tuple[RetryPolicy, dict[str, RetryPolicy]]:
    """Apply litellm's `retry_policy` and `model_group_retry_policy`.

    Returns the policy of all groups, and those of groups with their own.
    """
    policy = policy if general is None else msgspec.structs.replace(policy, by_kind=by_kind(general, "Retries", "retry_policy"))
    if groups is not None and not isinstance(groups, Mapping):
        raise ConfigurationError(f"model_group_retry_policy must be a mapping from groups to retry policies, got {shape(groups)}")
    own = {}
    for group, given in (groups or {}).items():
        counts = by_kind(given, "Retries", f"model_group_retry_policy[{group!r}]")
        own[group] = msgspec.structs.replace(policy, by_kind={**policy.by_kind, **counts})
    return policy, own


class RetryBudget:
    """Bounds the retries of all calls together, so that retries do not multiply an outage.

    Each call adds a share of an attempt, each retry takes one, and a retry that succeeds is given back: where retries
    help, they are free. The balance is bounded, so that a quiet hour does not pay for a storm.
    """

    __slots__ = ("_left", "most", "share")

    def __init__(self, share: float = 0.08, most: float = 50.0) -> None:
        """share: average number of retries per call. most: bound of the balance, which is also its initial value."""
        self.share = share
        self.most = most
        self._left = most

    def called(self) -> None:
        left = self._left + self.share
        self._left = left if left < self.most else self.most

    def take(self) -> bool:
        """Take one retry from the budget; False if it has none."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def helped(self, retries: int) -> None:
        """Give back the retries of a call that succeeded."""
        self._left = min(self.most, self._left + retries)

    def __repr__(self) -> str:
        return f"<RetryBudget {self._left:.1f} of {self.most:g} left>"
