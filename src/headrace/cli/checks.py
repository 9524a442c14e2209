"""Pure checks of a configuration's deployments: errors, and legal but unwise settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from headrace.calls import most_output, whole_number
from headrace.limits import Charge, Place
from headrace.limits.meter import Meter
from headrace.routing.asking import DEFAULT_MAX_OUTPUT
from headrace.routing.fleet import accounting_of
from headrace.routing.plan import LIMIT_NAMES, Deployment

Level = Literal["ok", "warning", "broken"]

SMALLEST_PROMPT: Final = 16
"""Input tokens of even a very short prompt."""

SMALLEST_ANSWER: Final = 16
"""Output tokens of a very short response."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `broken` means that calls fail, a warning that they may be slow or refused."""

    level: Level
    where: str
    what: str


def limits_given(deployment: Deployment) -> dict[str, int]:
    """A deployment's limits by the names under which they were configured."""
    params: Mapping[str, Any] = deployment.given.get("litellm_params") or {}
    found = {name: params.get(name) if params.get(name) is not None else deployment.given.get(name) for name in LIMIT_NAMES}
    return {name: whole_number(name, value) for name, value in found.items() if value is not None}


def check_limits(deployment: Deployment, profile: str, where: str) -> list[Finding]:
    """Limits that are missing, or smaller than one request as its provider counts it. `profile`: that of its provider."""
    return [*_unlimited(limits_given(deployment), where), *_too_small(deployment, profile, where)]


def _unlimited(limits: Mapping[str, int], where: str) -> list[Finding]:
    requests = "rpm" in limits or "rpd" in limits
    tokens = any(name in limits for name in ("tpm", "tpd", "itpm", "otpm"))
    if requests and tokens:
        return []
    if "max_parallel_requests" in limits and not requests and not tokens:
        return []
    missing = "rpm and tpm" if not requests and not tokens else "tpm" if requests else "rpm"
    return [Finding("warning", where, f"no {missing}: headrace cannot keep a limit that it does not know, so calls may get 429s")]


def _too_small(deployment: Deployment, profile: str, where: str) -> list[Finding]:
    own = most_output(deployment.defaults)
    place = Place(deployment.id, (), deployment.limits, accounting_of(deployment, profile))
    smallest = place.never(Charge(input=SMALLEST_PROMPT, max_output=own or SMALLEST_ANSWER))
    if smallest is not None:
        return [Finding("broken", where, f"{_limit(*smallest)} is smaller than one request ({smallest[1]:.0f}): no call can ever be sent")]
    usual = place.never(Charge(input=SMALLEST_PROMPT, max_output=own or DEFAULT_MAX_OUTPUT))
    if usual is None:
        return []
    what = f"{_limit(*usual)} is smaller than a call without max_tokens ({usual[1]:.0f}): such calls never fit; set max_tokens"
    return [Finding("warning", where, what)]


def _limit(meter: Meter, cost: float) -> str:
    """The limit's name and amount, and its bucket's capacity if that is too small for `cost`."""
    limit = meter.limit
    if meter.capacity < limit.amount and cost <= limit.amount:
        return f"{limit.label} {limit.amount}, of which {meter.capacity:g} can be used at once,"
    return f"{limit.label} {limit.amount}"


def check_accounts(accounts: Iterable[tuple[str, str, Deployment]]) -> list[Finding]:
    """Deployments that share a quota without declaring it. `accounts`: name, quota identity, deployment."""
    sharing: defaultdict[str, list[str]] = defaultdict(list)
    for where, account, deployment in accounts:
        if deployment.quota_group is None:
            sharing[account].append(where)
    return [
        Finding(
            "warning",
            " + ".join(group),
            "same key, address and model: they share one quota; give them the same quota_group, or each its own key",
        )
        for group in sharing.values()
        if len(group) > 1
    ]
