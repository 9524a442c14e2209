"""Why a call cannot wait: it never fits, its money is spent, its time cannot suffice. And how long it would take."""

from __future__ import annotations

import math

from headrace.errors import BadRequestError, BudgetExceededError, Failure, HeadraceError, Kind, NeverFits, QueueFull, QueueTimeout
from headrace.limits.limit import NANO
from headrace.limits.members import Group, Waiting
from headrace.limits.meter import Meter
from headrace.limits.scheduler import label, queueing, soonest


def nobody(group: str) -> BadRequestError:
    return BadRequestError(f"no deployment serves {group!r}", group)


def never(group: Group, waiting: Waiting) -> HeadraceError | None:
    """What a call is told that is larger than a limit of every deployment it may go to, or of a scope."""
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
        f"{group}: the call is larger than a whole limit: it needs {cost:.0f} {meter.limit.unit.value}, and "
        f"{label} allows {meter.whole:.0f}. Ask for fewer tokens (max_tokens), or raise {label}"
    )
    return NeverFits.of(Failure(Kind.NEVER_FITS, message, model=group))


def broke(group: Group, waiting: Waiting, now: float, call_cost: float) -> BudgetExceededError | None:
    """Nobody waits for money: a budget that is spent, for every deployment it may go to, is an end and not a queue."""
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
    message = f"{group}: {meter.limit.label} is spent: ${spent:.6g} of ${amount:.6g}, and the most this call can cost is more than the rest"
    return BudgetExceededError.of(Failure(Kind.BUDGET, message, model=group, retry_after=wait))


def no_room(deployment: str, spent: Meter | None, binding: Meter | None, wait: float) -> HeadraceError:
    """What a call is told that one more limit has no room for. spent: the budget without money, if that is why."""
    if spent is not None:
        return out_of_money(deployment, spent, wait)
    message = f"{deployment}: no room; {label(binding)} will have some in about {wait:.1f} s"
    return QueueTimeout.of(Failure(Kind.QUEUE_TIMEOUT, message, retry_after=wait))


def line_is_full(group: Group, waiting: Waiting, now: float, call_cost: float) -> QueueFull:
    message = f"{group.name}: {group.line.length} calls wait already, no more are taken (max_queue)"
    return QueueFull.of(Failure(Kind.QUEUE_FULL, message, model=group.name, retry_after=estimate(group, waiting, now, call_cost)[0]))


def hopeless(group: Group, waiting: Waiting, now: float, call_cost: float) -> QueueTimeout | None:
    """What a call is told whose time cannot suffice, unless there is room for it now."""
    until = waiting.until
    if until == math.inf or (until > now and now + estimate(group, waiting, now, call_cost)[0] <= until + ROUNDING):
        return None
    return too_late(group, waiting, now, call_cost)


ROUNDING = 1e-6
"""Seconds by which a sum of moments may be off."""


def too_late(group: Group, waiting: Waiting, now: float, call_cost: float) -> QueueTimeout:
    wait, binding = estimate(group, waiting, now, call_cost)
    waited = f" after {now - waiting.since:.1f} s" if now > waiting.since else ""
    message = f"{group.name}: no room{waited}; {binding or 'its deployments'} will have some in about {wait:.1f} s"
    return QueueTimeout.of(Failure(Kind.QUEUE_TIMEOUT, message, model=group.name, retry_after=wait, scope=None))


def estimate(group: Group, waiting: Waiting, now: float, call_cost: float) -> tuple[float, str | None]:
    """Seconds until the call is served: exact when nobody waits, else what those before it probably take."""
    at, binding, member = soonest(group, waiting, now)
    if at == math.inf and member is not None:
        account = member.account
        at = now + account.sizes.duration / max(1, account.in_flight)
    ahead = queueing(group.line, group, waiting.ask, waiting.allowed, call_cost) if group.line.length else 0.0
    return max(at - now, ahead), label(binding)
