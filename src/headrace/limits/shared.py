"""One limit over many processes: the local limiter is the first gate, the shared books are the second.

The local gate keeps queue, fairness and choice of deployment. What it lets through asks the store; a call that is refused there goes
back to the front of its line, and the quota is held here until the moment the store named.
Reasons: docs/decisions/0014-one-limit-for-many-processes.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from msgspec import structs

from headrace.errors import Failure, Kind
from headrace.limits.account import Taken
from headrace.limits.ask import Ask
from headrace.limits.limit import Unit, Used
from headrace.limits.limiter import Limiter
from headrace.limits.members import Reservation
from headrace.limits.meter import Hold
from headrace.limits.presence import LEASE, Presence
from headrace.limits.queue import Priority
from headrace.limits.quota import (
    KEEPS,
    LONG_LEASE,
    Held,
    Quota,
    ending,
    given_back,
    owe,
    pause_of,
    tag_of,
    term_of,
    terms_of,
    tolerance,
)
from headrace.limits.refusals import out_of_money
from headrace.limits.scheduler import label
from headrace.limits.store import (
    Answer,
    Claim,
    Store,
    StoreLost,
    Term,
    closing,
    delaying,
    micros,
    resting,
)
from headrace.limits.turns import SharedUsher
from headrace.limits.view import QuotaView
from headrace.ports import Clock

HORIZON: Final = 0.6
"""Seconds ahead that the store may promise room for."""
LATE: Final = 0.1
"""Seconds by which a call may leave later than the shared books have it."""
MOST_ASKING: Final = 8
"""Questions about one quota under way at once; when one is refused, those behind it need not be asked."""


class SharedLimiter(Limiter):
    """A limiter whose limits hold for all processes that use the same store."""

    ushers = SharedUsher
    _usher: SharedUsher

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(**options)
        self._store = store
        self._confirmed: dict[int, list[Held]] = {}
        self._unsure: dict[int, Reservation] = {}
        """Those that are let through here and have not heard from the store."""
        self._ids = count(1)
        self.presence = Presence(store, self._lock, self._roster, self._usher, self._unsure, self._rest_as_told)

    @property
    def lost(self) -> bool:
        """Whether the store is lost at present, and only our share of each limit is used."""
        return self.presence.lost

    # ---- the two gates

    async def reserve(self, ask: Ask, clock: Clock) -> Reservation:
        """Room for one call, here and on the shared books. Raises as `Limiter.reserve`."""
        began = clock.now()
        self.presence.begin(began)
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
            await clock.sleep(0)  # whoever asked behind it goes back first, and so stands behind it again

    async def _confirm(self, ask: Ask, reservation: Reservation, clock: Clock) -> str | None:
        """None when all shared books have room for a call; otherwise the limit that has not, "" where it is none."""
        id = f"{self.presence.process}.{next(self._ids):x}"
        accounts = [*reservation.scopes, (reservation.ledger.account, reservation.taken)]
        for account, taken in accounts:
            quota = self.presence.quota(account)
            quota.asked_at = clock.now()
            refused = await self._confirm_at(quota, taken, ask, reservation, id, clock) if account.meters else None
            if refused is not None:
                return refused
        self._usher.heard(reservation)
        return None

    async def _confirm_at(self, quota: Quota, taken: Taken, ask: Ask, reservation: Reservation, id: str, clock: Clock) -> str | None:
        if self.lost:
            return self._by_share(quota, taken, reservation, id, clock.now())
        began = clock.now()
        try:
            asked = await self._question(quota, taken, ask, id, clock)
        except StoreLost:
            self.presence.lose(clock.now())
            return ""
        if asked is None:
            return ""
        answer, terms = asked
        if not self.presence.same_books(quota, answer.born, clock.now()):
            if answer.granted:
                self._store.post(given_back(Held(quota, id, answer.at, taken, terms)))
            self.presence.lose(clock.now())  # it has forgotten what was charged
            return ""
        self._heed(quota, answer, terms, ask, clock.now())
        if not answer.granted:
            return self._refused(quota, answer, terms, ask)
        held = Held(quota, id, answer.at, taken, terms)
        with self._lock:
            self._confirmed.setdefault(reservation.id, []).append(held)
            quota.held[id] = held
        if answer.start > 0:
            await clock.sleep(answer.start)
        self._leaves_late(held, clock.now() - began - answer.start)
        return None

    def _leaves_late(self, held: Held, late: float) -> None:
        """On a busy machine the answer, or who waits for it, may come late: its provider will count the call from then."""
        if late > LATE:
            at, held.at = held.at, held.at + micros(late)
            terms = [term for _, term in held.terms]
            self._store.post(delaying(held.quota.tag, held.id, at, held.at, LONG_LEASE, terms, patience=KEEPS))

    def _by_share(self, quota: Quota, taken: Taken, reservation: Reservation, id: str, now: float) -> str | None:
        """Without the store our share decides; what was let through before it was all that counted goes back."""
        if self.presence.lost_at is None or taken.at < self.presence.lost_at:
            return ""
        held = Held(quota, id, 0.0, taken, tuple([(hold, term_of(quota, hold)) for hold in taken.holds]), stored=False)
        with self._lock:
            self._confirmed.setdefault(reservation.id, []).append(held)
            quota.held[id] = held
            quota.granted(now)
        return None

    def _refused(self, quota: Quota, answer: Answer, terms: Sequence[tuple[Hold, Term]], ask: Ask) -> str:
        meter = None if answer.binding is None else terms[answer.binding][0].meter
        if meter is not None and meter.limit.unit is Unit.MONEY and answer.in_flight == 0:
            raise out_of_money(ask.group, meter, answer.turn)
        return label(meter) or ""

    def _put_back(self, reservation: Reservation, now: float) -> None:
        """A call that was refused gives back what it took here, its tenant's turn included."""
        with self._lock:
            self._usher.put_back(reservation)
        self.release(reservation, now)

    # ---- a question

    async def _question(
        self, quota: Quota, taken: Taken, ask: Ask, id: str, clock: Clock
    ) -> tuple[Answer, tuple[tuple[Hold, Term], ...]] | None:
        """What the store says; None when it said to somebody else meanwhile that asking is in vain."""
        if not await quota.turns.may_ask(1 if quota.fresh else MOST_ASKING, clock, self._lock):
            return None
        now, shut = clock.now(), True
        try:
            if quota.shut_until > now:
                return None
            with self._lock:
                terms = tuple(terms_of(quota, taken, ask, now))
                line = self._roster.groups[ask.group].line
            more = bool(line) or bool(quota.turns)
            lease = LEASE if any(term.window == 0 for _, term in terms) else LONG_LEASE
            left = math.inf if ask.deadline is None else ask.deadline - now
            claim = Claim(
                quota.tag, id, tuple([term for _, term in terms]), lease,
                horizon=max(0.0, min(HORIZON, left)), turn=quota.turn, fresh=quota.fresh, more=more, waits=more or left > 0,
            )  # fmt: skip
            answer = await self._store.admit(claim, clock)
            shut = not answer.granted
            return answer, terms
        finally:
            with self._lock:
                quota.turns.asked(in_vain=shut)

    def _heed(self, quota: Quota, answer: Answer, terms: Sequence[tuple[Hold, Term]], ask: Ask, now: float) -> None:
        """Let our own books show what the shared ones do, and come again when it is our turn."""
        urgent = ask.priority <= Priority.INTERACTIVE
        with self._lock:
            quota.in_flight = answer.in_flight
            if answer.granted:
                quota.granted(now)
            for (hold, term), used, debt in zip(terms, answer.used, answer.debt, strict=True):
                quota.seen[term.key] = (now, used, debt)
                owe(hold.meter, now + debt if term.rate else -math.inf)
            quota.fresh = False
            if answer.turn > 0:
                quota.turn, quota.fresh = answer.until, True
                pause = pause_of(quota, answer, terms)
                until = now + pause
                quota.shut_until = max(quota.shut_until, until)
                quota.account.held_until = max(quota.account.held_until, until)
                for hold, _ in terms:
                    owe(hold.meter, until + tolerance(hold, urgent, now) - HORIZON)

    # ---- endings

    def _settle(
        self, reservation: Reservation, used: Used | None, now: float, sent: bool, failure: Failure | None, view: Sequence[QuotaView]
    ) -> None:
        if not reservation.open:
            return
        self._usher.heard(reservation)
        if not self.lost:  # what others use is on the shared books already
            view = [structs.replace(one, remaining=None) for one in view]
        super()._settle(reservation, used, now, sent, failure, view)
        for held in self._confirmed.pop(reservation.id, ()):
            held.quota.held.pop(held.id, None)
            if not self.lost and held.at:
                self._store.post(ending(held, used, sent, failure, now))
        account = reservation.ledger.account
        if failure is not None and failure.kind is Kind.RATE_LIMIT and sent and not self.lost:
            wait = failure.retry_after if failure.retry_after is not None else min(60.0, account.held_until - now)
            if wait > 0:
                self._store.post(closing(self.presence.quota(account).tag, wait))

    # ---- deployments that rest

    def _rest_as_told(self, quota: Quota, rests: Mapping[str, float], now: float) -> None:
        """What other processes found out about deployments holds here as well, until one of them finds that it works again."""
        for member in [member for member in self._roster.members.values() if member.account is quota.account]:
            left = rests.get(tag_of(member.id))
            if left is not None:
                quota.resting.add(member.id)
                super()._pause(member.id, now + left, now)
            elif member.id in quota.resting:
                quota.resting.discard(member.id)
                super()._pause(member.id, now, now)

    def pause(self, deployment: str, until: float, now: float) -> None:
        """Here and in every process that shares the deployment's limits."""
        super().pause(deployment, until, now)
        self._tell_of(deployment, until - now)

    def resume(self, deployment: str, now: float) -> None:
        super().resume(deployment, now)
        self._tell_of(deployment, 0.0)

    def _tell_of(self, deployment: str, seconds: float) -> None:
        """What we found out about a deployment, for the other processes."""
        member = self._roster.members.get(deployment)
        if member is not None and not self.lost:
            self._store.post(resting(self.presence.quota(member.account).tag, tag_of(deployment), seconds))
