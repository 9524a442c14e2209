"""The limiter: one lock around the roster of accounts and the admission of calls.

All work is done by whoever enters: an arriving caller, one that leaves, a call that ends, and the one waiter per group
that watches the time. It has no thread and no event loop of its own.
"""

from __future__ import annotations

import math
import random as random_module
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from headrace.errors import Failure, HeadraceError, Kind
from headrace.limits.account import Account
from headrace.limits.admission import Admission, LimiterSettings
from headrace.limits.ask import URGENT, Ask, Availability
from headrace.limits.left import Left, left_of
from headrace.limits.limit import Limit, Used
from headrace.limits.lock import Lock
from headrace.limits.members import Group, Reservation, Seat, Waiting
from headrace.limits.profile import Profile
from headrace.limits.refusals import broke, estimate, hopeless, line_is_full, no_room, too_late
from headrace.limits.roster import Place, Roster
from headrace.limits.scheduler import passed_over
from headrace.limits.tabs import Put, Tabs
from headrace.limits.tabs import settle as settle_together
from headrace.limits.view import QuotaView
from headrace.ports import Clock

T = TypeVar("T")


class Limiter:
    """One limiter for all threads and event loops of a process."""

    admissions: ClassVar[type[Admission]] = Admission

    def __init__(
        self,
        *,
        settings: LimiterSettings | None = None,
        random: random_module.Random | None = None,
        on_queued: Callable[[Ask, float, Callable[[], Availability]], None] | None = None,
    ) -> None:
        """on_queued: called for each call that has to wait, with the time and a function that returns its `Availability`."""
        self.settings = settings = settings or LimiterSettings()
        self._on_queued = on_queued
        self._lock = Lock()
        self._roster = Roster(settings.meters, settings.learn)
        self._admission = self.admissions(settings, random or random_module.Random())
        self._tabs = Tabs(self._lock)

    # ---- configuration

    def add(
        self,
        deployment: str,
        *,
        group: str | Sequence[str],
        limits: Sequence[Limit],
        profile: Profile,
        account: str | None = None,
        provider: str = "",
    ) -> None:
        """Add a deployment that serves one or more groups.

        Deployments of the same account share its limits. Accounts of the same provider, under any name, learn from each
        other how it enforces limits.
        """
        groups = (group,) if isinstance(group, str) else tuple(group)
        self.swap((), [Place(deployment, groups, limits, profile, account, provider)])

    def remove(self, deployment: str) -> None:
        """Remove a deployment. Calls in flight are settled as usual; waiting calls that can go nowhere else are refused."""
        self.swap([deployment], ())

    def swap(self, gone: Iterable[str], come: Iterable[Place]) -> None:
        """Remove and add atomically.

        A waiting call sees the final state, and is refused only if nothing in it can serve the call.
        """
        with self._lock:
            for group in self._roster.swap(gone, come):
                self._admission.look_again(group)

    def add_scope(self, scope: str, limits: Sequence[Limit]) -> None:
        """Add a scope: limits of the user's own (of a key, a team, all callers), enforced exactly.

        Adding it again replaces its limits.
        """
        with self._lock:
            if self._roster.add_scope(scope, limits):
                for group in self._roster.groups.values():
                    self._admission.look_again(group)

    def charge_scope(self, scope: str, money: int, now: float) -> None:
        """Charge money that was spent elsewhere. Raises ConfigurationError for an unknown scope."""
        with self._lock:
            self._roster.scope(scope).spend(money, now)

    def remove_scope(self, scope: str) -> None:
        """Remove a scope; calls that name it are refused from now on."""
        with self._lock:
            self._roster.scopes.pop(scope, None)

    # ---- reserving

    async def reserve(self, ask: Ask, clock: Clock) -> Reservation:
        """A reservation for one call, as soon as it fits. Waits by the caller's own clock.

        Raises NeverFits, QueueFull, QueueTimeout (at once if its time cannot suffice), BudgetExceededError,
        BadRequestError for an unknown group, ConfigurationError for an unknown scope.
        """
        found = self._join(ask, clock)
        if isinstance(found, Reservation):
            return found
        try:
            waiter = found.waiter = clock.waiter()
            if self._on_queued is not None:
                self._on_queued(ask, found.since, lambda: self._look_at(found, clock.now()))
            while found.granted is None:
                await waiter.wait(self._next_look(found, clock.now()))
                if found.granted is None:
                    self._look(found, clock.now())
            self.leaves(found.granted, clock.now())
            return found.granted
        except BaseException:
            self._lock.post(self._forget, found, clock.now())
            raise

    def seat(self, group: str, scopes: Sequence[str]) -> Seat:
        """A reusable handle for calls of that group and scopes, for `at_once`.

        Raises BadRequestError and ConfigurationError as `reserve` does.
        """
        with self._lock:
            return self._seat(group, scopes)

    def _seat(self, group: str, scopes: Sequence[str]) -> Seat:
        return Seat(self._roster.group(group), tuple([self._roster.scope(name) for name in scopes]))

    def at_once(self, seat: Seat, ask: Ask, now: float) -> Reservation | None:
        """A reservation without waiting; None if the call has to wait, which `reserve` does.

        seat: that of the ask's group and scopes, valid as long as these exist.
        """
        group, lock, admission = seat.group, self._lock, self._admission
        if group.line.length:
            return None
        with lock.held:
            found = admission.on_tabs(seat, ask, self._tabs, now)
            if found is None and not group.line.length:
                if lock.before is not None:
                    lock.before()
                found = admission.at_once(group, ask, seat.scopes, now)
        if lock.left:
            lock.work_off()
        return found

    def _join(self, ask: Ask, clock: Clock) -> Reservation | Waiting:
        """A reservation at once, or a place in the queue."""
        now, roster = clock.now(), self._roster
        with self._lock:
            group = roster.groups.get(ask.group) or roster.group(ask.group)
            scopes = self._roster.scopes_of(ask) if ask.scopes else ()
            if not group.line.length:
                reservation = self._admission.at_once(group, ask, scopes, now)
                if reservation is not None:
                    return reservation
            waiting = self._waiting(group, ask, scopes, now)
            in_vain = hopeless(group, waiting, now, self.settings.call_cost)
            self._admission.join(waiting, now)
            if waiting.granted is not None:
                return waiting.granted
            if in_vain is not None:
                group.line.leave(waiting)
                raise in_vain
            group.waiters[waiting] = None
            return waiting

    def _waiting(self, group: Group, ask: Ask, scopes: tuple[Account, ...], now: float) -> Waiting:
        """The call as it joins the queue. Raises the reason if it is refused."""
        waiting = _in_line(group, ask, scopes, now, self.settings.call_cost)
        error = self._admission.never(waiting) or broke(group, waiting, now, self.settings.call_cost)
        if error is None and group.line.length >= self.settings.max_queue:
            error = line_is_full(group, waiting, now, self.settings.call_cost)
        if error is not None:
            raise error
        return waiting

    def leaves(self, reservation: Reservation, now: float) -> None:
        """Report that the call is sent only now, on a busy thread perhaps much later than it was admitted.

        Its provider counts it from now.
        """
        if reservation.put is not None:
            if now - reservation.put.at <= self.settings.drowsy:
                return
            with self._lock:
                reservation.itemise()
        if now - reservation.taken.left > self.settings.drowsy:
            self._lock.post(self._delay, reservation, now)

    @staticmethod
    def _delay(reservation: Reservation, now: float) -> None:
        if reservation.open:
            reservation.itemise()
            reservation.ledger.account.delay(reservation.taken, now)

    def _next_look(self, waiting: Waiting, now: float) -> float | None:
        """Seconds until this waiter should look again; None to wait until woken: only the keeper watches the time."""
        group = waiting.group
        keeper = group.keeper
        if keeper is not None and keeper is not waiting and waiting.until == math.inf and waiting.refused is None:
            return None  # the next keeper is woken
        with self._lock:
            if waiting.refused is not None:
                raise waiting.refused
            if group.keeper is None and waiting.granted is None:
                group.keeper = waiting
            at = min(waiting.until, group.wake_at) if group.keeper is waiting else waiting.until
            return None if at == math.inf else max(0.0, at - now)

    def _look(self, waiting: Waiting, now: float) -> None:
        """After a wait: serve waiting calls if it is this waiter's task. Raises QueueTimeout if its time is up."""
        group = waiting.group
        with self._lock:
            due = group.wake_at if group.keeper is waiting else group.wake_at - self.settings.nap
            if now >= due and (group.keeper is waiting or now >= waiting.until):
                self._admission.match(group, now)
            if waiting.granted is None and waiting.refused is None and now >= waiting.until:
                raise too_late(group, waiting, now, self.settings.call_cost)

    def _forget(self, waiting: Waiting, now: float) -> None:
        """The caller left, while queued or just admitted: free its place and its reservation."""
        if waiting.granted is not None:
            self._settle(waiting.granted, None, now, False, None, ())
        self._admission.leave(waiting, now)

    # ---- settling

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
        """End a reservation with the actual usage (None if unknown). Settling again does nothing. Never blocks."""
        put, plain = reservation.put, sent and failure is None and not (view and reservation.heard)
        if put is None or used is None or not plain or not self._settle_together(reservation, put, used, now):
            self._lock.post(self._settle, reservation, used, now, sent, failure, view)

    def _settle_together(self, reservation: Reservation, put: Put, used: Used, now: float) -> bool:
        """Settle a reservation that is only on tabs.

        Returns False if more has to be done: calls wait for its room, or limits may change.
        """
        ledger, held = reservation.ledger, self._lock.held
        if self._roster.crowd.size:
            groups = ledger.groups if len(put.slate.tabs) == 1 else self._roster.groups
            if any(group.line.length for group in groups.values()):
                return False
        if ledger.learner.eases(now) or not held.acquire(False):
            return False
        try:
            if reservation.open:
                reservation.open = False
                settle_together(put, used, now)
                ledger.learner.passed(put.at, now)
        finally:
            held.release()
        if self._lock.left:
            self._lock.work_off()
        return True

    def release(self, reservation: Reservation, now: float) -> None:
        """End a reservation whose call was never sent."""
        self.settle(reservation, used=None, sent=False, now=now)

    def progress(self, reservation: Reservation, output_tokens: int, now: float) -> None:
        """Report the output tokens written so far: they count at once where output counts as it is written."""
        self._lock.post(self._progress, reservation, output_tokens, now)

    @staticmethod
    def _progress(reservation: Reservation, output_tokens: int, now: float) -> None:
        if reservation.open:
            reservation.itemise()
            reservation.ledger.account.progress(reservation.taken, output_tokens, now)

    def _settle(
        self, reservation: Reservation, used: Used | None, now: float, sent: bool, failure: Failure | None, view: Sequence[QuotaView]
    ) -> None:
        if not reservation.open:
            return
        reservation.open = False
        reservation.itemise()
        ledger, taken = reservation.ledger, reservation.taken
        ledger.account.settle(taken, used, sent, failure, now)
        for scope, held in reservation.scopes:
            scope.settle(held, used, sent, failure, now)
        if failure is None:
            if sent:
                ledger.learner.answered(taken, view, now)
        elif failure.kind is Kind.RATE_LIMIT:
            ledger.learner.refused(failure, taken, view, now)
        if self._roster.crowd.size:
            for group in self._roster.groups.values() if reservation.scopes else ledger.groups.values():
                if group.line.length:
                    self._room_came(group, reservation, now)

    def _room_came(self, group: Group, reservation: Reservation, now: float) -> None:
        """Admit waiting calls to the room of an ended call."""
        account, scopes, admission = reservation.ledger.account, reservation.scopes, self._admission
        if scopes:
            admission.look(group, now, at_once=account.was_full() or any(scope.was_full() for scope, _ in scopes))
        else:
            admission.room_came(group, account, now)
        if reservation.charge.money:
            admission.refuse_the_broke(group, now)

    async def take_also(self, ask: Ask, reservation: Reservation, scope: str, clock: Clock) -> HeadraceError | None:
        """Reserve under one more scope, which depends on the chosen deployment.

        Returns None on success, else the error; then the reservation must be released. QueueTimeout means that money is
        only reserved by other calls, and may come back.
        """
        now = clock.now()
        with self._lock:
            account, charge = self._roster.scope(scope), reservation.charge
            costs = account.costs(charge)
            at, binding = account.when(costs, now, False)
            reservation.itemise()
            if at <= now and reservation.open:
                reservation.scopes = (*reservation.scopes, (account, account.take(charge, costs, now, False)))
                return None
            return no_room(reservation.deployment, account.spent(costs, now), binding, at - now)

    # ---- pausing deployments

    def pause(self, deployment: str, until: float, now: float) -> None:
        """Send nothing to one deployment before `until`, replacing any earlier pause; others of its account continue."""
        self._lock.post(self._pause, deployment, until, now)

    def resume(self, deployment: str, now: float) -> None:
        """End the pause of a deployment."""
        self._lock.post(self._pause, deployment, now, now)

    def _pause(self, deployment: str, until: float, now: float) -> None:
        member = self._roster.members.get(deployment)
        if member is None:
            return
        sooner, member.paused_until = max(until, now) < member.paused_until, until
        if sooner:
            for name in member.groups:
                self._admission.match(self._roster.groups[name], now)

    def gate(self, deployment: str, until: float, now: float) -> None:
        """Hold the whole quota of a deployment until then, as a Retry-After asks."""
        self._lock.post(self._gate, deployment, until)

    def _gate(self, deployment: str, until: float) -> None:
        member = self._roster.members.get(deployment)
        if member is not None:
            member.account.held_until = max(member.account.held_until, until)

    # ---- introspection

    def peek(self, ask: Ask, now: float) -> Availability:
        """What a call would find now. Changes nothing."""
        with self._lock:
            group = self._roster.group(ask.group)
            return self._availability(_in_line(group, ask, self._roster.scopes_of(ask), now, 0.0), now)

    def _look_at(self, waiting: Waiting, now: float) -> Availability:
        with self._lock:
            return self._availability(waiting, now)

    def _availability(self, waiting: Waiting, now: float) -> Availability:
        ask, group = waiting.ask, waiting.group
        wait, binding = estimate(group, waiting, now, self.settings.call_cost)
        ahead = group.line.ahead_of(ask.tenant, ask.weight, int(ask.priority), 0.0)[0]
        position = max(1, round(ahead)) if waiting in group.waiters else 1 + round(ahead)
        rooms = {member.id: passed_over(member, waiting, now) for member in group.members if waiting.may(member)}
        deployments = {id: (found.wait, found.binding) for id, found in rooms.items()}
        return Availability(group.line.length, position, wait, binding, deployments)

    def snapshot(self, now: float) -> dict[str, Any]:
        """The usage of limits by deployment and scope, and the queue of each group, as plain values."""
        with self._lock:
            return self._roster.snapshot(now)

    def left(self, scopes: Iterable[str], now: float) -> list[Left]:
        """What is left under each limit of these scopes; unknown scopes are skipped."""
        with self._lock:
            accounts = [self._roster.scopes[name] for name in scopes if name in self._roster.scopes]
            return [left_of(meter, now) for account in accounts for meter in account.meters]

    def look(self, look: Callable[[float], T], now: float) -> T:
        """The result of `look`, called under the lock without closing open tabs."""
        with self._lock.held:
            found = look(now)
        if self._lock.left:
            self._lock.work_off()
        return found

    def __repr__(self) -> str:
        waiting = sum(group.line.length for group in self._roster.groups.values())
        return f"<Limiter {len(self._roster.members)} deployments, {waiting} waiting>"


def _in_line(group: Group, ask: Ask, scopes: tuple[Account, ...], now: float, call_cost: float) -> Waiting:
    """The place in the queue that a call takes, or would take."""
    allowed = group.allowed(ask)
    deadline = math.inf if ask.deadline is None else ask.deadline
    return Waiting(
        ask.tenant,
        max(ask.weight, 1e-9),
        int(ask.priority),
        ask.charge.input + min(ask.charge.max_output, 1024) + call_cost,
        ask=ask,
        group=group,
        scopes=scopes,
        allowed=allowed,
        urgent=ask.priority <= URGENT,
        since=now,
        until=deadline if ask.max_wait is None else min(deadline, now + ask.max_wait),
        lane=(ask.scopes, allowed) if scopes or allowed is not None else None,
    )
