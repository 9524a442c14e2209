"""Blocks: room in the shared accounting that a process reserves for a short time and admits calls on by itself.

One question to the store serves all calls of that time. The calls go on tabs (`tabs.py`) that take no more than is left
of the block. A block is charged in the store as of its end, so it leaves no window before any of its calls. What they
did not use is given back at its end, and corrections to actual costs are sent in batches. Near a limit, or while calls
wait, the store grants none, and each call asks by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from headrace.limits.account import Account, Taken
from headrace.limits.limit import Charge
from headrace.limits.lock import Lock
from headrace.limits.meter import Meter
from headrace.limits.quota import KEEPS, LEASE, LONG_LEASE, Quota, key_of
from headrace.limits.sizes import SIGMAS
from headrace.limits.sliding_log import EPSILON
from headrace.limits.store import Correction, Grant, Store, Term, Wish, amending, micros, read_grant

if TYPE_CHECKING:
    from headrace.limits.presence import Presence

LENGTH: Final = 0.6
"""Longest time in seconds for which a block is used, and thus the most by which its charge leaves a window late."""
SHORT: Final = 0.04
"""Shortest time. A block lasts at most half of the pacing tolerance, because all of its calls may go at its end."""
RENEWED: Final = 0.6
"""Share of its time after which the next block is requested."""
LOW: Final = 1 / 3
"""Remaining share of a block's room at which the next one is requested earlier."""
AMPLE: Final = 1.6
"""Requested room, relative to what calls at the recent rate would take in that time."""
GROWS: Final = 4.0
"""Most calls requested, relative to the last block's room, after it was used up early."""
FEWEST: Final = 3.0
"""Calls in that time from which on a block is worth a question."""
REFUSED: Final = 0.5
"""Seconds until another block is requested after a refusal."""
PART: Final = 2.0
"""What is left under three quarters of a limit is divided by this to bound a block."""
SHORTEST: Final = 30.0
"""Shortest window in seconds for which blocks are used: in shorter ones exact moments matter."""
IN_TIME: Final = 5.0
"""Seconds after which an unanswered question is considered lost."""
TOGETHER: Final = 0.001
"""Seconds for which a question waits for those about other limits of the same call."""


class Block(Struct, eq=False):
    """Room in the shared accounting of one account. Changes require the limiter's lock."""

    quota: Quota
    id: str
    at: float
    """Moment of its charge, in the store's microseconds."""
    until: float
    """The last moment, by our own clock, at which calls are admitted on it."""
    began: float
    renewed_at: float
    """From when on another block is requested."""
    size: float
    """Calls that it had room for at first."""
    renewed_after: int
    """Number of calls after which the next block is requested earlier."""
    meters: Sequence[Meter]
    first: list[float]
    """Room at first, by limit."""
    left: list[float]
    """Room left, by limit, not counting what is on an open tab."""
    owed: list[float]
    """Amounts that the store does not know yet, by limit; negative to give back."""
    flow: Meter | None
    """The paced limit whose cost depends on tokens, if any."""
    flow_left: float
    flow_owed: float = 0.0
    seats: int = 1
    """In-flight places held by it."""
    calls: int = 0
    """Calls admitted on it."""
    counted: int = 0
    """Of those, calls already counted as demand."""
    running: int = 0
    open: bool = True
    unused: dict[str, float] = {}
    """By limit, room that no call used and that the store has yet to be told of."""

    @property
    def limited(self) -> bool:
        """Whether calls in flight are limited."""
        return any(meter.counts_running for meter in self.meters)

    def low(self) -> bool:
        return any(room < LOW * first for room, first in zip(self._rooms(), self.first, strict=True))

    def holds(self, costs: Sequence[float], flow: float = 0.0) -> bool:
        """Whether calls with these total costs fit. flow: the part that counts against the flow."""
        fit = all(cost <= room + EPSILON for cost, room in zip(costs, self._rooms(), strict=True))
        return fit and (self.flow is None or flow < self.flow_left)

    def _rooms(self) -> list[float]:
        """What calls may take of each limit. A call that ends leaves its place to another."""
        free = self.seats - self.running
        return [free if meter.counts_running else left for meter, left in zip(self.meters, self.left, strict=True)]

    def bound(self, ahead: float) -> float:
        """Bound a new tab to the room of this block. ahead: the tab's bound for the flow; returns the new one."""
        for meter, room in zip(self.meters, self._rooms(), strict=True):
            if room < meter.spare:
                meter.spare = room
        return min(ahead, self.flow_left) if self.flow is not None else ahead

    def book(self, amounts: Sequence[float], flow: float) -> None:
        """Account for a closed tab, whose calls took these amounts."""
        for number, amount in enumerate(amounts):
            self.took(number, amount)
        self.flowed(flow)

    def took(self, number: int, amount: float) -> None:
        """Calls cost `amount` more of one limit than was taken for them."""
        if self.open:
            self.left[number] -= amount
        else:
            self.owed[number] += amount

    def flowed(self, amount: float) -> None:
        """The same for the flow."""
        if self.open:
            self.flow_left -= amount
        else:
            self.flow_owed += amount

    def close(self) -> None:
        """End admission, and give back what is left."""
        self.open = False
        for number, (meter, left) in enumerate(zip(self.meters, self.left, strict=True)):
            self.owed[number] -= left
            if left > 0 and meter.limit.window:
                self.unused[key_of(meter, meter.limit.window)] = left
        self.flow_owed -= self.flow_left
        self.left, self.flow_left = [0.0] * len(self.left), 0.0

    def write_off(self) -> None:
        """The store is lost: what it does not know yet will be reported in another way."""
        self.open, self.unused = False, {}
        self.owed, self.flow_owed = [0.0] * len(self.owed), 0.0
        self.left, self.flow_left = [0.0] * len(self.left), 0.0


class Blocks:
    """The blocks of all accounts of a limiter."""

    def __init__(self, store: Store, lock: Lock, presence: Presence) -> None:
        self._store, self._lock, self._presence = store, lock, presence
        self._ids = count(1)

    # ---- admitting calls

    def lend(self, account: Account, charge: Charge, now: float) -> Block | None:
        """The block that a new tab of the account may draw on; None if there is none. Requests the next one in time."""
        quota = self._presence.quota(account)
        block = quota.block
        quota.asked_at = now
        if block is not None:
            self._count(block, now)
            if now >= block.until or block.meters is not account.meters:
                block = quota.block = None
        if block is None or now >= block.renewed_at or block.low():
            self._ask(quota, charge, now)
        return block if block is not None and block.holds(account.costs(charge)[1]) else None

    def requests(self, account: Account) -> bool:
        """Whether the account has requested a block and waits for the reply."""
        return self._presence.quota(account).requesting

    def renew(self, block: Block, charge: Charge, now: float) -> None:
        """Request the next block, because calls come faster than before. No tab may be open."""
        if block is block.quota.block:
            self._count(block, now)
            self._ask(block.quota, charge, now)

    @staticmethod
    def _count(block: Block, now: float) -> None:
        """Count the calls admitted on it as demand."""
        block.quota.came(block.calls - block.counted, now)
        block.counted = block.calls

    def _ask(self, quota: Quota, charge: Charge, now: float) -> None:
        if now >= quota.wished_until and self._may(quota, now):
            self._wish(quota, charge, now)

    def _may(self, quota: Quota, now: float) -> bool:
        """Whether a request can succeed."""
        if self._presence.lost or quota.scaled or quota.shut_until > now:
            return False
        meters = quota.account.meters
        flows = [meter for meter in meters if meter._pace is not None and not meter.constant]
        short = any(0 < meter.limit.window < SHORTEST or meter.as_written or meter._shorter for meter in meters)
        return len(flows) <= 1 and not short

    def _wish(self, quota: Quota, charge: Charge, now: float) -> None:
        account = quota.account
        meters = account.meters
        length = min(LENGTH, _ahead(account, now) / 2)
        wanted = max(length * quota.rate(now), _haste(quota.block, length, now))
        if length < SHORT:
            quota.wished_until = now + REFUSED
        if length < SHORT or wanted < FEWEST:
            return
        calls = AMPLE * wanted + 1
        input, costs = account.costs(charge)
        output = account.sizes.expected(charge)
        terms, parts = [], []
        for number, meter in enumerate(meters):
            amount = calls * max(costs[number], quota.typical.get(meter, 0.0))
            if amount > 0:
                flow = meter.expected(charge, input, output) * calls if meter.expects else amount
                terms.append(self._term(quota, meter, amount, max(flow, EPSILON), now))
                parts.append(PART * (1.0 + SIGMAS * account.sizes.error) if meter.doubted else PART)
        places = any(term.window == 0 for term in terms)
        wish = Wish(
            quota.tag, f"{self._presence.process}/{next(self._ids):x}", tuple(terms), tuple(parts), length,
            LEASE if places else LONG_LEASE, self._presence.process, quota.places(),
        )  # fmt: skip
        quota.wished_until, quota.requesting = now + IN_TIME, True
        patience = REFUSED if quota.refused else TOGETHER
        self._store.post(wish.message(patience=patience), partial(self._answered, quota, wish, calls, meters, now))

    @staticmethod
    def _term(quota: Quota, meter: Meter, amount: float, flow: float, now: float) -> Term:
        limit = meter.limit
        if not limit.window:
            return Term(key_of(meter, 0.0), meter.whole * (1 - meter.margin), max(1.0, amount), 0.0)
        room = meter.room_behind_urgent - (quota.account.sizes.doubt(0.0) if meter.doubted else quota.untold.get(meter, 0.0))
        paced = meter._pace is not None
        rate, ahead = (meter._pace.rate, meter.ahead(amount, now, urgent=False)) if meter._pace is not None else (0.0, 0.0)
        return Term(key_of(meter, limit.window), room, amount, limit.window, meter._log.window, rate, ahead, flow if paced else 0.0)

    def _answered(
        self, quota: Quota, wish: Wish, calls: float, meters: Sequence[Meter], asked_at: float, reply: list[str] | None, now: float
    ) -> None:
        quota.wished_until, quota.requesting = -math.inf, False
        if reply is None:
            self._presence.lose(now)
            return
        grant = read_grant(reply)
        same = self._presence.same_books(quota, grant.born, now)
        with self._lock:
            for term, used, debt, ever in zip(wish.terms, grant.used, grant.debt, grant.ever, strict=True):
                quota.saw(term, now, used if term.window else grant.in_flight, debt, ever)
            quota.in_flight = grant.in_flight
            quota.refused = not grant.granted
            if quota.refused:
                quota.wished_until = now + REFUSED
            elif same:  # otherwise the store's data is new, and does not know the block
                self._granted(quota, wish, grant, calls * grant.share, meters, asked_at, now)
            for meter in quota.account.meters:
                seen = quota.seen.get(key_of(meter, meter.limit.window))
                if seen is not None and not self._presence.lost:
                    quota.saw_others(meter, seen[1], now)
        if not same:
            self._presence.lose(now)

    def _granted(self, quota: Quota, wish: Wish, grant: Grant, size: float, meters: Sequence[Meter], asked_at: float, now: float) -> None:
        terms = {term.key: term for term in wish.terms}
        found = [terms.get(key_of(meter, meter.limit.window)) for meter in meters]
        first = [0.0 if term is None else term.cost * grant.share for term in found]
        flow = next((meter for meter in meters if meter._pace is not None and not meter.constant), None)
        of_flow = next((term for meter, term in zip(meters, found, strict=True) if meter is flow and term is not None), None)
        until = asked_at + wish.length
        block = Block(
            quota, wish.id, grant.at, until, now, asked_at + RENEWED * wish.length, size, max(1, round((1 - LOW) * size)),
            meters, first, list(first), [0.0] * len(first), flow, of_flow.expected * grant.share if of_flow else 0.0, seats=grant.seats,
        )  # fmt: skip
        quota.blocks[wish.id] = block
        if quota.block is not None:
            self.end(quota.block, now)
        if self._presence.lost or quota.scaled or asked_at < self._presence.shrunk_at or now >= until or meters is not quota.account.meters:
            self.end(block, now)
            return
        quota.block = block
        for meter, term in zip(meters, found, strict=True):
            if term is not None and not term.window:
                meter.offer(meter.running + grant.seats + max(0.0, term.room - grant.in_flight), now)

    # ---- ending blocks

    def end(self, block: Block, now: float) -> None:
        """Admit no more calls on it."""
        quota = block.quota
        if quota.block is block:
            quota.block = None
        if not block.open:
            return
        self._count(block, now)
        if block.calls:
            for meter, first, left in zip(block.meters, block.first, block.left, strict=True):
                quota.typical[meter] = (first - left) / block.calls
        block.close()
        self.tell(block, LENGTH)

    def tell(self, block: Block, patience: float = KEEPS) -> None:
        """Tell the store what it does not know of an ended block."""
        if self._presence.lost:
            return
        over = not block.running
        wanted = block.running if block.limited else min(1, block.running)
        if over or any(block.owed) or block.flow_owed or wanted != block.seats:
            differences = [
                (owed, block.flow_owed if meter is block.flow else owed, 0.0) for meter, owed in zip(block.meters, block.owed, strict=True)
            ]
            block.owed, block.flow_owed, block.seats = [0.0] * len(block.owed), 0.0, wanted
            self._amend(block, block.at, differences, patience)
        if over:
            block.quota.blocks.pop(block.id, None)

    def _amend(self, block: Block, at: float, differences: Sequence[tuple[float, float, float]], patience: float) -> None:
        """Send corrections of a block. differences: by limit, of the charge, of its flow, and what counts from now on."""
        corrections = []
        for meter, (difference, owed, written) in zip(block.meters, differences, strict=True):
            limit, log, rate = meter.limit, meter._log, meter._pace.rate * block.quota.factor(meter) if meter._pace is not None else 0.0
            if limit.window:
                corrections.append(
                    Correction(key_of(meter, limit.window), limit.window, log.window, rate, difference, written, owed if rate else 0.0)
                )
        lease = LEASE if block.limited else LONG_LEASE
        unused, block.unused = block.unused, {}
        self._store.post(amending(block.quota.tag, block.id, at, block.seats, lease, corrections, unused, patience=patience))

    def moves(self, taken: Taken, now: float) -> None:
        """A call is sent long after the end of its block: move its charge. Its actual cost is then reported separately."""
        block = taken.block
        if block is None or taken.moved_to or self._presence.lost or block.id not in block.quota.blocks:
            return
        taken.moved_to = block.at + micros(now - block.until)
        self._amend(block, block.at, [(-hold.charged, 0.0, hold.charged) for hold in taken.holds], KEEPS)

    def settled(self, taken: Taken, before: Sequence[tuple[float, float]]) -> None:
        """A call that is no longer on a tab has ended. before: its charge to each limit, and to the flow."""
        block = taken.block
        if block is None:
            return
        differences = [
            (hold.charged - charged, hold.expected - flow, 0.0) for (charged, flow), hold in zip(before, taken.holds, strict=True)
        ]
        if taken.moved_to and not self._presence.lost:
            self._amend(block, taken.moved_to, differences, KEEPS)
        else:
            for number, (difference, flow, _) in enumerate(differences):
                block.took(number, difference)
                if taken.holds[number].meter is block.flow:
                    block.flowed(flow)
        block.running -= 1

    def look_after(self, quotas: Sequence[Quota], now: float) -> None:
        """About once a second, under the lock: end blocks whose time is over, and report the calls of ended ones."""
        for quota in quotas:
            quota.forget_others(now)
            for block in list(quota.blocks.values()):
                if block.open and (block is not quota.block or now >= block.until):
                    self.end(block, now)
                elif not block.open:
                    self.tell(block)


def _haste(block: Block | None, length: float, now: float) -> float:
    """Calls expected in that time from the rate on a block that is used up early, which the recent average underestimates."""
    if block is None or block.calls < block.renewed_after or now >= block.renewed_at:
        return 0.0
    return min(length * block.calls / max(now - block.began, TOGETHER), GROWS / AMPLE * block.size)


def _ahead(account: Account, now: float) -> float:
    """The smallest pacing tolerance of the account in seconds."""
    return min([meter.ahead(0.0, now, urgent=False) for meter in account.meters if meter._pace is not None], default=math.inf)
