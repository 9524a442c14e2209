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

from headrace.errors import Failure, HeadraceError, Kind, NeverFits
from headrace.limits.account import Account, Taken
from headrace.limits.ask import Ask
from headrace.limits.limit import Unit, Used
from headrace.limits.limiter import Limiter
from headrace.limits.members import Member, Reservation, Waiting
from headrace.limits.meter import Hold, Meter
from headrace.limits.queue import Priority
from headrace.limits.quota import (
    LONG_LEASE,
    Held,
    Quota,
    Turn,
    ending,
    given_back,
    owe,
    pause_of,
    standing,
    tag_of,
    term_of,
    terms_of,
    tolerance,
    used_by_all,
)
from headrace.limits.refusals import out_of_money
from headrace.limits.scheduler import label
from headrace.limits.store import (
    MICRO,
    Answer,
    Claim,
    Message,
    Store,
    StoreLost,
    Term,
    closing,
    delaying,
    micros,
    reporting,
    resting,
    restoring,
    share_of,
)
from headrace.limits.usher import Usher
from headrace.limits.view import QuotaView
from headrace.ports import Clock

HORIZON: Final = 0.6
"""Seconds ahead that the store may promise room for."""
LATE: Final = 0.1
"""Seconds by which a call may leave later than the shared books have it."""
LEASE: Final = 15.0
"""Seconds after which what a killed process held in flight comes back."""
MOST_ASKING: Final = 8
"""Questions about one quota under way at once; when one is refused, those behind it need not be asked."""
GRACE: Final = 3.0
"""Seconds after the store is back for which a process keeps to its share: by then all others have told it what was charged meanwhile."""
IDLE: Final = 60.0
"""Seconds without a call after which a process no longer has a share of a quota that its demand deserves."""


class SharedUsher(Usher):
    """Remembers whom it let in from the line, for as long as the store may still send him back."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.places: dict[int, Waiting] = {}
        """Where those stood who were let through from the line and have not heard from the store."""
        self.by_share = False
        """Whether limits are our share of what they really are."""

    def serve(self, waiting: Waiting, member: Member, now: float) -> None:
        super().serve(waiting, member, now)
        if waiting.granted is not None:
            self.places[waiting.granted.id] = waiting

    def never(self, waiting: Waiting) -> HeadraceError | None:
        """While only our share counts, a call that is larger than it waits for the store."""
        error = super().never(waiting)
        return None if self.by_share and isinstance(error, NeverFits) else error


class SharedLimiter(Limiter):
    """A limiter whose limits hold for all processes that use the same store."""

    ushers = SharedUsher
    _usher: SharedUsher

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(**options)
        self._store = store
        self._number = id(self)
        self._quotas: dict[Account, Quota] = {}
        self._confirmed: dict[int, list[Held]] = {}
        self._unsure: dict[int, Reservation] = {}
        """Those that are let through here and have not heard from the store."""
        self._ids = count(1)
        self._begun = False
        """Whether we have reported: from the first call on."""
        self._lost_at: float | None = None
        self._grace_until = -math.inf
        self._most_processes = 1
        store.attach(self.beat)

    @property
    def lost(self) -> bool:
        """Whether the store is lost at present, and only our share of each limit is used."""
        return self._lost_at is not None

    @property
    def _process(self) -> str:
        return f"{self._store.process}.{self._number:x}"

    # ---- the two gates

    async def reserve(self, ask: Ask, clock: Clock) -> Reservation:
        """Room for one call, here and on the shared books. Raises as `Limiter.reserve`."""
        began = clock.now()
        if not self._begun:
            self._begun = True
            self._report(began)
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
        id = f"{self._process}.{next(self._ids):x}"
        accounts = [*reservation.scopes, (reservation.ledger.account, reservation.taken)]
        for account, taken in accounts:
            quota = self._quota(account)
            quota.asked_at = clock.now()
            refused = await self._confirm_at(quota, taken, ask, reservation, id, clock) if account.meters else None
            if refused is not None:
                return refused
        self._usher.places.pop(reservation.id, None)
        return None

    async def _confirm_at(self, quota: Quota, taken: Taken, ask: Ask, reservation: Reservation, id: str, clock: Clock) -> str | None:
        if self._lost_at is not None:
            return self._by_share(quota, taken, reservation, id)
        began = clock.now()
        try:
            asked = await self._question(quota, taken, ask, id, clock)
        except StoreLost:
            self._lose(clock.now())
            return ""
        if asked is None:
            return ""
        answer, terms = asked
        if not self._same_books(quota, answer):
            if answer.granted:
                self._store.post(given_back(Held(quota, id, answer.at, taken, terms)))
            self._lose(clock.now())  # it has forgotten what was charged
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
            self._store.post(delaying(held.quota.tag, held.id, at, held.at, LONG_LEASE, [term for _, term in held.terms]))

    def _by_share(self, quota: Quota, taken: Taken, reservation: Reservation, id: str) -> str | None:
        """Without the store our share decides; what was let through before it was all that counted goes back."""
        if self._lost_at is None or taken.at < self._lost_at:
            return ""
        held = Held(quota, id, 0.0, taken, tuple([(hold, term_of(quota, hold)) for hold in taken.holds]), stored=False)
        with self._lock:
            self._confirmed.setdefault(reservation.id, []).append(held)
            quota.held[id] = held
            quota.granted += 1
        return None

    def _refused(self, quota: Quota, answer: Answer, terms: Sequence[tuple[Hold, Term]], ask: Ask) -> str:
        meter = None if answer.binding is None else terms[answer.binding][0].meter
        if meter is not None and meter.limit.unit is Unit.MONEY and answer.in_flight == 0:
            raise out_of_money(ask.group, meter, answer.turn)
        return label(meter) or ""

    def _put_back(self, reservation: Reservation, now: float) -> None:
        """A call that was refused gives back what it took here, its tenant's turn included."""
        with self._lock:
            place = self._usher.places.pop(reservation.id, None)
            if place is not None:
                place.group.line.refund(place)
        self.release(reservation, now)

    # ---- a question

    async def _question(
        self, quota: Quota, taken: Taken, ask: Ask, id: str, clock: Clock
    ) -> tuple[Answer, tuple[tuple[Hold, Term], ...]] | None:
        """What the store says; None when it said to somebody else meanwhile that asking is in vain."""
        if not await self._may_ask(quota, clock):
            return None
        now, shut = clock.now(), True
        try:
            if quota.shut_until > now:
                return None
            with self._lock:
                terms = tuple(terms_of(quota, taken, ask, now))
                line = self._roster.groups[ask.group].line
            more = bool(line) or bool(quota.line)
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
            self._asked(quota, shut)

    async def _may_ask(self, quota: Quota, clock: Clock) -> bool:
        """Wait until few enough ask. False when it is in vain by then."""
        with self._lock:
            if quota.asking < (1 if quota.fresh else MOST_ASKING):
                quota.asking += 1
                return True
            turn = Turn(clock.waiter())
            quota.line.append(turn)
        try:
            await turn.waiter.wait(None)
        except BaseException:
            with self._lock:
                if turn.called:
                    self._next_asks(quota)
                elif turn in quota.line:
                    quota.line.remove(turn)
            raise
        return turn.called

    def _asked(self, quota: Quota, shut: bool) -> None:
        with self._lock:
            while shut and quota.line:
                quota.line.pop().waiter.wake()  # the last first: each goes to the front of its line
            self._next_asks(quota)

    @staticmethod
    def _next_asks(quota: Quota) -> None:
        if quota.line:
            turn = quota.line.popleft()
            turn.called = True
            turn.waiter.wake()
        else:
            quota.asking -= 1

    def _same_books(self, quota: Quota, answer: Answer) -> bool:
        """False when these are other books than those we charged: they have forgotten what we did, unless it was nothing that counts."""
        if quota.born in (0.0, answer.born):
            quota.born = answer.born
            return True
        if not quota.held and not any(meter.used for meter in quota.account.meters):
            quota.born = answer.born
            return True
        return False

    def _heed(self, quota: Quota, answer: Answer, terms: Sequence[tuple[Hold, Term]], ask: Ask, now: float) -> None:
        """Let our own books show what the shared ones do, and come again when it is our turn."""
        urgent = ask.priority <= Priority.INTERACTIVE
        with self._lock:
            quota.in_flight = answer.in_flight
            quota.granted += answer.granted
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
        self._usher.places.pop(reservation.id, None)
        if self._lost_at is None:  # what others use is on the shared books already
            view = [structs.replace(one, remaining=None) for one in view]
        super()._settle(reservation, used, now, sent, failure, view)
        for held in self._confirmed.pop(reservation.id, ()):
            held.quota.held.pop(held.id, None)
            if self._lost_at is None and held.at:
                self._store.post(ending(held, used, sent, failure))
        account = reservation.ledger.account
        if failure is not None and failure.kind is Kind.RATE_LIMIT and sent and self._lost_at is None:
            wait = failure.retry_after if failure.retry_after is not None else min(60.0, account.held_until - now)
            if wait > 0:
                self._store.post(closing(self._quota(account).tag, wait))

    # ---- signs of life

    def beat(self, now: float) -> None:
        """About once a second, from any thread: say that we live, hear of our share, look whether a lost store is back."""
        if not self._begun:
            return
        if self._lost_at is None and self._grace_until <= now:
            self._whole_again(now)
        self._report(now)

    def _report(self, now: float) -> None:
        with self._lock:
            for account in self._roster.accounts():
                self._quota(account)
            reports = [(quota, self._sign(quota, now)) for quota in self._quotas.values() if self._lives(quota, now)]
        for quota, message in reports[:1] if self._lost_at is not None else reports:
            self._store.post(message, lambda reply, quota=quota: self._reported(quota, reply, now))  # type: ignore[misc]

    def _lives(self, quota: Quota, now: float) -> bool:
        """Whether a quota is of interest: it was asked for of late, or everything begins."""
        return bool(quota.held) or now - quota.asked_at < IDLE or quota.share is None

    def _sign(self, quota: Quota, now: float) -> Message:
        waiting = 0.0
        for group in self._roster.groups.values():
            if group.line and any(member.account is quota.account for member in group.members):
                waiting += len(group.line) / len(group.members)
        demand = quota.granted + waiting + len(quota.line)
        quota.granted *= 0.8
        limited = any(meter.limit.unit is Unit.IN_FLIGHT for meter in quota.account.meters)
        return reporting(quota.tag, self._process, demand, LEASE, list(quota.held) if limited else [])

    def _reported(self, quota: Quota, reply: list[str] | None, now: float) -> None:
        if reply is None:
            if self._lost_at is None:
                self._lose(now)
            return
        if self._lost_at is not None:
            self._recover(now, float(reply[5]))
            return
        with self._lock:
            quota.share, quota.least = share_of(reply)[0], float(reply[2])
            self._most_processes = max(1, int(float(reply[3])))
            held = float(reply[6])
            if held > 0:
                quota.account.held_until = max(quota.account.held_until, now + held / MICRO)
            self._rest_as_told(quota, {tag: float(left) / MICRO for tag, left in zip(reply[7::2], reply[8::2], strict=True)}, now)

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
        if member is not None and self._lost_at is None:
            self._store.post(resting(self._quota(member.account).tag, tag_of(deployment), seconds))

    # ---- without the store

    def _lose(self, now: float) -> None:
        """From now on each limit is our share of it."""
        with self._lock:
            if self._lost_at is not None:
                return
            self._lost_at = now
            for account in self._roster.accounts():
                self._shrink(self._quota(account), now)
            self._usher.by_share = True

    def _share(self, quota: Quota, now: float) -> float:
        if quota.share is None or quota.least is None:
            return 1 / (4 * (self._most_processes + 1))
        return quota.share if now - quota.asked_at < IDLE or quota.held else min(quota.share, quota.least)

    def _shrink(self, quota: Quota, now: float) -> None:
        share = self._share(quota, now)
        for meter in quota.account.meters:
            whole = quota.scaled.setdefault(meter, meter.limit)
            if meter not in quota.seeds and meter.limit.window:
                extra = share * used_by_all(quota, meter, now) - (meter.used - self._unsure_of(meter))
                quota.seeds[meter] = (meter._log.add(now, max(0.0, extra)), max(0.0, extra))
            amount = math.floor(whole.amount * share)
            meter.resize(structs.replace(whole, amount=max(1, amount)))
            if amount < 1:
                quota.barred = True
                quota.account.held_until = math.inf

    def _unsure_of(self, meter: Meter) -> float:
        """What stands on our books for calls that did not hear from the store: it goes back."""
        taken = [taken for one in list(self._unsure.values()) for taken in (one.taken, *[taken for _, taken in one.scopes])]
        return sum([hold.charged for one in taken for hold in one.holds if hold.meter is meter])

    def _recover(self, now: float, store_now: float) -> None:
        """The store is back: tell it what was charged without it, and keep to our share until the others have told it too."""
        with self._lock:
            lost_at, self._lost_at = self._lost_at, None
            if lost_at is None:
                return
            self._grace_until = now + GRACE
            messages = []
            for quota in self._quotas.values():
                for held in quota.held.values():
                    if not held.stored:
                        held.stored, held.at = True, store_now - (now - held.taken.at) * MICRO
                messages.append((quota, self._restoring(quota, lost_at, now)))
        for quota, message in messages:
            self._store.post(message, lambda reply, quota=quota: self._restored(quota, reply))  # type: ignore[misc]

    def _restored(self, quota: Quota, reply: list[str] | None) -> None:
        if reply is not None:
            quota.born = float(reply[0])

    def _restoring(self, quota: Quota, lost_at: float, now: float) -> Message:
        standings = []
        for meter in quota.account.meters:
            if meter.limit.window:
                standings.append(standing(quota, meter, now))
        return restoring(quota.tag, quota.born, (now - lost_at), LONG_LEASE, list(quota.held), standings)

    def _whole_again(self, now: float) -> None:
        """The grace is over: the whole of each limit counts again, and the store keeps us to our part of it."""
        with self._lock:
            quotas = [quota for quota in self._quotas.values() if quota.scaled]
            for quota in quotas:
                for meter, limit in quota.scaled.items():
                    meter.resize(limit)
                for meter, (entry, extra) in quota.seeds.items():
                    meter._log.correct(entry, -extra)
                quota.scaled, quota.seeds = {}, {}
                self._usher.by_share = False
                if quota.barred:
                    quota.barred, quota.account.held_until = False, now
            if quotas:
                for group in self._roster.groups.values():
                    if group.line:
                        self._usher.match(group, now)

    def _quota(self, account: Account) -> Quota:
        quota = self._quotas.get(account)
        if quota is None:
            quota = self._quotas[account] = Quota(account, tag_of(account.name))
        return quota
