"""Admits calls: at once while no call waits, else by matching the queue with deployments that have room.

State: each group's queue, when to match it again, and its keeper. Callers hold the limiter's lock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from headrace.errors import HeadraceError
from headrace.limits.account import Account, Costs
from headrace.limits.ask import URGENT, Ask, Candidate
from headrace.limits.learn_settings import LearnSettings
from headrace.limits.limit import Charge
from headrace.limits.members import NO_CALL, Group, Member, Reservation, Seat, Waiting
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.refusals import broke, never, nobody
from headrace.limits.scheduler import (
    ALIKE,
    NEGLIGIBLE,
    Match,
    Rooms,
    label,
    next_opening,
    pick,
    shut_out,
    shut_until,
    soonest,
    within,
)
from headrace.limits.tabs import UNTAKEN, Tabs


class LimiterSettings(Struct, frozen=True):
    """Parameters of the scheduler. Reasons: docs/limits.md."""

    look_ahead: int = 24
    """Waiting calls that are matched with deployments together."""
    most_bypassed: int = 64
    """How often a call may be passed by others that fit; after that a deployment is reserved for it."""
    behind: float = 0.02
    """Relative loss that a call accepts for each call that would otherwise pass it."""
    max_queue: int = 1_000_000
    """Waiting calls per model group."""
    call_cost: float = 600.0
    """Tokens added to every call's cost in its tenant's virtual time."""
    drowsy: float = 0.02
    """Seconds that may pass between admission and sending before a call's charges are moved."""
    nap: float = 0.01
    """Seconds between two matches of a queue longer than `look_ahead`: what opens meanwhile is served together."""
    meters: MeterSettings = MeterSettings()
    learn: LearnSettings = LearnSettings()


SOON: Final = 1e-4
"""Shortest time in seconds until a short queue is matched again."""
MANY: Final = 8
"""Deployments beyond which only a random sample is compared."""
NOBODY_ELSE: Final[tuple[Candidate, ...]] = ()

NO_COSTS: Final[Sequence[Costs]] = ()

_Fitting: TypeAlias = tuple[float, Member, Charge, Costs, Sequence[Costs]]
"""The call's shadow price, deployment and charge, its costs there, and its costs to each scope."""


T = TypeVar("T")


class Chance(Protocol):
    """The part of `random.Random` that is used here."""

    def random(self) -> float: ...
    def sample(self, population: Sequence[T], k: int) -> list[T]: ...


class Admission:
    """One for all groups of a limiter."""

    def __init__(self, settings: LimiterSettings, random: Chance) -> None:
        self._settings = settings
        self._random = random
        self._count = 0

    # ---- without waiting

    def at_once(self, group: Group, ask: Ask, scopes: tuple[Account, ...], now: float) -> Reservation | None:
        """Reserve at the cheapest deployment with room now; among equals the preferred or the emptiest one.

        While all limits are slack, all prices are equal, and only the chosen deployment is checked closely. Of many
        deployments a random sample is compared; all of them if none of the sample has room, or one is preferred.
        """
        members = group.members if ask.only is None else group.choice(ask)
        if len(members) == 1:
            return self._into(members[0], ask, scopes, NOBODY_ELSE, now)
        few = members if len(members) <= MANY or ask.prefer is not None else self._random.sample(members, MANY)
        if ask.avoid:
            few = [member for member in few if member.id not in ask.avoid]
        found = self._first(group, few, ask, scopes, now)
        if found is not None or few is members:
            return found
        return self._first(group, group.choice(ask) if ask.avoid else members, ask, scopes, now)

    def _first(self, group: Group, members: Sequence[Member], ask: Ask, scopes: tuple[Account, ...], now: float) -> Reservation | None:
        """The emptiest deployment while all are slack, if it has room; else the best of those that have."""
        member = self.emptiest(members, ask, now)
        if member is not None:
            others = group.passed_for(member) if members is group.members else tuple([one.passed for one in members if one is not member])
            found = self._into(member, ask, scopes, others, now)
            if found is not None:
                return found
        return self._best(group, members, ask, scopes, now)

    def _into(self, member: Member, ask: Ask, scopes: tuple[Account, ...], others: tuple[Candidate, ...], now: float) -> Reservation | None:
        """Reserve at one deployment, if it has room now."""
        charge, urgent = ask.charge if ask.charges is None else ask.charge_at(member.id), ask.priority <= URGENT
        account = member.account
        costs = account.costs(charge)
        if member.paused_until > now or not account.has_room(costs, now, urgent):
            return None
        also = within(scopes, charge, now, urgent) if scopes else NO_COSTS
        return None if also is None else self._grant(member, ask, charge, costs, scopes, also, 0.0, None, others, now)

    def emptiest(self, members: Sequence[Member], ask: Ask, now: float) -> Member | None:
        """The preferred deployment, else the emptiest by recent prices.

        None if these are outdated, or one deployment is not slack.
        """
        prefer, draw, best, lowest = ask.prefer, self._random.random, None, math.inf
        for member in members:
            account = member.account
            if account.worth.slack_until < now or account.unpriced <= 0 or account.held_until > now or member.paused_until > now:
                return None
            rank = account.rank(ask.charge) + draw() if prefer is None else prefer(member.id)
            if rank < lowest:
                lowest, best = rank, member
        return best

    def on_tabs(self, seat: Seat, ask: Ask, tabs: Tabs, now: float) -> Reservation | None:
        """`at_once` for calls that come close together while limits have plenty of room: the call is added to a tab."""
        group = seat.group
        members, count = group.members, len(group.members)
        if count > MANY or ask.avoid or ask.only is not None or ask.priority <= URGENT:
            return None
        member = members[0] if count == 1 else self.emptiest(members, ask, now)
        if member is None or member.paused_until > now:
            return None
        charge = ask.charge if ask.charges is None else ask.charge_at(member.id)
        put = None if charge.cached else tabs.put(seat.slates, seat.scopes, member.account, charge, now)
        if put is None:
            return None
        self._count += 1
        others = group.passed_for(member) if count > 1 else NOBODY_ELSE
        return Reservation(
            self._count, member.id, charge, 0.0, None, others, member.ledger, UNTAKEN, put=put, heard=member.account in put.first
        )

    def _best(self, group: Group, members: Sequence[Member], ask: Ask, scopes: tuple[Account, ...], now: float) -> Reservation | None:
        """Reserve at the best of these that has room now."""
        urgent, charge = ask.priority <= URGENT, ask.charge
        also = within(scopes, charge, now, urgent) if scopes and ask.charges is None else NO_COSTS
        fitting: list[_Fitting] = []
        others: list[Candidate] = []
        for member in members:
            if ask.charges is not None:
                charge = ask.charge_at(member.id)
                also = within(scopes, charge, now, urgent) if scopes else NO_COSTS
            account = member.account
            costs = account.costs(charge)
            if also is None or member.paused_until > now or not account.has_room(costs, now, urgent):
                others.append(shut_out(member, costs, ask, scopes, now))
                continue
            fitting.append((account.price(charge, now), member, charge, costs, also))
        if not fitting:
            return None
        _, member, charge, costs, also = self._cheapest(fitting, ask)
        if len(fitting) == len(group.members):
            decided = group.passed_for(member)
        else:
            decided = (*[fitted[1].passed for fitted in fitting if fitted[1] is not member], *others)
        return self._grant(member, ask, charge, costs, scopes, also, 0.0, None, decided, now)

    def _cheapest(self, fitting: list[_Fitting], ask: Ask) -> _Fitting:
        """The cheapest; among equals the preferred one, else the one with most room left."""
        if len(fitting) == 1:
            return fitting[0]
        most = min([fitted[0] for fitted in fitting]) * (1 + ALIKE) + NEGLIGIBLE
        prefer, draw, best, lowest = ask.prefer, self._random.random, fitting[0], math.inf
        for fitted in fitting:
            if fitted[0] <= most:
                member = fitted[1]
                rank = member.account.rank(fitted[2]) + draw() if prefer is None else prefer(member.id)
                if rank < lowest:
                    lowest, best = rank, fitted
        return best

    def _grant(
        self,
        member: Member,
        ask: Ask,
        charge: Charge,
        costs: Costs,
        scopes: tuple[Account, ...],
        also: Sequence[Costs],
        waited: float,
        binding: str | None,
        decided: tuple[Candidate, ...],
        now: float,
    ) -> Reservation:
        """Charge every limit that applies, all or none. also: the call's costs to each scope."""
        urgent = ask.priority <= URGENT
        taken = member.account.take(charge, costs, now, urgent)
        held = tuple([(scope, scope.take(charge, each, now, urgent)) for scope, each in zip(scopes, also, strict=True)]) if scopes else ()
        self._count += 1
        return Reservation(self._count, member.id, charge, waited, binding, decided, member.ledger, taken, held)

    # ---- the queue

    def join(self, waiting: Waiting, now: float) -> None:
        """Add a call to the queue.

        Other waiting calls are not affected, so rooms are checked only if this call may be served.
        """
        group = waiting.group
        group.line.push(waiting, first=waiting.ask.again)
        if group.line.length > 1 and group.closed_until > now and not waiting.urgent:
            waiting.binding = group.binding
            return
        at, binding, _ = soonest(group, waiting, now)
        if at <= now or group.line.length == 1:
            self.match(group, now)
            return
        waiting.binding = label(binding)
        self._look_by(group, at)

    def leave(self, waiting: Waiting, now: float) -> None:
        """Remove a call from the queue. Those behind it may be smaller and fit now."""
        group = waiting.group
        group.line.leave(waiting)
        self._stop_waiting(waiting)
        if group.line.length:
            self.look(group, now)

    def refuse(self, waiting: Waiting, error: HeadraceError) -> None:
        waiting.group.line.leave(waiting)
        waiting.refused = error
        self._tell(waiting)

    def refuse_the_broke(self, group: Group, now: float) -> None:
        """Refuse waiting calls whose budget has been spent, including those that move up."""
        settings = self._settings
        while refused := [
            (waiting, error)
            for waiting in group.line.first(settings.look_ahead)
            if (error := broke(group, waiting, now, settings.call_cost)) is not None
        ]:
            for waiting, error in refused:
                self.refuse(waiting, error)

    def look_again(self, group: Group) -> None:
        """Re-evaluate all waiting calls after deployments or limits have changed."""
        for waiting in list(group.line.all()):
            waiting.allowed = group.allowed(waiting.ask)
            if not group.members or waiting.allowed == frozenset():
                self.refuse(waiting, nobody(group.name))
        group.wake_at = group.closed_until = -math.inf
        group.wake_keeper()

    def _tell(self, waiting: Waiting) -> None:
        self._stop_waiting(waiting)
        waiting.wake()

    def _stop_waiting(self, waiting: Waiting) -> None:
        group = waiting.group
        group.waiters.pop(waiting, None)
        if group.keeper is waiting:
            self._hand_over(group)

    @staticmethod
    def _hand_over(group: Group) -> None:
        """Make another waiter the keeper: the newest, which will wait longest."""
        group.keeper = next(reversed(group.waiters), None)
        group.wake_keeper()

    # ---- when to match

    def look(self, group: Group, now: float, *, at_once: bool = False) -> None:
        """Match the queue now, or when its nap is over, because something has changed."""
        wakes_at = group.looked_at + self._nap(group)
        if at_once or now >= wakes_at:
            self.match(group, now)
        else:
            self._look_by(group, wakes_at)

    def room_came(self, group: Group, account: Account, now: float) -> None:
        """A call has ended and freed room in the account. A freed place in flight is matched at once."""
        if group.closed_until > now:
            if group.wake_at <= now + self._nap(group):
                return  # it is matched soon enough
            opens = account.open_at(now, group.line.first_class <= URGENT)
            if opens > now:
                group.closed_until = min(group.closed_until, opens)
                self._look_by(group, opens)
                return
        self.look(group, now, at_once=account.was_full())

    def _nap(self, group: Group) -> float:
        return self._settings.nap if group.line.length > self._settings.look_ahead else 0.0

    def _look_by(self, group: Group, at: float) -> None:
        """Match the queue at that moment at the latest. Wakes the keeper if it would wake much later."""
        if at < group.wake_at:
            late, group.wake_at = group.wake_at - at, at
            if late > self._nap(group):
                group.wake_keeper()

    def _plan_next(self, group: Group, now: float, ahead: list[Waiting]) -> None:
        """Determine when to match again. Wakes the keeper if that is earlier than it expects."""
        before, group.wake_at, group.looked_at, group.closed_until = group.wake_at, math.inf, now, -math.inf
        group.fitting = NO_CALL
        if not group.line.length:
            return
        first = ahead[0] if ahead else group.line.first(1)[0]
        error = self.never(first)
        if error is not None:
            self.refuse(first, error)
            self._plan_next(group, now, ahead[1:] or self._ahead(group, now, self._settings.look_ahead))
            return
        if first.binding is None:
            first.binding = label(soonest(group, first, now)[1])
        group.binding = first.binding
        at = self._next_opening(ahead, group, now) if ahead else math.inf
        group.wake_at = max(min(at, group.opens_at), now + (self._nap(group) or SOON))
        if group.keeper is None:
            self._hand_over(group)
        elif group.wake_at < before:
            group.wake_keeper()

    @staticmethod
    def _next_opening(ahead: list[Waiting], group: Group, now: float) -> float:
        at = min([member.open_at(now, ahead[0].urgent) for member in group.members])
        if at <= now:
            return next_opening(ahead, group, now)
        group.closed_until = at  # no call fits anywhere
        return at

    # ---- matching

    def match(self, group: Group, now: float) -> None:
        """Serve all calls that can be served now, and determine when to match again."""
        settings, rooms = self._settings, Rooms(group, now)
        ahead: list[Waiting] = []
        while group.line.length and rooms.look(group.line.first_class <= URGENT):
            if len(ahead) <= settings.look_ahead // 2:
                ahead = self._ahead(group, now, settings.look_ahead)
            found = pick(ahead, rooms, behind=settings.behind, most_bypassed=settings.most_bypassed) if ahead else None
            if found is None:
                break
            for waiting in ahead[: found.position]:
                waiting.bypassed += 1
            waiting = ahead.pop(found.position)
            self.serve(waiting, found, rooms.passed(found.member, waiting, found.tried), now)
        self._plan_next(group, now, ahead or self._ahead(group, now, settings.look_ahead if rooms.open else 1))

    def _ahead(self, group: Group, now: float, count: int) -> list[Waiting]:
        """The next calls in the queue, without those blocked by their scopes or on all their deployments.

        Blocked calls hold up no other; `opens_at` gets the moment at which the first of them can go.
        """
        group.opens_at = math.inf

        def shut(waiting: Waiting) -> bool:
            at = shut_until(group, waiting, now)
            if at > now:
                group.opens_at = min(group.opens_at, at)
            return at > now

        return group.line.first(count, shut)

    def serve(self, waiting: Waiting, found: Match, decided: tuple[Candidate, ...], now: float) -> None:
        group = waiting.group
        group.line.serve(waiting)
        member, ask, scopes = found.member, waiting.ask, waiting.scopes
        charge = ask.charge_at(member.id)
        also = [scope.costs(charge) for scope in scopes] if scopes else NO_COSTS
        waited = now - waiting.since
        waiting.granted = self._grant(member, ask, charge, found.costs, scopes, also, waited, waiting.binding, decided, now)
        self._tell(waiting)

    def never(self, waiting: Waiting) -> HeadraceError | None:
        """The error for a call that can never be admitted; None if it can."""
        return never(waiting.group, waiting)
