"""Limits shared by many processes: the local limiter is the first gate, the shared accounting is the second.

The local gate has the queue, fairness and choice of deployment. A call that it admits asks the store. If the store
refuses, the call returns to the front of its queue, and the quota is held here until the moment that the store named.
Reasons: docs/decisions/0014-one-limit-for-many-processes.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final

from msgspec import structs

from headrace.errors import Failure, HeadraceError, Kind
from headrace.limits.account import Taken
from headrace.limits.ask import Ask
from headrace.limits.limit import Unit, Used
from headrace.limits.limiter import Limiter
from headrace.limits.members import Reservation, Seat
from headrace.limits.meter import Hold
from headrace.limits.presence import Presence
from headrace.limits.question import HORIZON, Question, answers_to, question
from headrace.limits.queue import Priority
from headrace.limits.quota import (
    KEEPS,
    LONG_LEASE,
    Held,
    Quota,
    ending,
    given_back,
    key_of,
    owe,
    pause_of,
    tag_of,
    term_of,
    tolerance,
)
from headrace.limits.refusals import no_room, out_of_money
from headrace.limits.scheduler import label
from headrace.limits.store import (
    Answer,
    Store,
    StoreLost,
    Term,
    closing,
    delaying,
    micros,
    resting,
)
from headrace.limits.tabs import Tabs
from headrace.limits.turns import SharedAdmission
from headrace.limits.view import QuotaView
from headrace.ports import Clock

LATE: Final = 0.1
"""Seconds by which a call may be sent later than it was charged in the store."""
MOST_ASKING: Final = 8
"""Concurrent questions about one quota. If one is refused, those behind it need not be asked."""


class SharedLimiter(Limiter):
    """A limiter whose limits hold for all processes that use the same store."""

    admissions = SharedAdmission
    _admission: SharedAdmission

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(**options)
        self._store = store
        self._confirmed: dict[int, list[Held]] = {}
        self._unsure: dict[int, Reservation] = {}
        """Reservations admitted here that have not heard from the store."""
        self._ids = count(1)
        self.presence = Presence(store, self._lock, self._roster, self._admission, self._unsure, self._rest_as_told)
        self._tabs = Tabs(self._lock, self.presence.blocks)

    @property
    def lost(self) -> bool:
        """Whether the store is lost at present, and only this process's share of each limit is used."""
        return self.presence.lost

    def charge_scope(self, scope: str, money: int, now: float) -> None:
        """Charges the local account only.

        Every process is told of such spending, and the spending of calls is in the store already.
        """
        super().charge_scope(scope, money, now)
        with self._lock:
            account = self._roster.scope(scope)
            for meter in account.meters:
                if meter.counts_money:
                    self.presence.quota(account).spent_outside(meter, money)

    # ---- the two gates

    def at_once(self, seat: Seat, ask: Ask, now: float) -> Reservation | None:
        """A reservation on a block, without asking the store; None if it must be asked."""
        self.presence.begin(now)
        group, lock = seat.group, self._lock
        if group.line.length or self.lost:
            return None
        with lock.held:
            found = self._admission.on_tabs(seat, ask, self._tabs, now)
            if found is not None and found.put is not None:
                for block in found.put.slate.blocks:
                    block.calls += 1
                    block.running += 1
                    if block.calls == block.renewed_after:
                        self._tabs.close()
                        self.presence.blocks.renew(block, found.charge, now)
        if lock.left:
            lock.work_off()
        return found

    async def reserve(self, ask: Ask, clock: Clock) -> Reservation:
        """A reservation for one call, here and in the shared accounting. Raises as `Limiter.reserve`."""
        began = clock.now()
        found = self.at_once(self.look(lambda _: self._seat(ask.group, ask.scopes), began), ask, began)
        if found is not None:
            return found
        if ask.max_wait is not None:
            until = began + ask.max_wait
            ask = structs.replace(ask, deadline=until if ask.deadline is None else min(until, ask.deadline), max_wait=None)
        while True:
            reservation = await super().reserve(ask, clock)
            self._unsure[reservation.id] = reservation
            try:
                refused = await self._confirm(ask, reservation, clock)
            except BaseException:
                self.release(reservation, clock.now())
                raise
            finally:
                self._unsure.pop(reservation.id, None)
            now = clock.now()
            if refused is None:
                reservation.waited = now - began if ask.again else reservation.waited
                return reservation
            ask = structs.replace(ask, again=True)
            self._put_back(reservation, now)
            await clock.sleep(0)  # lets those that asked later return first, so that they are behind it again

    async def _confirm(self, ask: Ask, reservation: Reservation, clock: Clock) -> str | None:
        """None if the shared accounting has room for the call, otherwise the label of the limit without room.

        "" if no limit is known.
        """
        shares = self._shares(reservation, clock.now())
        refused = None
        if shares:
            refused = await self._asked(shares, ask, reservation, clock)
        if refused is None:
            self._admission.heard(reservation)
        return refused

    async def _asked(self, shares: Mapping[Quota, Taken], ask: Ask, reservation: Reservation, clock: Clock) -> str | None:
        """Ask the store, or, while it is lost, decide by this process's share."""
        if self._outdated(shares.values()):
            return ""
        if self.lost:
            self._by_share(shares, reservation)
            return None
        return await self._room(shares, ask, reservation, clock)

    def _outdated(self, all_taken: Iterable[Taken]) -> bool:
        """Whether a call was admitted before limits were reduced to our share.

        It then goes back to the queue, even if the store has returned.
        """
        return any(taken.at < self.presence.shrunk_at for taken in all_taken)

    def _shares(self, reservation: Reservation, now: float) -> dict[Quota, Taken]:
        """What the call takes of each shared quota, always in the same order, so that calls cannot wait for each other."""
        scopes = sorted(reservation.scopes, key=lambda scope: scope[0].name)
        shares = {self.presence.quota(account): taken for account, taken in [*scopes, (reservation.ledger.account, reservation.taken)]}
        for quota in shares:
            quota.asked_at = now
        return {quota: taken for quota, taken in shares.items() if quota.account.meters}

    async def _room(self, shares: Mapping[Quota, Taken], ask: Ask, reservation: Reservation, clock: Clock) -> str | None:
        """The store's decision, as in `_confirm`; "" if asking became pointless meanwhile, or the store does not answer."""
        asking: list[Quota] = []
        questions: Sequence[Question] = ()
        shut = set(shares)
        try:
            for quota in shares:
                if not await quota.turns.may_ask(1 if quota.fresh else MOST_ASKING, clock, self._lock):
                    shut.clear()
                    return ""
                asking.append(quota)
            began = clock.now()
            if any(quota.shut_until > began for quota in shares):
                shut = {quota for quota in shares if quota.shut_until > began}
                return ""
            questions = self._questions(shares, ask, began)
            answers = await answers_to(self._store, [one.claim for one in questions], clock, partial(self._give_back, questions))
            shut = {one.quota for one, answer in zip(questions, answers, strict=True) if answer is not None and not answer.granted}
        except StoreLost:
            self.presence.lose(clock.now())
            return ""
        finally:
            with self._lock:
                for one in questions:
                    one.quota.asking.discard(one.claim.id)
                for quota in asking:
                    quota.turns.asked(in_vain=quota in shut)
        return await self._heard(questions, answers, ask, reservation, clock)

    def _questions(self, shares: Mapping[Quota, Taken], ask: Ask, now: float) -> list[Question]:
        id = f"{self.presence.process}.{next(self._ids):x}"
        with self._lock:
            line = self._roster.groups[ask.group].line
            process, more = self.presence.process, bool(line)
            questions = [question(process, id, quota, taken, ask, now, more=more) for quota, taken in shares.items()]
            for quota in shares:
                quota.asking.add(id)
            return questions

    def _give_back(self, questions: Sequence[Question], at: int, answer: Answer) -> None:
        """Give back what was granted to a caller that has gone, or by a store that has lost its data."""
        self._store.post(given_back(questions[at].held(answer)))

    async def _heard(
        self,
        questions: Sequence[Question],
        answers: Sequence[Answer | None],
        ask: Ask,
        reservation: Reservation,
        clock: Clock,
    ) -> str | None:
        """Record what was granted, and wait until it may go. Returns a refusal as `_confirm` does."""
        pairs = [(one, answer) for one, answer in zip(questions, answers, strict=True) if answer is not None]
        now, refused = clock.now(), None
        same = all(self.presence.same_books(one.quota, answer.born, now) for one, answer in pairs)
        if not same or self._outdated([one.taken for one in questions]):
            for at, answer in enumerate(answers):
                if answer is not None and answer.granted:
                    self._give_back(questions, at, answer)
            if not same:
                self.presence.lose(now)  # it has lost what was charged
            return ""
        start = 0.0
        for one, answer in pairs:
            self._heed(one.quota, answer, one.terms, ask, now)
            if answer.granted:
                self._hold(reservation, one.held(answer))
                start = max(start, answer.start)
            else:
                refused = self._refused(answer, one.terms, ask)
        if refused is None:
            if start > 0:
                await clock.sleep(start)
            self.leaves(reservation, clock.now())
        return refused

    def _hold(self, reservation: Reservation, held: Held) -> None:
        with self._lock:
            self._confirmed.setdefault(reservation.id, []).append(held)
            held.quota.held[held.id] = held

    async def take_also(self, ask: Ask, reservation: Reservation, scope: str, clock: Clock) -> HeadraceError | None:
        """Also in the shared accounting."""
        refused = await super().take_also(ask, reservation, scope, clock)
        if refused is not None:
            return refused
        account, taken = reservation.scopes[-1]
        quota = self.presence.quota(account)
        quota.asked_at, shares = clock.now(), {quota: taken}
        try:
            binding = await self._asked(shares, ask, reservation, clock)
        except HeadraceError as error:  # the budget is spent
            return error
        if binding is None:
            return None
        with self._lock:
            at, meter = account.when(account.costs(reservation.charge), clock.now(), False)
        return no_room(reservation.deployment, None, meter, max(at, quota.shut_until) - clock.now())

    def leaves(self, reservation: Reservation, now: float) -> None:
        """Report the time of sending.

        On a busy machine the store's reply, the waiting caller or the socket may be late; the provider counts the call
        from when it is sent, and so do the local and the shared accounting.
        """
        super().leaves(reservation, now)
        for taken in reservation.all_taken():
            if taken.block is not None and now - taken.block.until > LATE:
                self._lock.post(self.presence.blocks.moves, taken, now)
        for held in self._confirmed.get(reservation.id, ()):
            late = now - held.left
            if late > LATE and held.stored and not self.lost:
                at, held.at, held.left = held.at, held.at + micros(late), now
                terms = [term for _, term in held.terms]
                self._store.post(delaying(held.quota.tag, held.id, at, held.at, LONG_LEASE, terms, patience=KEEPS))

    def _by_share(self, shares: Mapping[Quota, Taken], reservation: Reservation) -> None:
        """While the store is lost, our share decides, and it admitted this call."""
        id = f"{self.presence.process}.{next(self._ids):x}"
        for quota, taken in shares.items():
            terms = tuple([(hold, term_of(quota, hold)) for hold in taken.holds])
            self._hold(reservation, Held(quota, id, 0.0, taken.left, taken, terms, stored=False))
            quota.granted(reservation.taken.at)

    @staticmethod
    def _refused(answer: Answer, terms: Sequence[tuple[Hold, Term]], ask: Ask) -> str:
        meter = None if answer.binding is None else terms[answer.binding][0].meter
        if meter is not None and meter.limit.unit is Unit.MONEY and answer.in_flight == 0:
            raise out_of_money(ask.group, meter, answer.turn)
        return label(meter) or ""

    def _put_back(self, reservation: Reservation, now: float) -> None:
        """Give back a refused call's reservation here, including its tenant's virtual time."""
        with self._lock:
            self._admission.put_back(reservation)
        self.release(reservation, now)

    def _heed(self, quota: Quota, answer: Answer, terms: Sequence[tuple[Hold, Term]], ask: Ask, now: float) -> None:
        """Update the local accounting from the shared one, and schedule the next question for our turn."""
        urgent = ask.priority <= Priority.INTERACTIVE
        with self._lock:
            quota.in_flight = answer.in_flight
            if answer.granted:
                quota.granted(now)
            for (hold, term), used, debt, ever in zip(terms, answer.used, answer.debt, answer.ever, strict=True):
                quota.saw(term, now, used if term.window else answer.in_flight, debt, ever)
                quota.saw_money(hold.meter, used, now)
                if term.key == key_of(hold.meter, hold.meter.limit.window):
                    quota.saw_others(hold.meter, used if term.window else answer.in_flight, now)
                owe(hold.meter, now + debt if term.rate else -math.inf)
            quota.fresh = False
            if not answer.granted and quota.block is not None:
                self.presence.blocks.end(quota.block, now)  # other calls wait for what it does not use
            full = answer.binding is not None and terms[answer.binding][0].meter.counts_running
            for hold, term in terms:
                if not term.window:
                    places = hold.meter.running + answer.left - (not answer.granted)
                    hold.meter.offer(places, now + answer.turn if full else now)
            if answer.turn > 0 and not full:
                quota.turn, quota.fresh = answer.until, True
                pause = pause_of(quota, answer, terms)
                until = now + pause
                quota.shut(until)
                for hold, _ in terms:
                    owe(hold.meter, until + tolerance(hold, urgent, now) - HORIZON)

    # ---- settling

    def _settle(
        self, reservation: Reservation, used: Used | None, now: float, sent: bool, failure: Failure | None, view: Sequence[QuotaView]
    ) -> None:
        if not reservation.open:
            return
        self._admission.heard(reservation)
        reservation.itemise()
        before = [(taken, [(hold.charged, hold.expected) for hold in taken.holds]) for taken in reservation.all_taken() if taken.block]
        # other processes' use is in the shared accounting; while the store is lost, it is their share: it is not use by
        # other clients
        view = [structs.replace(one, remaining=None) for one in view]
        served = len(self._admission.places)
        super()._settle(reservation, used, now, sent, failure, view)
        for taken, stood in before:
            self.presence.blocks.settled(taken, stood)
        followed = len(self._admission.places) > served
        for held in self._confirmed.pop(reservation.id, ()):
            held.quota.held.pop(held.id, None)
            if not self.lost and held.at:
                self._store.post(ending(held, used, sent, failure, now, followed=followed))
        account = reservation.ledger.account
        if failure is not None and failure.kind is Kind.RATE_LIMIT and sent and not self.lost:
            wait = failure.retry_after if failure.retry_after is not None else min(60.0, account.held_until - now)
            if wait > 0:
                self._store.post(closing(self.presence.quota(account).tag, wait))

    # ---- cooldowns

    def _rest_as_told(self, quota: Quota, rests: Mapping[str, float], now: float) -> None:
        """Apply cooldowns of deployments that other processes reported, until one of them ends."""
        for member in [member for member in self._roster.members.values() if member.account is quota.account]:
            left = rests.get(tag_of(member.id))
            if left is not None:
                quota.resting.add(member.id)
                super()._pause(member.id, now + left, now)
            elif member.id in quota.resting:
                quota.resting.discard(member.id)
                super()._pause(member.id, now, now)

    def pause(self, deployment: str, until: float, now: float) -> None:
        """Pause it here and in every process that shares the deployment's limits."""
        super().pause(deployment, until, now)
        self._tell_of(deployment, until - now)

    def resume(self, deployment: str, now: float) -> None:
        super().resume(deployment, now)
        self._tell_of(deployment, 0.0)

    def _tell_of(self, deployment: str, seconds: float) -> None:
        """Report a cooldown, or its end, to the other processes."""
        member = self._roster.members.get(deployment)
        if member is not None and not self.lost:
            self._store.post(resting(self.presence.quota(member.account).tag, tag_of(deployment), seconds))
