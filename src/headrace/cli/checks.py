"""What is wrong with a configuration, or legal but foolish: pure checks over its deployments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from headrace.calls import whole_number
from headrace.routing.asking import DEFAULT_MAX_OUTPUT
from headrace.routing.plan import LIMIT_NAMES, Deployment

Level = Literal["ok", "warning", "broken"]

SMALLEST_PROMPT: Final = 16
"""Tokens that even a very short prompt costs."""

TOKEN_LIMITS: Final = ("tpm", "tpd", "otpm")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know. `broken` findings make calls fail; warnings make them slow or refused."""

    level: Level
    where: str
    what: str


def limits_given(deployment: Deployment) -> dict[str, int]:
    """A deployment's limits by the names they were configured under."""
    params: Mapping[str, Any] = deployment.given.get("litellm_params") or {}
    found = {name: params.get(name) if params.get(name) is not None else deployment.given.get(name) for name in LIMIT_NAMES}
    return {name: whole_number(name, value) for name, value in found.items() if value is not None}


def check_limits(deployment: Deployment, where: str) -> list[Finding]:
    """Limits that are missing, or smaller than one request."""
    limits = limits_given(deployment)
    return [*_unlimited(limits, where), *_too_small(deployment, limits, where)]


def _unlimited(limits: Mapping[str, int], where: str) -> list[Finding]:
    requests = "rpm" in limits or "rpd" in limits
    tokens = any(name in limits for name in ("tpm", "tpd", "itpm", "otpm"))
    if requests and tokens:
        return []
    if "max_parallel_requests" in limits and not requests and not tokens:
        return []
    missing = "rpm and tpm" if not requests and not tokens else "tpm" if requests else "rpm"
    return [Finding("warning", where, f"no {missing}: headrace cannot keep a limit it is not told, so the provider's 429s will be felt")]


def _too_small(deployment: Deployment, limits: Mapping[str, int], where: str) -> list[Finding]:
    findings = []
    given = deployment.defaults.get("max_completion_tokens") or deployment.defaults.get("max_tokens")
    answer = given if isinstance(given, int) else DEFAULT_MAX_OUTPUT
    for name in TOKEN_LIMITS:
        limit = limits.get(name)
        need = answer + (0 if name == "otpm" else SMALLEST_PROMPT)
        if limit is None or limit >= need:
            continue
        if given is not None or limit < 2 * SMALLEST_PROMPT:
            findings.append(Finding("broken", where, f"{name} {limit} is smaller than one request ({need} tokens): no call can ever go"))
        else:
            findings.append(
                Finding(
                    "warning",
                    where,
                    f"{name} {limit} is smaller than a call without max_tokens ({need} tokens): such calls never fit; set max_tokens",
                )
            )
    return findings


def check_accounts(accounts: Iterable[tuple[str, str, Deployment]]) -> list[Finding]:
    """Deployments that draw on one quota without saying so. `accounts`: where, the quota's identity, the deployment."""
    sharing: defaultdict[str, list[str]] = defaultdict(list)
    for where, account, deployment in accounts:
        if deployment.quota_group is None:
            sharing[account].append(where)
    return [
        Finding(
            "warning",
            " + ".join(group),
            "same key, address and model: they share one quota; say so with the same quota_group, or give each its own key",
        )
        for group in sharing.values()
        if len(group) > 1
    ]
