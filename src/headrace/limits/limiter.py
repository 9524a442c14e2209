"""The shell around the scheduler: one lock, those who wait, and who keeps the time for them.

All state lives under one short lock and is moved by whoever comes by: a caller arriving, one leaving, a call ending, and
the one waiter per group that keeps the time. No thread, no event loop of its own.
"""

from __future__ import annotations

import math
import random as random_module
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

from headrace.errors import (
    BadRequestError,
    BudgetExceededError,
    ConfigurationError,
    Failure,
    HeadraceError,
    Kind,
    NeverFits,
    QueueFull,
    QueueTimeout,
)
from headrace.limits.account import Account, Costs, Taken
from headrace.limits.learn import LearnSettings
from headrace.limits.limit import NANO, Charge, Limit, Unit, Used
from headrace.limits.meter import Meter, MeterSettings
from headrace.limits.profile import Profile
from headrace.limits.queue import FairQueue, Priority
from headrace.limits.scheduler import (
    ALIKE,
    NEGLIGIBLE,
    Ask,
    Candidate,
    Group,
    Ledger,
    Member,
    Waiting,
    earliest,
    headroom,
    label,
    next_opening,
    pick,
    prices,
    queueing,
    score,
    shut_until,
    soonest,
)
from headrace.limits.view import QuotaView
from headrace.ports import Clock, Waiter


class LimiterSettings(Struct, frozen=True):
    """Parameters of the scheduler. Reasons: docs/limits.md."""

    look_ahead: int = 24
    """Waiting calls that are matched with deployments at once."""
    most_bypassed: int = 64
    """Times a call may be passed by ones that fit; then a deployment is kept for it."""
    behind: float = 0.02
    """Share of its price that a call may lose for each place it would have to be let pass."""
    max_queue: int = 1_000_000
    """Waiting calls per model group."""
    call_cost: float = 600.0
    """Tokens that a call counts in its tenant's turn besides its own."""
    drowsy: float = 0.02
    """Seconds that may pass before a call that was let through is on its way; later, its charge moves with it."""
    meters: MeterSettings = MeterSettings()
    learn: LearnSettings = LearnSettings()


class Reservation(Struct, eq=False):
    """Room held for one call until it is settled."""

    id: int
    deployment: str
    charge: Charge
    waited: float
    """Seconds."""
    binding: str | None
    """The limit it waited for."""
    decided: tuple[Candidate, ...]
    """The other deployments, and why not."""
    ledger: Ledger
    taken: Taken
    scopes: tuple[tuple[Account, Taken], ...] = ()
    open: bool = True

    def __repr__(self) -> str:
        return f"<Reservation {self.id} {self.deployment} waited {self.waited:.3f} s{'' if self.open else ' settled'}>"


class Availability(Struct, frozen=True):
    """What a call would find now."""

    waiting: int
    """Calls in the line."""
    position: int
    """Its place among them: 1 is served next."""
    wait: float
    """Seconds it would probably wait."""
    binding: str | None
    """The limit that would decide it."""
    deployments: Mapping[str, tuple[float, str | None]]
    """Each deployment: the seconds until it has room for the call, whoever else waits, and the limit that decides it."""


class _Waiter(Waiting, eq=False, kw_only=True):
    """A call in the line, and how to reach it."""

    since: float
    until: float
    """The moment by which it must have started; inf for never."""
    waiter: Waiter | None = None
    granted: Reservation | None = None
    refused: HeadraceError | None = None
    binding: str | None = None


class _Group(Group):
    """A group, its line, and the one who keeps the time for all."""

    __slots__ = ("keeper", "line", "opens_at", "waiters", "wake_at")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.line: FairQueue[_Waiter] = FairQueue()
        self.waiters: OrderedDict[_Waiter, None] = OrderedDict()
        """Those who really wait, the newest last: he keeps the time longest."""
        self.keeper: _Waiter | None = None
        self.wake_at = self.opens_at = math.inf


class Place(Struct, frozen=True):
    """A deployment as it is added: the groups it serves, and the limits of its account."""

    deployment: str
    groups: Sequence[str]
    limits: Sequence[Limit]
    profile: Profile
    account: str | None = None


ROUNDING: Final = 1e-6
"""Seconds by which a sum of moments may be off."""

_Fitting: TypeAlias = tuple[Member, Costs, tuple[float, float]]
"""A deployment with room for a call, what the call costs there, and what it is worth."""


class Limiter:
    """One for all threads and event loops of a process."""

    def __init__(
        self,
        *,
        settings: LimiterSettings | None = None,
        random: random_module.Random | None = None,
        on_queued: Callable[[Ask, float, Callable[[], Availability]], None] | None = None,
    ) -> None:
        """on_queued: told of each call that has to wait, when it begins to, and how to find out what it has before it."""
        self.settings = settings or LimiterSettings()
        self._on_queued = on_queued
        self._random = random or random_module.Random()
        self._lock = _Lock()
        self._groups: dict[str, _Group] = {}
        self._members: dict[str, Member] = {}
        self._ledgers: dict[str, Ledger] = {}
        self._scopes: dict[str, Account] = {}
        self._count = 0

    # ---- what there is

    def add(
        self, deployment: str, *, group: str | Sequence[str], limits: Sequence[Limit], profile: Profile, account: str | None = None
    ) -> None:
        """Let `deployment` serve one or more groups. Deployments of the same account share its limits."""
        self.swap((), [Place(deployment, (group,) if isinstance(group, str) else tuple(group), limits, profile, account)])

    def remove(self, deployment: str) -> None:
        """Send nothing there any more; what is under way is settled as ever. Calls that could go nowhere else are refused."""
        self.swap([deployment], ())

    def swap(self, gone: Iterable[str], come: Iterable[Place]) -> None:
        """Remove and add in one moment: whoever waits in line sees what stands at its end, and is refused only if nothing does."""
        changed: dict[str, None] = {}
        with self._lock:
            for deployment in gone:
                changed |= dict.fromkeys(self._withdraw(deployment))
            for place in come:
                self._settle_in(place)
                changed |= dict.fromkeys(place.groups)
            for name in changed:
                self._look_again(self._groups[name])

    def _withdraw(self, deployment: str) -> Sequence[str]:
        member = self._members.pop(deployment, None)
        if member is None:
            return ()
        for name in member.groups:
            self._groups[name].members.remove(member)
        return member.groups

    def _settle_in(self, place: Place) -> None:
        if place.deployment in self._members:
            raise ConfigurationError(f"deployment {place.deployment!r} is there already: remove it first")
        ledger = self._ledger(place.account or place.deployment, place.limits, place.profile)
        member = self._members[place.deployment] = Member(place.deployment, ledger, tuple(place.groups))
        for name in place.groups:
            found = self._groups.setdefault(name, _Group(name))
            found.members.append(member)
            ledger.groups[name] = found

    def _ledger(self, name: str, limits: Sequence[Limit], profile: Profile) -> Ledger:
        ledger = self._ledgers.get(name)
        if ledger is None:
            account = Account(name, limits, profile, self.settings.meters)
            ledger = self._ledgers[name] = Ledger(account, self.settings.learn)
        elif any(member.ledger is ledger for member in self._members.values()):
            ledger.account.join(limits)
        else:
            ledger.account.configure(limits, profile)  # it was left, and its books are still open
        return ledger

    def _look_again(self, group: _Group) -> None:
        """The deployments are others now: where may those go who wait?"""
        for waiting in list(group.line.all()):
            waiting.allowed = group.allowed(waiting.ask)
            if not group.members or waiting.allowed == frozenset():
                self._refuse(group, waiting, _nobody(group.name))
        group.wake_at = -math.inf
        if group.keeper is not None and group.keeper.waiter is not None:
            group.keeper.waiter.wake()

    def add_scope(self, scope: str, limits: Sequence[Limit]) -> None:
        """Limits of our own (of a key, a team, everybody): exact, since we are the ones who count. Again: other limits from now on."""
        with self._lock:
            known = self._scopes.get(scope)
            if known is None:
                self._scopes[scope] = Account(scope, limits, OWN, EXACT)
            else:
                known.configure(limits, OWN)
                for group in self._groups.values():
                    self._look_again(group)

    def charge_scope(self, scope: str, money: int, now: float) -> None:
        """Count money that was spent without us. Raises ConfigurationError for an unknown scope."""
        with self._lock:
            if scope not in self._scopes:
                raise ConfigurationError(f"there is no scope {scope!r}; add_scope comes first")
            for meter in self._scopes[scope].meters:
                if meter.limit.unit is Unit.MONEY:
                    meter.add_written(money, now)

    def remove_scope(self, scope: str) -> None:
        """Forget limits of our own; calls that name them are refused from now on."""
        with self._lock:
            self._scopes.pop(scope, None)

    # ---- waiting for room

    async def reserve(self, ask: Ask, clock: Clock) -> Reservation:
        """Room for one call, once it has some. Waits by the caller's own clock.

        Raises NeverFits, QueueFull, QueueTimeout (at once when its time cannot suffice), BadRequestError for an unknown group,
        ConfigurationError for an unknown scope.
        """
        now = clock.now()
        with self._lock:
            group = self._group(ask.group)
            scopes = self._scopes_of(ask) if ask.scopes else ()
            if not group.line:
                reservation = self._at_once(group, ask, scopes, now)
                if reservation is not None:
                    return reservation
            waiting = self._waiting(group, ask, scopes, now)
            hopeless = self._hopeless(group, waiting, now)
            group.line.push(waiting, first=ask.again)
            self._consider(group, waiting, now)
            if waiting.granted is not None:
                return waiting.granted
            if hopeless is not None:
                group.line.leave(waiting)
                raise hopeless
            waiting.waiter = clock.waiter()
            group.waiters[waiting] = None
        return await self._wait(group, waiting, clock)

    async def _wait(self, group: _Group, waiting: _Waiter, clock: Clock) -> Reservation:
        waiter = waiting.waiter
        assert waiter is not None
        try:
            if self._on_queued is not None:
                self._on_queued(waiting.ask, waiting.since, lambda: self._place_of(group, waiting, waiting.since))
            while True:
                timeout = self._next_look(group, waiting, clock.now())
                if waiting.granted is not None:
                    self.leaves(waiting.granted, clock.now())
                    return waiting.granted
                await waiter.wait(timeout)
                self._look(group, waiting, clock.now())
        except BaseException:
            self._leave(group, waiting, clock.now())
            raise

    def leaves(self, reservation: Reservation, now: float) -> None:
        """The call goes on its way only now: on a busy thread much later than it was let through. Its provider will count it from now."""
        if now - reservation.taken.left > self.settings.drowsy:
            self._lock.post(lambda: reservation.ledger.account.delay(reservation.taken, now) if reservation.open else None)

    def _next_look(self, group: _Group, waiting: _Waiter, now: float) -> float | None:
        """Seconds until this waiter should look again, None to be woken: only the keeper watches the limits."""
        with self._lock:
            if waiting.refused is not None:
                raise waiting.refused
            if group.keeper is None and waiting.granted is None:
                group.keeper = waiting
            at = min(waiting.until, group.wake_at) if group.keeper is waiting else waiting.until
            return None if at == math.inf else max(0.0, at - now)

    def _look(self, group: _Group, waiting: _Waiter, now: float) -> None:
        """After a wait: serve whoever can be served, if it is our turn to. Raises QueueTimeout when our time is up."""
        with self._lock:
            if (group.keeper is waiting or now >= waiting.until) and now >= group.wake_at:
                self._match(group, now)
            if waiting.granted is None and waiting.refused is None and now >= waiting.until:
                raise self._too_late(group, waiting, now)

    def _leave(self, group: _Group, waiting: _Waiter, now: float) -> None:
        """The caller went away, queued or just served: free its place and its room."""
        self._lock.post(lambda: self._forget(group, waiting, now))

    def _forget(self, group: _Group, waiting: _Waiter, now: float) -> None:
        if waiting.granted is not None:
            self._settle(waiting.granted, None, now, False, None, ())
        group.line.leave(waiting)
        self._stop_waiting(group, waiting)
        if group.line:
            self._match(group, now)  # whoever stood behind it may be smaller

    def _stop_waiting(self, group: _Group, waiting: _Waiter) -> None:
        group.waiters.pop(waiting, None)
        if group.keeper is waiting:
            self._hand_over(group)

    def _hand_over(self, group: _Group) -> None:
        """Give the keeping of time to another waiter: the newest, who keeps it longest."""
        group.keeper = next(reversed(group.waiters), None)
        if group.keeper is not None and group.keeper.waiter is not None:
            group.keeper.waiter.wake()

    # ---- without waiting

    def _at_once(self, group: _Group, ask: Ask, scopes: tuple[Account, ...], now: float) -> Reservation | None:
        """A deployment that has room for the call now: the cheapest, of equals the preferred one, else the one with most room left."""
        allowed = group.allowed(ask)
        fitting: list[_Fitting] = []
        others: list[Candidate] = []
        for member in group.members:
            if allowed is not None and member.id not in allowed:
                continue
            costs = member.account.costs(ask.charge_at(member.id))
            found = self._room(member, costs, ask, scopes, now)
            if isinstance(found, Candidate):
                others.append(found)
            else:
                fitting.append((member, costs, found))
        if not fitting:
            return None
        member, costs, _ = self._cheapest(fitting, ask) if len(fitting) > 1 else fitting[0]
        decided = (*[other.passed for other, _, _ in fitting if other is not member], *others)
        return self._grant(member, ask, costs, scopes, 0.0, None, decided, now)

    def _room(self, member: Member, costs: Costs, ask: Ask, scopes: tuple[Account, ...], now: float) -> tuple[float, float] | Candidate:
        """What the call is worth there, as `Account.worth_if_room` says it, or why it has to wait."""
        account = member.account
        if member.paused_until <= now and not scopes:
            worth = account.worth_if_room(costs, now, ask.priority <= Priority.INTERACTIVE)
            if worth is not None:
                return worth
        at, binding = earliest(member, costs, ask, scopes, now)
        if at > now:
            return Candidate(member.id, at - now, label(binding))
        return score(prices(account, now), costs), headroom(member, now)[0]

    def _cheapest(self, fitting: list[_Fitting], ask: Ask) -> _Fitting:
        if len(fitting) > 8 and ask.prefer is None:
            fitting = self._random.sample(fitting, 2)  # of many, the better of two at random is good enough
        least = min([price for _, _, (price, _) in fitting]) * (1 + ALIKE) + NEGLIGIBLE
        equal = [fitted for fitted in fitting if fitted[2][0] <= least]
        if ask.prefer is not None:
            prefer = ask.prefer
            return min(equal, key=lambda fitted: prefer(fitted[0].id))
        draw = self._random.random
        return equal[min([(full, member.account.in_flight, draw(), at) for at, (member, _, (_, full)) in enumerate(equal)])[3]]

    def _grant(
        self,
        member: Member,
        ask: Ask,
        costs: Costs,
        scopes: tuple[Account, ...],
        waited: float,
        binding: str | None,
        decided: tuple[Candidate, ...],
        now: float,
    ) -> Reservation:
        """Take every limit that applies, all together."""
        charge = ask.charge_at(member.id)
        urgent = ask.priority <= Priority.INTERACTIVE
        taken = member.account.take(charge, costs, now, urgent)
        also = tuple([(scope, scope.take(charge, scope.costs(charge), now, urgent)) for scope in scopes]) if scopes else ()
        self._count += 1
        return Reservation(self._count, member.id, charge, waited, binding, decided, member.ledger, taken, also)

    # ---- the line

    def _waiting(self, group: _Group, ask: Ask, scopes: tuple[Account, ...], now: float) -> _Waiter:
        until = min(math.inf if ask.deadline is None else ask.deadline, math.inf if ask.max_wait is None else now + ask.max_wait)
        cost = ask.charge.input + min(ask.charge.max_output, 1024) + self.settings.call_cost
        waiting = _Waiter(
            ask.tenant, max(ask.weight, 1e-9), int(ask.priority), cost,
            ask=ask, scopes=scopes, allowed=group.allowed(ask), since=now, until=until,
        )  # fmt: skip
        never = self._never(group, waiting)
        if never is not None:
            raise never
        broke = self._broke(group, waiting, now)
        if broke is not None:
            raise broke
        if len(group.line) >= self.settings.max_queue:
            message = f"{group.name}: {len(group.line)} calls wait already, no more are taken (max_queue)"
            raise QueueFull.of(Failure(Kind.QUEUE_FULL, message, model=group.name, retry_after=self._estimate(group, waiting, now)[0]))
        waiting.lane = (ask.scopes, waiting.allowed) if scopes or waiting.allowed is not None else None
        return waiting

    def _hopeless(self, group: _Group, waiting: _Waiter, now: float) -> QueueTimeout | None:
        """What a call is told whose time cannot suffice, unless there is room for it now."""
        until = waiting.until
        if until == math.inf or (until > now and now + self._estimate(group, waiting, now)[0] <= until + ROUNDING):
            return None
        return self._too_late(group, waiting, now)

    def _never(self, group: _Group, waiting: _Waiter) -> HeadraceError | None:
        """A call larger than a limit of every deployment it may go to, or of a scope."""
        if waiting.allowed == frozenset():
            return _nobody(group.name)
        charge = waiting.ask.charge
        for scope in waiting.scopes:
            blocked = scope.never(scope.costs(charge))
            if blocked is not None:
                return _never_fits(group.name, *blocked)
        found = [member.account.never(waiting.costs_at(member)) for member in group.members if waiting.may(member)]
        blocking = [blocked for blocked in found if blocked is not None]
        if len(blocking) == len(found):
            return _never_fits(group.name, *max(blocking, key=lambda blocked: blocked[0].whole))
        return None

    def _broke(self, group: _Group, waiting: _Waiter, now: float) -> BudgetExceededError | None:
        """Nobody waits for money: a budget that is spent, for every deployment it may go to, is an end and not a queue."""
        members = [member for member in group.members if waiting.may(member)]
        if waiting.scopes:
            cheapest = min([waiting.ask.charge_at(member.id) for member in members], key=lambda charge: charge.money)
            for scope in waiting.scopes:
                if scope.has_budget and (spent := scope.spent(scope.costs(cheapest), now)) is not None:
                    return _out_of_money(group.name, spent, self._estimate(group, waiting, now)[0])
        if not all(member.account.has_budget for member in members):
            return None
        found = [member.account.spent(waiting.costs_at(member), now) for member in members]
        gone = [meter for meter in found if meter is not None]
        return _out_of_money(group.name, gone[0], self._estimate(group, waiting, now)[0]) if len(gone) == len(members) else None

    def _too_late(self, group: _Group, waiting: _Waiter, now: float) -> QueueTimeout:
        wait, binding = self._estimate(group, waiting, now)
        waited = f" after {now - waiting.since:.1f} s" if now > waiting.since else ""
        message = f"{group.name}: no room{waited}; {binding or 'its deployments'} will have some in about {wait:.1f} s"
        return QueueTimeout.of(Failure(Kind.QUEUE_TIMEOUT, message, model=group.name, retry_after=wait, scope=None))

    def _estimate(self, group: _Group, waiting: _Waiter, now: float) -> tuple[float, str | None]:
        """Seconds until the call is served: exact when nobody waits, else what those before it probably take."""
        at, binding, member = soonest(group, waiting, now)
        if at == math.inf and member is not None:
            account = member.account
            at = now + account.sizes.duration / max(1, account.in_flight)
        ahead = queueing(group.line, group, waiting.ask, waiting.allowed, self.settings.call_cost) if group.line else 0.0
        return max(at - now, ahead), label(binding)

    # ---- matching those who wait with those who have room

    def _consider(self, group: _Group, waiting: _Waiter, now: float) -> None:
        """Somebody has joined the line: nothing changes for the others, so look at the rooms only when one would take him."""
        at, binding, _ = soonest(group, waiting, now)
        if at <= now or len(group.line) == 1:
            self._match(group, now)
            return
        waiting.binding = label(binding)
        if at < group.wake_at:
            group.wake_at = at
            if group.keeper is not None and group.keeper.waiter is not None:
                group.keeper.waiter.wake()

    def _match(self, group: _Group, now: float) -> None:
        """Serve everybody who can be served now, and find out when to look again."""
        settings = self.settings
        ahead: list[_Waiter] = []
        priced: dict[Member, tuple[float, ...]] = {}
        while group.line:
            first = ahead or self._ahead(group, now, 1)
            if not first:
                break
            urgent = first[0].urgent
            open_now = [member for member in group.members if member.open_at(now, urgent) <= now]
            if not open_now:
                break
            if len(ahead) <= settings.look_ahead // 2:
                ahead = self._ahead(group, now, settings.look_ahead)
            priced = priced or {member: prices(member.account, now) for member in group.members}
            found = pick(ahead, group, open_now, priced, now, behind=settings.behind, most_bypassed=settings.most_bypassed)
            if found is None:
                break
            for waiting in ahead[: found.position]:
                waiting.bypassed += 1
            self._serve(group, ahead.pop(found.position), found.member, now)
            changed = found.member.account
            priced.update({member: prices(changed, now) for member in group.members if member.account is changed})
        self._plan_next(group, now)

    def _ahead(self, group: _Group, now: float, count: int) -> list[_Waiter]:
        """The next in line, but for those who could not go wherever there is room: whose scopes are shut, or all their deployments.

        They hold nobody up; the moment at which the first of them can go is kept in `opens_at`.
        """
        group.opens_at = math.inf

        def shut(waiting: _Waiter) -> bool:
            at = shut_until(group, waiting, now)
            if at > now:
                group.opens_at = min(group.opens_at, at)
            return at > now

        return group.line.first(count, shut)

    def _serve(self, group: _Group, waiting: _Waiter, member: Member, now: float) -> None:
        group.line.serve(waiting)
        decided = tuple([_passed_over(other, waiting, now) for other in group.members if other is not member])
        waited = now - waiting.since
        waiting.granted = self._grant(member, waiting.ask, waiting.costs_at(member), waiting.scopes, waited, waiting.binding, decided, now)
        self._tell(group, waiting)

    def _refuse(self, group: _Group, waiting: _Waiter, error: HeadraceError) -> None:
        group.line.leave(waiting)
        waiting.refused = error
        self._tell(group, waiting)

    def _tell(self, group: _Group, waiting: _Waiter) -> None:
        self._stop_waiting(group, waiting)
        if waiting.waiter is not None:
            waiting.waiter.wake()

    def _plan_next(self, group: _Group, now: float) -> None:
        """When to look again. Who keeps the time is told if that is sooner than he thought."""
        before, group.wake_at = group.wake_at, math.inf
        if not group.line:
            return
        ahead = self._ahead(group, now, 1)
        if ahead and any(member.open_at(now, ahead[0].urgent) <= now for member in group.members):
            ahead = self._ahead(group, now, self.settings.look_ahead)  # else nobody fits anywhere, and the first will do
        first = ahead[0] if ahead else group.line.first(1)[0]
        never = self._never(group, first)
        if never is not None:
            self._refuse(group, first, never)
            self._plan_next(group, now)
            return
        at, binding = next_opening(ahead, group, now) if ahead else (math.inf, soonest(group, first, now)[1])
        first.binding = first.binding or label(binding)
        group.wake_at = max(min(at, group.opens_at), now + 1e-4)
        if group.keeper is None:
            self._hand_over(group)
        elif group.wake_at < before and group.keeper.waiter is not None:
            group.keeper.waiter.wake()

    # ---- endings

    def settle(
        self,
        reservation: Reservation,
        *,
        used: Used | None,
        now: float,
        sent: bool = True,
        failure: Failure | None = None,
        view: Sequence[QuotaView] = (),
    ) -> None:
        """End a reservation with what was really used (None: nobody knows). Settling again does nothing. Never blocks."""
        self._lock.post(lambda: self._settle(reservation, used, now, sent, failure, view))

    def release(self, reservation: Reservation, now: float) -> None:
        """End a reservation whose call was never sent."""
        self.settle(reservation, used=None, sent=False, now=now)

    def progress(self, reservation: Reservation, output_tokens: int, now: float) -> None:
        """The call has written so many tokens by now: they count at once where output counts as it is written."""
        self._lock.post(lambda: self._progress(reservation, output_tokens, now))

    def _progress(self, reservation: Reservation, output_tokens: int, now: float) -> None:
        if reservation.open:
            reservation.ledger.account.progress(reservation.taken, output_tokens, now)

    def _settle(
        self, reservation: Reservation, used: Used | None, now: float, sent: bool, failure: Failure | None, view: Sequence[QuotaView]
    ) -> None:
        if not reservation.open:
            return
        reservation.open = False
        ledger, taken = reservation.ledger, reservation.taken
        ledger.account.settle(taken, used, sent, failure, now)
        for scope, held in reservation.scopes:
            scope.settle(held, used, sent, failure, now)
        if failure is not None and failure.kind is Kind.RATE_LIMIT:
            ledger.learner.refused(failure, taken, view, now)
        elif failure is None and sent:
            ledger.learner.answered(taken, view, now)
        for group in self._groups.values() if reservation.scopes else ledger.groups.values():
            if group.line:  # type: ignore[attr-defined]
                self._match(group, now)  # type: ignore[arg-type]
                if reservation.charge.money:
                    self._refuse_the_broke(group, now)  # type: ignore[arg-type]

    def _refuse_the_broke(self, group: _Group, now: float) -> None:
        """Money that was set aside is spent now: whom is there none left for? Those come into view whom others made room for."""
        while refused := [
            (waiting, broke)
            for waiting in group.line.first(self.settings.look_ahead)
            if (broke := self._broke(group, waiting, now)) is not None
        ]:
            for waiting, broke in refused:
                self._refuse(group, waiting, broke)

    def pause(self, deployment: str, until: float, now: float) -> None:
        """Send nothing to one deployment before `until`; others of its account go on."""
        self._lock.post(lambda: self._pause(deployment, until))

    def _pause(self, deployment: str, until: float) -> None:
        member = self._members.get(deployment)
        if member is not None:
            member.paused_until = max(member.paused_until, until)

    def resume(self, deployment: str, now: float) -> None:
        """Send to it again, if it was paused."""
        self._lock.post(lambda: self._resume(deployment, now))

    def _resume(self, deployment: str, now: float) -> None:
        member = self._members.get(deployment)
        if member is not None and member.paused_until > now:
            member.paused_until = now
            for group in self._groups.values():
                if member in group.members:
                    self._match(group, now)

    def gate(self, deployment: str, until: float, now: float) -> None:
        """Hold the whole quota of a deployment until then, as a Retry-After asks."""
        self._lock.post(lambda: self._gate(deployment, until))

    def _gate(self, deployment: str, until: float) -> None:
        member = self._members.get(deployment)
        if member is not None:
            member.account.held_until = max(member.account.held_until, until)

    # ---- looking

    def peek(self, ask: Ask, now: float) -> Availability:
        """What a call would find. Changes nothing."""
        with self._lock:
            group = self._group(ask.group)
            waiting = _Waiter(
                ask.tenant, ask.weight, int(ask.priority), 0.0,
                ask=ask, scopes=self._scopes_of(ask), allowed=group.allowed(ask), since=now, until=math.inf,
            )  # fmt: skip
            return self._availability(group, waiting, now)

    def _place_of(self, group: _Group, waiting: _Waiter, now: float) -> Availability:
        with self._lock:
            return self._availability(group, waiting, now)

    def _availability(self, group: _Group, waiting: _Waiter, now: float) -> Availability:
        ask = waiting.ask
        wait, binding = self._estimate(group, waiting, now)
        ahead = group.line.ahead_of(ask.tenant, ask.weight, int(ask.priority), 0.0)[0]
        position = max(1, round(ahead)) if waiting in group.waiters else 1 + round(ahead)
        rooms = {member.id: _passed_over(member, waiting, now) for member in group.members if waiting.may(member)}
        deployments = {id: (found.wait, found.binding) for id, found in rooms.items()}
        return Availability(len(group.line), position, wait, binding, deployments)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Every deployment's and scope's use of its limits and every group's queue, as plain values."""
        with self._lock:
            deployments = {
                member.id: {"held": max(0.0, max(member.account.held_until, member.paused_until) - now), **_use(member.account, now)}
                for member in self._members.values()
            }
            return {
                "deployments": deployments,
                "scopes": {name: _use(account, now) for name, account in self._scopes.items()},
                "queues": {name: len(group.line) for name, group in self._groups.items()},
            }

    def __repr__(self) -> str:
        waiting = sum(len(group.line) for group in self._groups.values())
        return f"<Limiter {len(self._members)} deployments, {waiting} waiting>"

    def _group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None or not group.members:
            raise _nobody(name)
        return group

    def _scopes_of(self, ask: Ask) -> tuple[Account, ...]:
        unknown = [name for name in ask.scopes if name not in self._scopes]
        if unknown:
            raise ConfigurationError(
                f"scopes: there is no {unknown[0]!r}; add_scope comes first. A limit that is not there would be no limit"
            )
        return tuple([self._scopes[name] for name in ask.scopes])


OWN: Final = Profile(accounting="settle", source="our own limits", confidence="documented")
EXACT: Final = MeterSettings(spread=0.0, short_spread=0.0, kept_for_urgent=0.0, paced=False)


def _nobody(group: str) -> BadRequestError:
    return BadRequestError(f"no deployment serves {group!r}", group)


def _never_fits(group: str, meter: Meter, cost: float) -> NeverFits:
    label = meter.limit.label
    message = (
        f"{group}: the call is larger than a whole limit: it needs {cost:.0f} {meter.limit.unit.value}, and "
        f"{label} allows {meter.whole:.0f}. Ask for fewer tokens (max_tokens), or raise {label}"
    )
    return NeverFits.of(Failure(Kind.NEVER_FITS, message, model=group))


def _out_of_money(group: str, meter: Meter, wait: float) -> BudgetExceededError:
    spent, amount = meter.used / NANO, meter.limit.amount / NANO
    message = f"{group}: {meter.limit.label} is spent: ${spent:.6g} of ${amount:.6g}, and the most this call can cost is more than the rest"
    return BudgetExceededError.of(Failure(Kind.BUDGET, message, model=group, retry_after=wait))


def _passed_over(member: Member, waiting: Waiting, now: float) -> Candidate:
    if not waiting.may(member):
        return Candidate(member.id, math.inf, None)
    at, binding = earliest(member, waiting.costs_at(member), waiting.ask, waiting.scopes, now)
    return Candidate(member.id, at - now, label(binding))


def _use(account: Account, now: float) -> dict[str, Any]:
    limits = {meter.limit.label: _gauge(meter, now) for meter in account.meters}
    return {"in_flight": account.in_flight, "limits": limits}


def _gauge(meter: Meter, now: float) -> dict[str, float]:
    share = meter.share(now)
    return {"limit": meter.room, "used": share * meter.room, "share": share}


class _Lock:
    """A lock for arithmetic only, that somebody who cannot wait may leave work with."""

    __slots__ = ("_held", "_later")

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._later: deque[Callable[[], None]] = deque()

    def __enter__(self) -> None:
        self._held.acquire()

    def __exit__(self, *_: object) -> None:
        self._held.release()
        if self._later:
            self._work_off()

    def post(self, action: Callable[[], None]) -> None:
        """Have `action` done under the lock, without ever waiting for it: garbage collection may call from inside a
        locked section. Whoever holds the lock does what was left with it when he lets go."""
        self._later.append(action)
        self._work_off()

    def _work_off(self) -> None:
        while self._later and self._held.acquire(blocking=False):
            try:
                while self._later:
                    self._later.popleft()()
            finally:
                self._held.release()
