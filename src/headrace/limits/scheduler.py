"""Who goes where, and when: waiting calls matched with deployments that have room. No lock, no waiting, no clock in here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import mul
from typing import Final, TypeAlias

from msgspec import Struct

from headrace.limits.account import SHARPNESS, Account, Costs
from headrace.limits.learn import Learner, LearnSettings
from headrace.limits.limit import Charge, Unit
from headrace.limits.meter import Meter
from headrace.limits.queue import FairQueue, P, Place, Priority

NEGLIGIBLE: Final = 1e-6
"""A price this low is none: what one call in a thousand costs of a limit that is half used."""
ALIKE: Final = 0.01
"""Share by which prices may differ and still count as equal, so that preferences decide."""


class Ask(Struct, frozen=True):
    """A call that wants to be sent."""

    group: str
    charge: Charge
    tenant: str = ""
    weight: float = 1.0
    priority: int = Priority.NORMAL
    deadline: float | None = None
    """Clock seconds by which it must have started."""
    max_wait: float | None = None
    """Seconds it may wait; 0 to fail at once."""
    avoid: frozenset[str] = frozenset()
    """Deployments it goes to only when there is no other."""
    only: frozenset[str] | None = None
    """Deployments it may go to; None for all of the group."""
    scopes: tuple[str, ...] = ()
    """Limits of our own that apply as well."""
    again: bool = False
    """Whether it waited once already and was sent in vain: then it goes to the front of its tenant's line."""
    prefer: Callable[[str], float] | None = None
    """Cost of a deployment for this call, lower is better; decides while limits leave a choice."""
    charges: Mapping[str, Charge] | None = None
    """Deployments where the call costs something else than `charge`."""
    call: int = 0
    attempt: int = 1
    """By which whoever listens knows it."""

    def charge_at(self, deployment: str) -> Charge:
        return self.charge if self.charges is None else self.charges.get(deployment, self.charge)


class Candidate(Struct, frozen=True):
    """A deployment that was looked at and not taken."""

    deployment: str
    wait: float
    """Seconds until the call would have fitted; 0 when it did, and another was better; inf when a call had to end first."""
    binding: str | None
    """The limit that stood in the way."""


class Ledger:
    """An account, what it learns, and the groups that wait for its room."""

    __slots__ = ("account", "groups", "learner")

    def __init__(self, account: Account, settings: LearnSettings) -> None:
        self.account = account
        self.learner = Learner(account, settings)
        self.groups: dict[str, Group] = {}


class Member:
    """One deployment as the scheduler sees it."""

    __slots__ = ("account", "groups", "id", "ledger", "passed", "paused_until")

    def __init__(self, id: str, ledger: Ledger, groups: Sequence[str]) -> None:
        self.id = id
        self.ledger = ledger
        self.account = ledger.account
        self.groups = tuple(groups)
        self.paused_until = -math.inf
        self.passed = Candidate(id, 0.0, None)
        """What is said of it when it had room, and another was better."""

    def open_at(self, now: float, urgent: bool = False) -> float:
        at = self.account.open_at(now, urgent)
        return at if at > self.paused_until else self.paused_until


Scopes: TypeAlias = Sequence[Account]


class Waiting(Place, eq=False, kw_only=True):
    """A call in the line."""

    ask: Ask
    scopes: tuple[Account, ...]
    allowed: frozenset[str] | None
    """Where it may go; None for anywhere."""
    costs: dict[Account, Costs] | None = None
    """Reckoned when it comes into view."""

    @property
    def urgent(self) -> bool:
        return self.priority <= Priority.INTERACTIVE

    def may(self, member: Member) -> bool:
        return self.allowed is None or member.id in self.allowed

    def costs_at(self, member: Member) -> Costs:
        account = member.account
        if self.costs is None or self.ask.charges is not None:
            self.costs = {}
        found = self.costs.get(account)
        if found is None or len(found[1]) != len(account.meters):
            found = self.costs[account] = account.costs(self.ask.charge_at(member.id))
        return found


class Group:
    """The deployments that serve one model name."""

    __slots__ = ("members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: list[Member] = []

    def allowed(self, ask: Ask) -> frozenset[str] | None:
        """The deployments a call may go to: those of `only`, without those to avoid unless none would be left."""
        if ask.only is None and not ask.avoid:
            return None
        ids = [member.id for member in self.members if ask.only is None or member.id in ask.only]
        return frozenset([id for id in ids if id not in ask.avoid] or ids)


# ---- when


def earliest(member: Member, costs: Costs, ask: Ask, scopes: Scopes, now: float) -> tuple[float, Meter | None]:
    """The moment at which a call fits into everything that applies, and the limit that decides it."""
    urgent = ask.priority <= Priority.INTERACTIVE
    at, binding = member.account.when(costs, now, urgent)
    if member.paused_until > at:
        at, binding = member.paused_until, None
    for scope in scopes:
        opens, meter = scope.when(scope.costs(ask.charge_at(member.id)), now, urgent)
        if opens > at:
            at, binding = opens, meter
    return at, binding


def soonest(group: Group, waiting: Waiting, now: float) -> tuple[float, Meter | None, Member | None]:
    """Where and when a call fits first; inf when a running call must end before anybody can say."""
    best: tuple[float, Meter | None, Member | None] = (math.inf, None, None)
    for member in group.members:
        if waiting.may(member):
            at, binding = earliest(member, waiting.costs_at(member), waiting.ask, waiting.scopes, now)
            if at < best[0] or best[2] is None:
                best = (at, binding, member)
    return best


def shut_until(group: Group, waiting: Waiting, now: float) -> float:
    """The moment before which a call cannot go whatever room the deployments of others have: of its scopes, and of its own deployments."""
    at, urgent = now, waiting.urgent
    if waiting.allowed is not None:
        at = min((member.open_at(now, urgent) for member in group.members if waiting.may(member)), default=math.inf)
    if waiting.scopes:
        charges = waiting.ask.charges
        offered = (waiting.ask.charge,) if charges is None else [waiting.ask.charge_at(member.id) for member in group.members]
        at = max(at, min(max(scope.when(scope.costs(charge), now, urgent)[0] for scope in waiting.scopes) for charge in offered))
    return at


def label(meter: Meter | None) -> str | None:
    """What the user calls a limit."""
    return None if meter is None else meter.limit.label


# ---- what it is worth


def prices(account: Account, now: float) -> tuple[float, ...]:
    """The shadow price of one unit of each limit: nothing while the limit is slack, steep as it fills."""
    return tuple([min(1.0, meter.share(now)) ** SHARPNESS / meter.room for meter in account.meters])


def score(prices: Sequence[float], costs: Costs) -> float:
    """What a call costs at these prices, in shares of a full limit."""
    total: float = sum(map(mul, prices, costs[1]))
    return total


def headroom(member: Member, now: float) -> tuple[float, int]:
    """How full a deployment is: by its fullest limit in steps coarse enough for ties, then by calls in flight."""
    account = member.account
    return max([round(meter.share(now), 2) for meter in account.meters], default=0.0), account.in_flight


# ---- who


class Match(Struct):
    """A call and the deployment it goes to."""

    position: int
    member: Member
    regret: float


def pick(
    ahead: Sequence[Waiting],
    group: Group,
    open_now: Sequence[Member],
    priced: Mapping[Member, Sequence[float]],
    now: float,
    *,
    behind: float,
    most_bypassed: int,
) -> Match | None:
    """The pair that loses least: large calls go where tokens are to spare, small ones where requests are.

    A pair's loss is what the deployment costs above the cheapest for that call, and `behind` for each one it passes. A first
    one that was passed too often has the deployment that opens to it first for itself.
    """
    best: Match | None = None
    kept = _kept(ahead[0], group, now) if ahead and ahead[0].bypassed >= most_bypassed else None
    for position, waiting in enumerate(ahead):
        if best is not None and behind * position >= best.regret:
            break
        scores = {member: score(priced[member], waiting.costs_at(member)) for member in group.members if waiting.may(member)}
        least = min(scores.values(), default=0.0) + NEGLIGIBLE
        for member in open_now:
            if member not in scores or (position and member is kept):
                continue
            regret = (scores[member] + NEGLIGIBLE - least) / least + behind * position
            if (best is None or regret < best.regret) and fits(member, waiting, now):
                best = Match(position, member, regret)
    if best is not None and len(open_now) > 1:
        best.member = _among_equals(best, ahead[best.position], open_now, priced, now, kept)
    return best


def _kept(first: Waiting, group: Group, now: float) -> Member | None:
    """The deployment that is left to one who was passed too often. Not for hours: a day's limit would stand still with room for others."""
    at, _, member = soonest(group, first, now)
    return member if at - now <= KEPT_FOR else None


def fits(member: Member, waiting: Waiting, now: float) -> bool:
    return earliest(member, waiting.costs_at(member), waiting.ask, waiting.scopes, now)[0] <= now


def _among_equals(
    best: Match, waiting: Waiting, open_now: Sequence[Member], priced: Mapping[Member, Sequence[float]], now: float, kept: Member | None
) -> Member:
    """Of the deployments that cost a call the same, the preferred one, else the one with most room left."""
    price = score(priced[best.member], waiting.costs_at(best.member)) * (1 + ALIKE) + NEGLIGIBLE
    equal = [
        member
        for member in open_now
        if member is best.member
        or (
            waiting.may(member)
            and (best.position == 0 or member is not kept)
            and score(priced[member], waiting.costs_at(member)) <= price
            and fits(member, waiting, now)
        )
    ]
    if len(equal) == 1:
        return best.member
    prefer = waiting.ask.prefer
    return min(equal, key=lambda member: headroom(member, now)) if prefer is None else min(equal, key=lambda member: prefer(member.id))


# ---- how long


KEPT_FOR: Final = 90.0
"""Seconds for which a deployment may be kept free for one call: every window of a minute has passed by then."""
LOOK_AGAIN: Final = 0.05
"""Seconds until the line is looked at again when all of it seems to fit and yet waits."""


def next_opening(ahead: Sequence[Waiting], group: Group, now: float) -> tuple[float, Meter | None]:
    """The next moment at which one of those ahead may fit somewhere, and the limit that the first one waits for.

    A deployment that lets nobody pass is asked once, not for each of them. Those who fit already and yet were not served are passed
    over: they wait for the first one's deployment, or were passed too often, and looking again at once would find them as they are.
    """
    first, binding, _ = soonest(group, ahead[0], now)
    openings = [first]
    for member in group.members:
        opens = member.open_at(now, ahead[0].urgent)
        if opens > now:
            openings.append(opens)
        else:
            openings += [earliest(member, each.costs_at(member), each.ask, each.scopes, now)[0] for each in ahead if each.may(member)]
    return min((at for at in openings if at > now), default=now + LOOK_AGAIN), binding


def flow(group: Group, allowed: frozenset[str] | None) -> tuple[float, float]:
    """Requests and tokens a second that the deployments' limits allow together; inf where nothing limits them."""
    requests = tokens = 0.0
    for member in group.members:
        if allowed is None or member.id in allowed:
            rates = [(meter.limit.unit, meter.room / meter.limit.window) for meter in member.account.meters if meter.limit.window]
            requests += min([rate for unit, rate in rates if unit is Unit.REQUESTS], default=math.inf)
            tokens += min([rate for unit, rate in rates if unit is Unit.TOKENS], default=math.inf)
    return requests, tokens


def queueing(line: FairQueue[P], group: Group, ask: Ask, allowed: frozenset[str] | None, call_cost: float) -> float:
    """Seconds it probably takes to serve those who would go before a call that joins now."""
    calls, cost = line.ahead_of(ask.tenant, ask.weight, int(ask.priority), ask.charge.input + call_cost)
    requests, tokens = flow(group, allowed)
    return max(calls / max(requests, 1e-9), max(0.0, cost - calls * call_cost) / max(tokens, 1e-9))
