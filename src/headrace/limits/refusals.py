"""Errors for calls that cannot wait (never fits, budget spent, deadline too close), and the expected wait."""

from __future__ import annotations

import math

from headrace.errors import BadRequestError, BudgetExceededError, Failure, HeadraceError, Kind, NeverFits, QueueFull, QueueTimeout
from headrace.limits.limit import NANO
from headrace.limits.members import Group, Waiting
from headrace.limits.meter import Meter
from headrace.limits.money import LIFETIME
from headrace.limits.scheduler import label, queueing, soonest


def nobody(group: str) -> BadRequestError:
    return BadRequestError(f"no deployment serves {group!r}", group)


def never(group: Group, waiting: Waiting) -> HeadraceError | None:
    """The error for a call that exceeds a limit of every deployment it may use, or of a scope; None if it fits."""
    ordinary = waiting.allowed is None and not waiting.scopes and waiting.ask.charges is None
    if ordinary and group.fits(waiting.ask.charge):
        return None
    if waiting.allowed is not None and not waiting.allowed:
        return nobody(group.name)
    for scope in waiting.scopes:
        blocked = scope.never(scope.costs(waiting.ask.charge))
        if blocked is not None:
            return _never_fits(group.name, *blocked)
    largest: tuple[Meter, float] | None = None
    for member in group.members:
        if waiting.may(member):
            blocked = member.account.never(member.account.costs(waiting.ask.charge_at(member.id)))
            if blocked is None:
                if ordinary:
                    group.found_fitting(waiting.ask.charge)
                return None
            if largest is None or blocked[0].whole > largest[0].whole:
                largest = blocked
    return nobody(group.name) if largest is None else _never_fits(group.name, *largest)


def _never_fits(group: str, meter: Meter, cost: float) -> NeverFits:
    label = meter.limit.label
    message = (
        f"{group}: the call exceeds a whole limit: it needs {cost:.0f} {meter.limit.unit.value}, and "
        f"{label} allows {meter.whole:.0f}. Ask for fewer tokens (max_tokens), or raise {label}"
    )
    return NeverFits.of(Failure(Kind.NEVER_FITS, message, model=group))


def broke(group: Group, waiting: Waiting, now: float, call_cost: float) -> BudgetExceededError | None:
    """The error if a budget is spent for every deployment that the call may use. Calls do not wait for money."""
    spent = _spent(group, waiting, now)
    return None if spent is None else out_of_money(group.name, spent, estimate(group, waiting, now, call_cost)[0])


def _spent(group: Group, waiting: Waiting, now: float) -> Meter | None:
    """The budget that has no money left for the call."""
    for scope in waiting.scopes:
        if scope.has_budget:
            offered = [waiting.ask.charge_at(member.id) for member in group.members if waiting.may(member)]
            spent = scope.spent(scope.costs(min(offered, key=lambda charge: charge.money)), now)
            if spent is not None:
                return spent
    gone = None
    for member in group.members:
        if waiting.may(member):
            gone = member.account.spent(waiting.costs_at(member), now) if member.account.has_budget else None
            if gone is None:
                return None
    return gone


def out_of_money(group: str, meter: Meter, wait: float) -> BudgetExceededError:
    spent, amount = meter.used / NANO, meter.limit.amount / NANO
    message = f"{group}: {meter.limit.label} is spent: ${spent:.6g} of ${amount:.6g}, and this call may cost more than the rest"
    again = wait if meter.limit.window < LIFETIME else None  # without periods there is never room again
    return BudgetExceededError.of(Failure(Kind.BUDGET, message, model=group, retry_after=again))


def no_room(deployment: str, spent: Meter | None, binding: Meter | None, wait: float) -> HeadraceError:
    """The error for a call that a further limit has no room for. spent: the budget that is spent, if that is why."""
    if spent is not None:
        return out_of_money(deployment, spent, wait)
    message = f"{deployment}: no room; {label(binding)} will have some in about {wait:.1f} s"
    return QueueTimeout.of(Failure(Kind.QUEUE_TIMEOUT, message, retry_after=wait))


def line_is_full(group: Group, waiting: Waiting, now: float, call_cost: float) -> QueueFull:
    message = f"{group.name}: {group.line.length} calls are waiting already, the most that max_queue allows"
    return QueueFull.of(Failure(Kind.QUEUE_FULL, message, model=group.name, retry_after=estimate(group, waiting, now, call_cost)[0]))


def hopeless(group: Group, waiting: Waiting, now: float, call_cost: float) -> QueueTimeout | None:
    """The error for a call whose time cannot suffice, unless it fits now."""
    until = waiting.until
    if until == math.inf or (until > now and now + estimate(group, waiting, now, call_cost)[0] <= until + ROUNDING):
        return None
    return too_late(group, waiting, now, call_cost)


ROUNDING = 1e-6
"""Seconds of rounding error in a sum of moments."""


def too_late(group: Group, waiting: Waiting, now: float, call_cost: float) -> QueueTimeout:
    wait, binding = estimate(group, waiting, now, call_cost)
    waited = f" after {now - waiting.since:.1f} s" if now > waiting.since else ""
    message = f"{group.name}: no room{waited}; {binding or 'its deployments'} will have some in about {wait:.1f} s"
    return QueueTimeout.of(Failure(Kind.QUEUE_TIMEOUT, message, model=group.name, retry_after=wait, scope=None))


def estimate(group: Group, waiting: Waiting, now: float, call_cost: float) -> tuple[float, str | None]:
    """Expected seconds until the call is served, and the limit that determines it. Exact if no other call waits."""
    at, binding, member = soonest(group, waiting, now)
    if at == math.inf and member is not None:
        account = member.account
        at = now + account.sizes.duration / max(1, account.in_flight)
    ahead = queueing(group.line, group, waiting.ask, waiting.allowed, call_cost) if group.line.length else 0.0
    return max(at - now, ahead), label(binding)
