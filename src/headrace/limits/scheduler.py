"""Who goes where, and when: waiting calls matched with deployments that have room. No lock, no waiting, no clock in here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from headrace.limits.account import Account, Costs
from headrace.limits.ask import URGENT, Ask, Candidate
from headrace.limits.limit import Charge, Unit
from headrace.limits.members import Group, Member, Waiting
from headrace.limits.meter import Meter
from headrace.limits.queue import FairQueue, P

NEGLIGIBLE: Final = 1e-6
"""A price this low is none: what one call in a thousand costs of a limit that is half used."""
ALIKE: Final = 0.01
"""Share by which prices may differ and still count as equal, so that preferences decide."""


# ---- when

Scopes: TypeAlias = Sequence[Account]


def earliest(member: Member, costs: Costs, ask: Ask, scopes: Scopes, now: float) -> tuple[float, Meter | None]:
    """The moment at which a call fits into everything that applies, and the limit that decides it."""
    urgent = ask.priority <= URGENT
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


def fits(member: Member, waiting: Waiting, costs: Costs, now: float) -> bool:
    """Whether a call that costs so much there may go there now."""
    if member.paused_until > now or not member.account.has_room(costs, now, waiting.urgent):
        return False
    return not waiting.scopes or within(waiting.scopes, waiting.ask.charge_at(member.id), now, waiting.urgent) is not None


def within(scopes: Scopes, charge: Charge, now: float, urgent: bool) -> Sequence[Costs] | None:
    """What a call takes of each of these if it fits into all of them now."""
    found = []
    for scope in scopes:
        costs = scope.costs(charge)
        if not scope.has_room(costs, now, urgent):
            return None
        found.append(costs)
    return found


def passed_over(member: Member, waiting: Waiting, now: float) -> Candidate:
    """What is said of a deployment that was not taken."""
    if not waiting.may(member):
        return Candidate(member.id, math.inf, None)
    costs = waiting.costs_at(member)
    return member.passed if fits(member, waiting, costs, now) else shut_out(member, costs, waiting.ask, waiting.scopes, now)


def shut_out(member: Member, costs: Costs, ask: Ask, scopes: Scopes, now: float) -> Candidate:
    """What is said of a deployment that has no room."""
    at, binding = earliest(member, costs, ask, scopes, now)
    return Candidate(member.id, at - now, label(binding))


# ---- what it is worth


class Rooms:
    """What the deployments of a group have to offer at one moment: looked at once, and again where a call was let in."""

    __slots__ = ("_said", "_shut", "_urgent", "group", "now", "open")

    def __init__(self, group: Group, now: float) -> None:
        self.group = group
        self.now = now
        self.open: list[Member] = []
        """Those that let somebody pass, as far as is known."""
        self._shut: dict[Member, Candidate] = {}
        """What is said of those that let nobody pass: the same to all who are let in at this moment."""
        self._said: dict[Member, tuple[Candidate, ...]] = {}
        """What is said of all the others where one is taken that everybody may go to, while the same are open."""
        self._urgent: bool | None = None

    def look(self, urgent: bool) -> bool:
        """Whether any is open to a call that is as urgent."""
        if urgent is not self._urgent:
            self._urgent = urgent
            self.open = [member for member in self.group.members if member.open_at(self.now, urgent) <= self.now]
            self._said.clear()
        return bool(self.open)

    def failed(self, account: Account) -> None:
        """A call had no room there: perhaps nobody has."""
        if account.open_at(self.now, bool(self._urgent)) > self.now:
            self.open = [member for member in self.open if member.account is not account]
            self._said.clear()

    def passed(self, taken: Member, waiting: Waiting, tried: Sequence[Member]) -> tuple[Candidate, ...]:
        """What is said of the others when a call goes to one. tried: those that had no room for it."""
        alike = not tried and waiting.allowed is None
        said = self._said.get(taken) if alike else None
        if said is None:
            said = tuple([self._said_of(member, waiting, tried) for member in self.group.members if member is not taken])
            if alike:
                self._said[taken] = said
        return said

    def _said_of(self, member: Member, waiting: Waiting, tried: Sequence[Member]) -> Candidate:
        if member in tried or not waiting.may(member):
            return passed_over(member, waiting, self.now)
        if member in self.open:
            return member.passed
        shut = self._shut.get(member)
        if shut is None:
            shut = self._shut[member] = passed_over(member, waiting, self.now)
        return shut


# ---- who


class Match(Struct):
    """A call and the deployment it goes to."""

    position: int
    member: Member
    costs: Costs
    """What the call takes there."""
    regret: float = 0.0
    tried: Sequence[Member] = ()
    """Deployments that would have been better, and had no room for it."""


def pick(ahead: Sequence[Waiting], rooms: Rooms, *, behind: float, most_bypassed: int) -> Match | None:
    """The pair that loses least: large calls go where tokens are to spare, small ones where requests are.

    A pair's loss is what the deployment costs above the cheapest for that call, and `behind` for each one it passes. A first
    one that was passed too often has the deployment that opens to it first for itself.
    """
    kept = _kept(ahead[0], rooms.group, rooms.now) if ahead[0].bypassed >= most_bypassed else None
    if len(rooms.group.members) == 1:
        return _first_for(rooms.group.members[0], ahead if kept is None else ahead[:1], rooms)
    best: Match | None = None
    most = math.inf
    for position, waiting in enumerate(ahead):
        passing = behind * position
        if passing >= most or not rooms.open:
            break
        found = _first_that_fits(position, waiting, rooms, kept if position else None, passing, most)
        if found is not None:
            best, most = found, found.regret
    return best


def _first_for(member: Member, ahead: Sequence[Waiting], rooms: Rooms) -> Match | None:
    """The first of these with room in the only deployment: nothing is lost there but places in line."""
    for position, waiting in enumerate(ahead):
        if waiting.allowed is None or member.id in waiting.allowed:
            costs = waiting.costs_at(member)
            if fits(member, waiting, costs, rooms.now):
                return Match(position, member, costs)
            rooms.failed(member.account)
            if not rooms.open:
                break
    return None


def _first_that_fits(position: int, waiting: Waiting, rooms: Rooms, kept: Member | None, passing: float, most: float) -> Match | None:
    """The best deployment with room for a call but for one that is kept; None where it would lose as much as `most`."""
    offers, least = _offers(waiting, rooms, kept)
    tried: list[Member] = []
    while offers:
        lowest, member = offers[0] if len(offers) == 1 else cheapest(offers, waiting.ask)
        regret = (lowest - least) / (least + NEGLIGIBLE) + passing
        if regret >= most:
            break
        costs = waiting.costs_at(member)
        if fits(member, waiting, costs, rooms.now):
            return Match(position, member, costs, regret, tried)
        tried.append(member)
        rooms.failed(member.account)
        offers = [offer for offer in offers if offer[1] is not member]
    return None


Offer: TypeAlias = tuple[float, Member]
"""What a call is charged in shadow prices, and where."""


def _offers(waiting: Waiting, rooms: Rooms, kept: Member | None) -> tuple[list[Offer], float]:
    """The open deployments that a call may go to but for one that is kept, and the lowest price of all, open or not."""
    allowed, ask, now, open = waiting.allowed, waiting.ask, rooms.now, rooms.open
    charge, least = ask.charge, math.inf
    offers: list[Offer] = []
    for member in rooms.group.members:
        if allowed is None or member.id in allowed:
            if ask.charges is not None:
                charge = ask.charge_at(member.id)
            price = member.account.price(charge, now)
            if price < least:
                least = price
            if member in open and member is not kept:
                offers.append((price, member))
    return offers, least


def cheapest(offers: Sequence[Offer], ask: Ask) -> Offer:
    """The lowest price; and of those that cost it the preferred one, else the one with most room left."""
    lowest = min([price for price, _ in offers])
    alike, best, first = lowest * (1 + ALIKE) + NEGLIGIBLE, offers[0][1], math.inf
    for price, member in offers:
        if price <= alike:
            rank = member.account.rank(ask.charge) if ask.prefer is None else ask.prefer(member.id)
            if rank < first:
                first, best = rank, member
    return lowest, best


def _kept(first: Waiting, group: Group, now: float) -> Member | None:
    """The deployment that is left to one who was passed too often. Not for hours: a day's limit would stand still with room for others."""
    at, _, member = soonest(group, first, now)
    return member if at - now <= KEPT_FOR else None


# ---- how long


KEPT_FOR: Final = 90.0
"""Seconds for which a deployment may be kept free for one call: every window of a minute has passed by then."""
LOOK_AGAIN: Final = 0.05
"""Seconds until the line is looked at again when all of it seems to fit and yet waits. Tunes: it only spares looks."""


def next_opening(ahead: Sequence[Waiting], group: Group, now: float) -> float:
    """The next moment at which one of those ahead may fit somewhere.

    A deployment that lets nobody pass is asked once, not for each of them, and for calls that cost the same once. Those who fit already
    and yet were not served are passed over: they wait for the first one's deployment, or were passed too often, and looking again at
    once would find them as they are.
    """
    openings = []
    for member in group.members:
        opens = member.open_at(now, ahead[0].urgent)
        if opens > now:
            openings.append(opens)
            continue
        asked: set[object] = set()
        for each in ahead:
            if each.may(member):
                costs = each.costs_at(member)
                alike: object = each if each.scopes else (costs[1], each.ask.priority)
                if alike not in asked:
                    asked.add(alike)
                    openings.append(earliest(member, costs, each.ask, each.scopes, now)[0])
    return min((at for at in openings if at > now), default=now + LOOK_AGAIN)


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
