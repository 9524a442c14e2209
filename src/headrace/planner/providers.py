"""Simulated accounts that enforce their limits as their providers do, as strictly as is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.limits import Limit, Profile, Unit
from headrace.planner.config import Place
from headrace.simulator.enforce import Admitted, Enforcer, Gauge, Rule
from headrace.simulator.enforce import Unit as Counted

LONG: Final = 3600.0
"""Window in seconds from which on a limit counts fixed windows, as daily limits do."""


class Account:
    """One quota at its provider."""

    __slots__ = ("_gauges", "_weight", "enforcer", "limits", "name", "places")

    def __init__(self, name: str, places: Sequence[Place]) -> None:
        profile = places[0].profile
        self.name = name
        self.places = tuple(place.name for place in places)
        self.limits = _lowest([limit for place in places for limit in place.limits])
        parallel = [limit.amount for limit in self.limits if limit.unit is Unit.IN_FLIGHT]
        counted = [limit for limit in self.limits if limit.window]
        rules = [_rule(limit, profile) for limit in counted]
        self.enforcer = Enforcer(
            [*rules, *_shorter(self.limits, profile)],
            accounting=profile.accounting,
            estimate=profile.estimate,
            concurrency=parallel[0] if parallel else None,
            count_failed=profile.count_failed,
        )
        self._gauges = dict(zip(counted, self.enforcer.gauges, strict=False))
        self._weight = profile.output_weight

    @property
    def label(self) -> str:
        return " + ".join(self.places)

    @property
    def gauges(self) -> list[Gauge]:
        """One gauge for each limit, except the one on calls in flight."""
        return list(self._gauges.values())

    def gauge(self, limit: Limit) -> Gauge:
        return self._gauges[limit]

    def end(self, now: float, admitted: Admitted, output: int) -> None:
        """The response has been written."""
        written = output if self._weight == 1 else round(output * self._weight)
        self.enforcer.produce(now, admitted, written)
        self.enforcer.end(now, admitted)


def accounts_of(places: Sequence[Place]) -> dict[str, Account]:
    """Accounts by deployment; deployments with the same account name share one."""
    shared: dict[str, list[Place]] = {}
    for place in places:
        shared.setdefault(place.account, []).append(place)
    accounts = {name: Account(name, members) for name, members in shared.items()}
    return {place.name: accounts[place.account] for place in places}


def _lowest(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """The lowest of the limits on the same unit and window, as in the limiter."""
    found: dict[tuple[Unit, float], Limit] = {}
    for limit in [limit for limit in limits if limit.unit is not Unit.MONEY]:  # jobs have no price
        known = found.get((limit.unit, limit.window))
        if known is None or limit.amount < known.amount:
            found[limit.unit, limit.window] = limit
    return tuple(found.values())


def _rule(limit: Limit, profile: Profile) -> Rule:
    unit = _counted(limit.unit, profile)
    burst = profile.request_burst if limit.unit is Unit.REQUESTS else profile.token_burst
    if burst is not None and limit.window == 60.0 and limit.unit is not Unit.OUTPUT:
        return Rule(unit, limit.amount, 60.0, "bucket", burst)
    return Rule(unit, limit.amount, limit.window, "fixed" if limit.window >= LONG else "sliding")


def _shorter(limits: Sequence[Limit], profile: Profile) -> list[Rule]:
    """Limits on requests per minute, enforced over the provider's shorter windows as well."""
    minute = [limit.amount for limit in limits if limit.unit is Unit.REQUESTS and limit.window == 60.0]
    return [
        Rule("requests", max(1, amount * window // 60), window, "sliding")
        for amount in minute
        for window in profile.windows
        if amount * window >= 60
    ]


def _counted(unit: Unit, profile: Profile) -> Counted:
    """The unit that the provider counts under one of our limits."""
    if unit is Unit.TOKENS and not profile.output_counts:
        return "input_tokens"
    return {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens", Unit.INPUT: "input_tokens", Unit.OUTPUT: "output_tokens"}[unit]  # type: ignore[return-value]
