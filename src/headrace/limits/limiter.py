"""The scheduler: a call waits its turn, and is sent when every limit that applies has room for it.

All state lives under one short lock and is moved by whoever comes by: a caller arriving, one leaving, a call ending, and
the one waiter per group that keeps the time. No thread, no event loop of its own.
"""

from __future__ import annotations

import math
import random as random_module
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.errors import BadRequestError, Failure, Kind, NeverFits, QueueFull, QueueTimeout
from headrace.limits.account import Account, LearnSettings
from headrace.limits.limit import Charge, Limit, Used
from headrace.limits.meter import Hold, Meter, MeterSettings
from headrace.limits.profile import Profile, profile_of
from headrace.limits.queue import FairQueue, Place, Priority
from headrace.limits.view import QuotaView
from headrace.ports import Clock, Waiter


class LimiterSettings(Struct, frozen=True):
    """Parameters of the scheduler. Reasons: docs/limits.md."""

    look_ahead: int = 24
    """Waiting calls that are matched with deployments at once."""
    most_bypassed: int = 64
    """Times a call may be passed by ones that fit; then a deployment is kept for it."""
    max_queue: int = 1_000_000
    """Waiting calls per model group."""
    call_cost: float = 600.0
    """Tokens that a call counts in its tenant's turn besides its own."""
    meters: MeterSettings = MeterSettings()
    learn: LearnSettings = LearnSettings()


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
    only: frozenset[str] | None = None
    """Deployments it may go to; None for all of the group."""
    scopes: tuple[str, ...] = ()
    """Limits of our own that apply as well."""
    prefer: Callable[[str], float] | None = None
    """Cost of a deployment for this call, lower is better; decides while limits leave a choice."""


class Reservation(Struct, eq=False):
    """Room held for one call until it is settled."""

    deployment: str
    charge: Charge
    waited: float
    binding: str | None
    """The limit it waited for."""
    account: Account
    scopes: tuple[Account, ...]
    holds: list[list[Hold]]
    open: bool = True

    def __repr__(self) -> str:
        return f"<Reservation {self.deployment} waited {self.waited:.3f} s{'' if self.open else ' settled'}>"


class Availability(Struct, frozen=True):
    """What a call would find now."""

    waiting: int
    """Calls ahead of it."""
    wait: float
    """Seconds it would probably wait."""
    binding: str | None
    """The limit that would decide it."""


class _Waiting(Place, eq=False):
    """A call in the line."""

    ask: Ask | None = None
    since: float = 0.0
    until: float | None = None
    waiter: Waiter | None = None
    granted: Reservation | None = None
    binding: str | None = None


class _Deployment:
    """One deployment as the limiter sees it."""

    __slots__ = ("account", "id", "paused_until")

    def __init__(self, id: str, account: Account) -> None:
        self.id = id
        self.account = account
        self.paused_until = -math.inf

    def open_at(self, now: float) -> float:
        return max(self.account.open_at(now), self.paused_until)


class _Group:
    """The deployments that serve one model name, and who waits for them."""

    __slots__ = ("keeper", "members", "name", "queue", "wake_at")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: list[_Deployment] = []
        self.queue: FairQueue[_Waiting] = FairQueue()
        self.keeper: _Waiting | None = None
        """The one that keeps the time for all."""
        self.wake_at = math.inf


SHARPNESS: Final = 12
"""How suddenly a limit becomes dear as it fills: at 80 % a twentieth, at 95 % half of its full price."""


class Limiter:
    """One for all threads and event loops of a process."""

    def __init__(self, *, settings: LimiterSettings | None = None, random: random_module.Random | None = None) -> None:
        self.settings = settings or LimiterSettings()
        self._random = random or random_module.Random()
        self._lock = _Lock()
        self._groups: dict[str, _Group] = {}
        self._deployments: dict[str, _Deployment] = {}
        self._accounts: dict[str, Account] = {}
        self._scopes: dict[str, Account] = {}

    # ---- what there is

    def add(self, deployment: str, *, group: str, limits: Sequence[Limit], profile: Profile, account: str | None = None) -> None:
        """Let `deployment` serve `group`. Deployments of the same account share its limits."""
        with self._lock:
            ledger = self._account(account or deployment, limits, profile)
            ledger.deployments.add(deployment)
            member = self._deployments[deployment] = _Deployment(deployment, ledger)
            found = self._groups.setdefault(group, _Group(group))
            found.members.append(member)
            self._call_keeper(found)

    def _account(self, name: str, limits: Sequence[Limit], profile: Profile) -> Account:
        ledger = self._accounts.get(name)
        if ledger is None:
            ledger = self._accounts[name] = Account(name, limits, profile, self.settings.meters, self.settings.learn)
            return ledger
        known = {(meter.limit.unit, meter.limit.window) for meter in ledger.meters}
        ledger.meters += [Meter(limit, profile, self.settings.meters) for limit in limits if (limit.unit, limit.window) not in known]
        return ledger

    def remove(self, deployment: str) -> None:
        """Send nothing there any more; what is under way is settled as ever."""
        with self._lock:
            gone = self._deployments.pop(deployment, None)
            if gone is None:
                return
            gone.account.deployments.discard(deployment)
            if not gone.account.deployments:
                self._accounts.pop(gone.account.name, None)
            for group in self._groups.values():
                if gone in group.members:
                    group.members.remove(gone)
                    self._call_keeper(group)

    def add_scope(self, scope: str, limits: Sequence[Limit]) -> None:
        """Limits of our own (of a key, a team, everybody): exact, since we are the ones who count."""
        exact = MeterSettings(spread=0.0, tolerance=3600.0)
        with self._lock:
            self._scopes[scope] = Account(scope, limits, profile_of("local"), exact, self.settings.learn)

    # ---- waiting for room

    async def reserve(self, ask: Ask, clock: Clock) -> Reservation:
        """Room for one call, once it has some. Waits by the caller's own clock.

        Raises NeverFits, QueueFull, QueueTimeout (at once when its time cannot suffice), BadRequestError for an unknown group.
        """
        now = clock.now()
        with self._lock:
            group = self._group(ask.group)
            if not group.queue and (chosen := self._choose(group, ask, now)) is not None:
                return self._grant(chosen, ask, 0.0, None, now)
            waiting = self._enqueue(group, ask, now)
            self._match(group, now)
            if waiting.granted is not None:
                return waiting.granted
            waiting.waiter = clock.waiter()
        return await self._wait(group, waiting, clock)

    async def _wait(self, group: _Group, waiting: _Waiting, clock: Clock) -> Reservation:
        try:
            while True:
                timeout = self._next_look(group, waiting, clock.now())
                if waiting.granted is not None:
                    return waiting.granted
                assert waiting.waiter is not None
                await waiting.waiter.wait(timeout)
                self._look(group, waiting, clock.now())
        except BaseException:
            self._leave(group, waiting, clock.now())
            raise

    def _next_look(self, group: _Group, waiting: _Waiting, now: float) -> float | None:
        """Seconds until this waiter should look again, None to be woken: only the keeper watches the limits."""
        with self._lock:
            if group.keeper is None and waiting.granted is None:
                group.keeper = waiting
            at = math.inf if waiting.until is None else waiting.until
            if group.keeper is waiting:
                at = min(at, group.wake_at)
            return None if at == math.inf else max(0.0, at - now)

    def _look(self, group: _Group, waiting: _Waiting, now: float) -> None:
        """After a wait: serve whoever can be served, if it is our turn to. Raises QueueTimeout when our time is up."""
        with self._lock:
            if group.keeper is waiting and now >= group.wake_at:
                self._match(group, now)
            if waiting.granted is None and waiting.until is not None and now >= waiting.until:
                raise self._too_late(group, waiting.ask, now, waiting.since)

    def _leave(self, group: _Group, waiting: _Waiting, now: float) -> None:
        """The caller went away, queued or just served: free its place and its room."""
        self._lock.post(lambda: self._forget(group, waiting, now))

    def _forget(self, group: _Group, waiting: _Waiting, now: float) -> None:
        if waiting.granted is not None:
            self._settle(waiting.granted, None, now, False, None, ())
        group.queue.leave(waiting)
        if group.keeper is waiting:
            self._hand_over(group)

    # ---- choosing

    def _choose(self, group: _Group, ask: Ask, now: float) -> _Deployment | None:
        """A deployment that has room for the call at once: the preferred one, else the one with most room left."""
        open_now = [member for member in self._members(group, ask) if self._fits(member, ask, now)]
        if len(open_now) <= 1:
            return open_now[0] if open_now else None
        if ask.prefer is not None:
            return min(open_now, key=lambda member: ask.prefer(member.id))  # type: ignore[misc]
        if len(open_now) > 8:
            open_now = self._random.sample(open_now, 2)
        return min(open_now, key=lambda member: (self._load(member, now), member.account.in_flight, self._random.random()))

    def _members(self, group: _Group, ask: Ask) -> list[_Deployment]:
        if ask.only is None:
            return group.members
        return [member for member in group.members if member.id in ask.only]

    def _fits(self, member: _Deployment, ask: Ask, now: float) -> bool:
        return member.paused_until <= now and self._when(member, ask, now)[0] <= now

    def _when(self, member: _Deployment, ask: Ask, now: float) -> tuple[float, Meter | None]:
        """The moment at which the call fits into everything that applies, and the limit that decides it."""
        at, binding = member.account.when(ask.charge, now)
        at = max(at, member.paused_until)
        for name in ask.scopes:
            scope = self._scopes.get(name)
            if scope is not None:
                opens, meter = scope.when(ask.charge, now)
                if opens > at:
                    at, binding = opens, meter
        return at, binding

    def _load(self, member: _Deployment, now: float) -> float:
        """How full it is, by its fullest limit, in steps coarse enough for ties."""
        return max((round(meter.share(now), 2) for meter in member.account.meters), default=0.0)

    def _grant(self, member: _Deployment, ask: Ask, waited: float, binding: str | None, now: float) -> Reservation:
        scopes = tuple(self._scopes[name] for name in ask.scopes if name in self._scopes)
        holds = [ledger.take(ask.charge, now) for ledger in (member.account, *scopes)]
        return Reservation(member.id, ask.charge, waited, binding, member.account, scopes, holds)

    # ---- the line

    def _enqueue(self, group: _Group, ask: Ask, now: float) -> _Waiting:
        self._refuse_never(group, ask)
        if len(group.queue) >= self.settings.max_queue:
            message = f"{group.name}: {len(group.queue)} calls wait already, no more are taken (max_queue)"
            raise QueueFull.of(Failure(Kind.QUEUE_FULL, message, model=group.name, retry_after=self._estimate(group, ask, now)[0]))
        limits = [now + ask.max_wait] if ask.max_wait is not None else []
        until = min([*limits, ask.deadline] if ask.deadline is not None else limits, default=None)
        if until is not None and now + self._estimate(group, ask, now)[0] > until:
            raise self._too_late(group, ask, now, now)
        cost = ask.charge.input + min(ask.charge.max_output, 1024) + self.settings.call_cost
        waiting = _Waiting(ask.tenant, max(ask.weight, 1e-9), int(ask.priority), cost, ask=ask, since=now, until=until)
        group.queue.push(waiting)
        return waiting

    def _refuse_never(self, group: _Group, ask: Ask) -> None:
        """A call larger than a limit of every deployment it may go to."""
        members = self._members(group, ask) or group.members
        blocking = [member.account.never(ask.charge) for member in members]
        scoped = [meter for name in ask.scopes if name in self._scopes and (meter := self._scopes[name].never(ask.charge))]
        if not scoped and (not blocking or None in blocking):
            return
        meter = scoped[0] if scoped else max((m for m in blocking if m is not None), key=lambda m: m.room)
        size = meter.cost(ask.charge, ask.charge.input)
        message = (
            f"{group.name}: the call is larger than a whole limit: it needs {size:.0f} {meter.limit.unit.value}, and "
            f"{meter.limit.name} allows {meter.room:.0f}. Ask for fewer tokens (max_tokens), or raise {meter.limit.name}"
        )
        raise NeverFits.of(Failure(Kind.NEVER_FITS, message, model=group.name))

    def _too_late(self, group: _Group, ask: Ask | None, now: float, since: float) -> QueueTimeout:
        assert ask is not None
        wait, binding = self._estimate(group, ask, now)
        waited = f" after {now - since:.1f} s" if now > since else ""
        message = f"{group.name}: no room{waited}; {binding or 'its deployments'} will have some in about {wait:.1f} s"
        return QueueTimeout.of(Failure(Kind.QUEUE_TIMEOUT, message, model=group.name, retry_after=wait, scope=None))

    def _estimate(self, group: _Group, ask: Ask, now: float) -> tuple[float, str | None]:
        """Seconds the call would probably wait, and the limit that decides it."""
        at, binding = math.inf, None
        for member in self._members(group, ask):
            fits, meter = self._when(member, ask, now)
            if fits < at:
                at, binding = fits, meter
        if at == math.inf:
            at = now  # it waits for a running call to end: soon, but nobody knows when
        behind = len(group.queue) / max(self._rate(group), 1e-9) if group.queue else 0.0
        return max(at - now, behind), None if binding is None else binding.limit.name

    def _rate(self, group: _Group) -> float:
        """Calls a second that the group's limits on requests allow together; many where there are none."""
        rate = 0.0
        for member in group.members:
            rates = [m.limit.amount / m.limit.window for m in member.account.meters if m.limit.unit.value == "requests" and m.limit.window]
            rate += min(rates, default=1000.0)
        return rate

    # ---- matching those who wait with those who have room

    def _match(self, group: _Group, now: float) -> None:
        """Serve everybody who can be served now, and find out when to look again."""
        while group.queue:
            found = self._best(group, now)
            if found is None:
                break
            waiting, member = found
            self._serve(group, waiting, member, now)
        group.wake_at = self._wake_at(group, now) if group.queue else math.inf
        if group.keeper is None or group.keeper.gone:
            self._hand_over(group)

    def _serve(self, group: _Group, waiting: _Waiting, member: _Deployment, now: float) -> None:
        assert waiting.ask is not None
        group.queue.serve(waiting)
        waiting.granted = self._grant(member, waiting.ask, now - waiting.since, waiting.binding, now)
        if waiting.waiter is not None:
            waiting.waiter.wake()

    def _best(self, group: _Group, now: float) -> tuple[_Waiting, _Deployment] | None:
        """The pair that loses least: big calls go where tokens are plentiful, small ones where requests are."""
        open_now = [member for member in group.members if member.open_at(now) <= now]
        if not open_now:
            return None
        prices = {member.id: _prices(member.account, now) for member in group.members}
        ahead = group.queue.first(self.settings.look_ahead)
        best: tuple[_Waiting, _Deployment] | None = None
        least = math.inf
        for position, waiting in enumerate(ahead):
            assert waiting.ask is not None
            member, regret = self._cheapest(group, open_now, prices, waiting.ask, now)
            if member is not None and regret + 0.02 * position < least:
                best, least = (waiting, member), regret + 0.02 * position
            if waiting.bypassed >= self.settings.most_bypassed or least <= 0.02 * (position + 1):
                break  # nobody passes one that was passed too often; nobody further back can be better
        self._note_bypassed(ahead, best)
        return best

    def _note_bypassed(self, ahead: Sequence[_Waiting], best: tuple[_Waiting, _Deployment] | None) -> None:
        for waiting in ahead if best is not None else ():
            if best is not None and waiting is best[0]:
                return
            waiting.bypassed += 1

    def _cheapest(
        self, group: _Group, open_now: Sequence[_Deployment], prices: Mapping[str, Mapping[str, float]], ask: Ask, now: float
    ) -> tuple[_Deployment | None, float]:
        """The open deployment where the call costs least, and how much dearer it is than the cheapest of all."""
        fitting = [member for member in open_now if (ask.only is None or member.id in ask.only) and self._fits(member, ask, now)]
        if not fitting:
            return None, math.inf
        scores = {member.id: _score(prices[member.id], member.account, ask) for member in self._members(group, ask)}
        lowest = min(scores[member.id] for member in fitting)
        equal = [member for member in fitting if scores[member.id] <= lowest * 1.01]
        member = min(equal, key=lambda m: m.account.in_flight if ask.prefer is None else ask.prefer(m.id))
        least = min(scores.values())
        return member, (lowest - least) / least if least > 0 else lowest

    def _wake_at(self, group: _Group, now: float) -> float:
        """The next moment at which somebody ahead might fit; inf when only an ending call can make room."""
        at = math.inf
        for waiting in group.queue.first(8):
            assert waiting.ask is not None
            soonest, binding = math.inf, None
            for member in self._members(group, waiting.ask) or group.members:
                fits, meter = self._when(member, waiting.ask, now)
                if fits < soonest:
                    soonest, binding = fits, meter
            waiting.binding = waiting.binding or (None if binding is None else binding.limit.name)
            at = min(at, soonest)
        return max(at, now + 1e-4)

    def _hand_over(self, group: _Group) -> None:
        """Give the keeping of time to another waiter: the last in line, who keeps it longest."""
        last = self._last(group)
        group.keeper = last
        if last is not None and last.waiter is not None:
            last.waiter.wake()

    def _last(self, group: _Group) -> _Waiting | None:
        last: _Waiting | None = None
        for waiting in group.queue.all():
            if waiting.waiter is not None:
                last = waiting
        return last

    def _call_keeper(self, group: _Group) -> None:
        """Something changed for the better: have the line looked at."""
        group.wake_at = -math.inf
        if group.keeper is not None and group.keeper.waiter is not None:
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

    def _settle(
        self, reservation: Reservation, used: Used | None, now: float, sent: bool, failure: Failure | None, view: Sequence[QuotaView]
    ) -> None:
        if not reservation.open:
            return
        reservation.open = False
        account = reservation.account
        for ledger, holds in zip((account, *reservation.scopes), reservation.holds, strict=True):
            ledger.settle(reservation.charge, holds, used, sent, now)
        if failure is None:
            if sent:
                account.answered(view, now)
        elif failure.kind is Kind.RATE_LIMIT:
            account.refused(failure, now)
        self._after(account, now)

    def _after(self, account: Account, now: float) -> None:
        """Room may have come free: serve those who wait for it."""
        for group in self._groups.values():
            if group.queue and any(member.account is account for member in group.members):
                self._match(group, now)

    def pause(self, deployment: str, until: float, now: float) -> None:
        """Send nothing to one deployment before `until`; others of its account go on."""
        self._lock.post(lambda: self._pause(deployment, until, now))

    def _pause(self, deployment: str, until: float, now: float) -> None:
        member = self._deployments.get(deployment)
        if member is not None:
            member.paused_until = max(member.paused_until, until)

    def gate(self, deployment: str, until: float, now: float) -> None:
        """Hold the whole quota of a deployment until then, as a Retry-After asks."""
        self._lock.post(lambda: self._gate(deployment, until))

    def _gate(self, deployment: str, until: float) -> None:
        member = self._deployments.get(deployment)
        if member is not None:
            member.account.hold(until)

    # ---- looking

    def peek(self, ask: Ask, now: float) -> Availability:
        """What a call would find. Changes nothing."""
        with self._lock:
            group = self._group(ask.group)
            wait, binding = self._estimate(group, ask, now)
            return Availability(len(group.queue), wait, binding)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Every deployment's use of its limits and every group's queue, as plain values."""
        with self._lock:
            deployments = {
                member.id: {
                    "in_flight": member.account.in_flight,
                    "held": max(0.0, max(member.account.held_until, member.paused_until) - now),
                    "limits": {meter.limit.name: _gauge(meter, now) for meter in member.account.meters},
                }
                for member in self._deployments.values()
            }
            return {"deployments": deployments, "queues": {name: len(group.queue) for name, group in self._groups.items()}}

    def __repr__(self) -> str:
        waiting = sum(len(group.queue) for group in self._groups.values())
        return f"<Limiter {len(self._deployments)} deployments, {waiting} waiting>"

    def _group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None or not group.members:
            raise BadRequestError(f"no deployment serves {name!r}", name)
        return group


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


def _prices(account: Account, now: float) -> Mapping[str, float]:
    """The shadow price of one unit more, by unit: nothing while a limit is slack, steep as it fills."""
    return {meter.limit.name: meter.share(now) ** SHARPNESS / meter.room for meter in account.meters if meter.room}


def _score(prices: Mapping[str, float], account: Account, ask: Ask) -> float:
    input = account.input_of(ask.charge)
    return sum(prices[meter.limit.name] * meter.cost(ask.charge, input) for meter in account.meters if meter.limit.name in prices)


def _gauge(meter: Meter, now: float) -> dict[str, float]:
    share = meter.share(now)
    return {"limit": meter.room, "used": share * meter.room, "share": share}
