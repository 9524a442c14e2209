"""What a process knows about one account's shared accounting, and how it describes a call there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from headrace.errors import Failure
from headrace.fingerprint import fingerprint
from headrace.limits.account import NOT_STARTED, Account, Taken
from headrace.limits.ask import Ask
from headrace.limits.limit import Limit, Unit, Used
from headrace.limits.meter import Hold, Meter
from headrace.limits.queue import Priority
from headrace.limits.sliding_log import EPSILON, SLOTS, Entry
from headrace.limits.store import Answer, Correction, Message, Term, settlement
from headrace.limits.turns import Turns

if TYPE_CHECKING:
    from headrace.limits.blocks import Block

EARLY: Final = 0.12
"""Seconds before its turn at which a process asks, so that room is granted by the time the turn begins. The store
admits nothing earlier because of it."""
LEASE: Final = 15.0
"""Seconds after which the in-flight places of a killed process are freed."""
LONG_LEASE: Final = 900.0
"""Seconds for which a call may still be settled. Where calls in flight are limited, a process reports every second
which ones it has."""
SOON, KEEPS = 0.1, 2.0
"""Seconds for which the end of a call may be delayed to be sent with the next message: where it matters, and where it
does not."""
WASTE: Final = 0.005
"""Share of a limit that may be idle because unused amounts are reported late."""
FILLING, FRESH = 0.75, 10.0
"""Share of a limit below which unused amounts do not matter, if it was observed within so many seconds."""
FADES: Final = 0.8
"""Weight of an admitted call in the demand, one second later."""
QUIET: Final = 0.5
"""Demand below which a new period begins."""
LOOKS: Final = 60
"""Snapshots of the shared accounting that are kept per window."""
LONGEST_PAUSE: Final = 60.0
"""Seconds after which a process asks again however late its turn is, because others may have given something back."""


class Held(Struct, eq=False):
    """What one call has in the shared accounting of one account."""

    quota: Quota
    id: str
    at: float
    """Moment of its charge, in the store's microseconds."""
    left: float
    """When it is sent, by our own clock."""
    taken: Taken
    terms: tuple[tuple[Hold, Term], ...]
    stored: bool = True
    """False for a call admitted while the store was lost."""


class Quota:
    """What a process knows about one account's shared accounting."""

    __slots__ = (
        "_demand", "_demand_at", "_demand_since", "account", "asked_at", "asking", "barred", "block", "blocks", "born", "flow", "fresh",
        "held", "here", "in_flight", "least", "outside", "processes", "refused", "reported_at", "reports_from", "requesting", "resting",
        "scaled", "seeds", "seen", "share", "shut_until", "tag", "telling", "turn", "turns", "typical", "untold", "wished_until",
        "word_until",
    )  # fmt: skip

    def __init__(self, account: Account, tag: str) -> None:
        self.account = account
        self.tag = tag
        self.turn, self.fresh = 0.0, False
        self.shut_until = -math.inf
        """The moment before which no call asks."""
        self.word_until = -math.inf
        """The moment until which a provider's Retry-After holds the quota, in case `shut_until` is later."""
        self.turns = Turns()
        self.asked_at = -math.inf
        self._demand, self._demand_at, self._demand_since = 0.0, 0.0, -math.inf
        self.reported_at = self.reports_from = -math.inf
        """When the store last received our report, and the moment before which no other is sent because one is on its way."""
        self.held: dict[str, Held] = {}
        self.asking: set[str] = set()
        """Ids of claims that have not been answered."""
        self.block: Block | None = None
        """The block that calls are admitted on."""
        self.blocks: dict[str, Block] = {}
        """All blocks that have calls in flight, or something to report."""
        self.typical: dict[Meter, float] = {}
        """Average cost of a call on the last block, by limit."""
        self.wished_until, self.refused = -math.inf, False
        """The moment before which no block is requested, and whether the last request was refused."""
        self.requesting = False
        """Whether a request for a block is on its way."""
        self.in_flight = 0
        self.born = 0.0
        """When the store's data for this account was begun, as last seen."""
        self.telling = False
        """Whether our charges are being sent to a store that has lost them."""
        self.seen: dict[str, tuple[float, float, float]] = {}
        """By limit: when it was seen, what all had used then, seconds of pacing debt."""
        self.flow: dict[str, list[tuple[float, float]]] = {}
        """By limit: (moment, total ever charged)."""
        self.share: float | None = None
        self.least: float | None = None
        self.processes = self.here = 0
        """Processes that reported when the store was last available, and that report now."""
        self.scaled: dict[Meter, Limit] = {}
        """The full limits, while they are reduced to our share."""
        self.seeds: dict[Meter, list[tuple[Entry, float]]] = {}
        """What was added to our own log for other processes."""
        self.outside: dict[Meter, dict[Entry, float]] = {}
        """Charges of money that no call of ours spent: all processes know of it, and none reports it to the store."""
        self.untold: dict[Meter, float] = {}
        """The part of it that the shared accounting lacks, because it was spent before that began."""
        self.resting: set[str] = set()
        """Deployments in cooldown because some process reported it."""
        self.barred = False
        """Whether our share is less than one call."""

    def shut(self, until: float) -> None:
        """Hold the quota until our turn: no call asks, and so none is admitted."""
        if self.account.held_until != self.shut_until:
            self.word_until = self.account.held_until
        self.shut_until = max(self.shut_until, until)
        self.account.held_until = max(self.account.held_until, until)

    def granted(self, now: float) -> None:
        """Count an admitted call as demand."""
        self.came(1, now)

    def came(self, calls: int, now: float) -> None:
        """Count admitted calls as demand."""
        demand = self.demand(now)
        if demand < QUIET:
            self._demand_since = now
        self._demand, self._demand_at = demand + calls, now

    def rate(self, now: float) -> float:
        """Admitted calls per second, averaged over the recent past or since they began."""
        return float(self.demand(now) * -math.log(FADES) / (1.0 - FADES ** max(1.0, now - self._demand_since)))

    @property
    def under_way(self) -> bool:
        return bool(self.held or self.blocks)

    def saw_others(self, meter: Meter, used: float, now: float) -> None:
        """Update the usage of others.

        used: total in the shared accounting; what is not ours is theirs, including unused parts of their blocks.
        """
        blocks = [block for block in self.blocks.values() if block.meters is self.account.meters]
        if meter.counts_running:
            ours: float = meter.running + sum([block.seats - block.running for block in blocks])
        else:
            number = self.account.meters.index(meter)
            ours = meter._log.current(now) + sum([block.left[number] - block.owed[number] for block in blocks])
        meter.elsewhere = max(0.0, used - ours)

    def forget_others(self, now: float) -> None:
        """Drop the usage of others if it was not observed for a window."""
        for meter in self.account.meters:
            seen = self.seen.get(key_of(meter, meter.limit.window))
            if meter.elsewhere and seen is not None and now - seen[0] > max(meter.limit.window, FRESH):
                meter.elsewhere = 0.0

    def saw_money(self, meter: Meter, used: float, now: float) -> None:
        """Update how much money spent elsewhere the shared accounting lacks. used: its total for that limit."""
        if meter in self.outside:
            self.untold[meter] = max(self.untold.get(meter, 0.0), meter._log.current(now) - meter._open - used)

    def spent_outside(self, meter: Meter, money: float) -> None:
        """Record the latest charge as spent by no call of ours.

        While limits are reduced to our share, only our share of it counts.
        """
        known, entry = self.outside.setdefault(meter, {}), meter._log.last
        known[entry] = known.get(entry, 0.0) + money
        if len(known) > 2 * SLOTS:
            self.outside[meter] = {each: cost for each, cost in known.items() if not each.gone}
        if meter in self.scaled:
            extra = money / self.factor(meter) - money
            meter._log.correct(entry, extra)
            self.seeds.setdefault(meter, []).append((entry, extra))

    def drop_blocks(self) -> None:
        """Drop all blocks, because the store is lost or back: what was charged is then reported as a whole."""
        self.block = None
        for meter in self.account.meters:
            meter.elsewhere = 0.0
        for block in self.blocks.values():
            block.write_off()
        self.blocks = {id: block for id, block in self.blocks.items() if block.running}

    def ids(self) -> list[str]:
        """Ids of our calls and blocks in flight, with a block's further places as `id*count`."""
        return [*self.held, *[f"{block.id}*{block.seats - 1}" if block.seats > 1 else block.id for block in self.blocks.values()]]

    def places(self) -> int:
        """Number of our places in flight, including requested ones."""
        return len(self.held) + len(self.asking) + sum([block.seats for block in self.blocks.values()])

    def demand(self, now: float) -> float:
        """Recently admitted calls, with exponentially decaying weight."""
        return float(self._demand * FADES ** (now - self._demand_at))

    def saw(self, term: Term, now: float, used: float, debt: float, ever: float) -> None:
        """Record a snapshot of the shared accounting of one limit."""
        self.seen[term.key] = (now, used, debt)
        flow = self.flow.setdefault(term.key, [])
        if flow and flow[-1][1] > ever:
            flow.clear()  # from another instance of the store's data
        while flow and flow[0][0] < now - 2 * term.window:
            del flow[0]
        if len(flow) > 1 and now - flow[-2][0] < term.window / LOOKS:
            flow[-1] = (now, ever)
        else:
            flow.append((now, ever))

    def try_for_place(self, now: float) -> bool:
        """Let one more call go if a report shows fewer in flight than allowed.

        Returns whether that frees a call that could not go before.
        """
        if self.asking:
            return False  # its reply says more
        waits = [meter for meter in self.account.meters if now < meter.tries_at < math.inf and self.in_flight < meter.whole]
        for meter in waits:
            meter.tries_at = now
        return bool(waits)

    def factor(self, meter: Meter) -> float:
        """The full limit divided by the one that counts here now."""
        whole = self.scaled.get(meter)
        return 1.0 if whole is None else whole.amount / meter.limit.amount


def tag_of(name: str) -> str:
    """An account's name in store keys: a fingerprint that reveals nothing."""
    return fingerprint(name)


def terms_of(quota: Quota, taken: Taken, ask: Ask, now: float) -> list[tuple[Hold, Term]]:
    """What a call asks of each limit of an account, under the rules of its meters."""
    account, urgent = quota.account, ask.priority <= Priority.INTERACTIVE
    whole = urgent or account.urgent_until <= now
    terms = []
    for hold in taken.holds:
        meter = hold.meter
        term = term_of(quota, hold)
        if meter.limit.window:
            room = (meter.room if whole else meter.room_behind_urgent) * quota.factor(meter) - doubt(quota, meter, taken)
            if room < term.cost <= term.room + EPSILON:
                room = term.cost
            room -= quota.untold.get(meter, 0.0)
            term = structs.replace(term, room=room, tolerance=tolerance(hold, urgent, now) if term.rate else 0.0)
        terms.append((hold, term))
        terms += [
            (hold, Term(f"{key_of(meter, window)}~", amount * quota.factor(meter), hold.charged, window, log.window))
            for log, amount, window in meter._shorter
        ]
    return terms


def term_of(quota: Quota, hold: Hold) -> Term:
    meter = hold.meter
    limit, factor = meter.limit, quota.factor(meter)
    if not limit.window:
        places = meter.whole * (1 - meter.margin) * factor
        stride = min(1.0, max(0.02, quota.account.sizes.duration / (2 * places)))
        return Term(key_of(meter, 0.0), places, hold.charged, 0.0, tolerance=stride)
    rate = meter._pace.rate * factor if meter._pace is not None else 0.0
    return Term(key_of(meter, limit.window), meter.room * factor, hold.charged, limit.window, meter._log.window, rate, 0.0, hold.expected)


def windows_of(quota: Quota) -> list[Term]:
    """The windows of an account, for reports."""
    return [Term(key_of(meter, meter.limit.window), meter.room, 0.0, meter.limit.window, meter._log.window) for meter in windowed(quota)]


def windowed(quota: Quota) -> list[Meter]:
    return [meter for meter in quota.account.meters if meter.limit.window]


def key_of(meter: Meter, window: float) -> str:
    return f"{meter.limit.unit.value}/{window:g}"


def doubt(quota: Quota, meter: Meter, taken: Taken) -> float:
    """As `Account._doubt`, for the calls that all processes have in flight."""
    if not meter.doubted:
        return 0.0
    sizes = quota.account.sizes
    doubt = sizes.doubt(taken.input) if meter.limit.unit is not Unit.OUTPUT else 0.0
    running = max(quota.account.in_flight, quota.in_flight)
    own = max(1, quota.account.in_flight)
    return doubt + sizes.landing(own, meter.settings.spread) * running / own if meter.as_written else doubt


def tolerance(hold: Hold, urgent: bool, now: float) -> float:
    return hold.meter.ahead(hold.charged, now, urgent) if hold.meter._pace is not None else 0.0


def owe(meter: Meter, until: float) -> None:
    """Advance the pacing debt to at least that moment, for our calls and those of others."""
    if meter._pace is not None:
        meter._pace.paid_until = max(meter._pace.paid_until, until)


def pause_of(quota: Quota, answer: Answer, terms: Sequence[tuple[Hold, Term]]) -> float:
    """Seconds until this process asks again. Less than the store's estimate where calls give back what they do not use."""
    if answer.binding is None and not answer.granted:
        return answer.turn  # none of our limits: a provider's Retry-After holds it
    meter = None if answer.binding is None else terms[answer.binding][0].meter
    pause = min(LONGEST_PAUSE, max(0.0, answer.turn - EARLY))
    if meter is not None and meter.limit.unit in (Unit.TOKENS, Unit.OUTPUT, Unit.MONEY) and meter.profile.accounting == "settle":
        pause = min(pause, max(0.1, quota.account.sizes.duration / 2))
    return pause


def ending(held: Held, used: Used | None, sent: bool, failure: Failure | None, now: float, *, followed: bool) -> Message:
    """The message that settles a call: its actual cost against what was charged.

    followed: whether another call takes its place, and asks.
    """
    refused = not sent or (failure is not None and failure.kind in NOT_STARTED)
    corrections, patience = [], KEEPS
    for hold, term in held.terms:
        if not term.window:
            patience = min(patience, SOON if followed or _seen_filling(held.quota, term, now) else 0.0)  # others may wait for its place
            continue
        meter, written = hold.meter, 0.0
        if meter.as_written and term.rate and not refused:
            written = used.output if used is not None else max(held.taken.output, held.taken.written)
        owed = hold.expected - term.expected if term.rate else 0.0
        one = Correction(term.key, term.window, term.span, term.rate, hold.charged - term.cost, written, owed)
        corrections.append(one)
        patience = min(patience, _patience(one, hold.charged, _seen_filling(held.quota, term, now)))
    return settlement(held.quota.tag, held.id, held.at, LONG_LEASE, corrections, patience=patience)


def _seen_filling(quota: Quota, term: Term, now: float) -> bool:
    """Whether a limit was recently observed far from full."""
    seen = quota.seen.get(term.key)
    return seen is not None and now - seen[0] < FRESH and seen[1] < FILLING * term.room


def _patience(one: Correction, kept: float, filling: bool) -> float:
    """Seconds for which the settlement of one limit may be delayed. kept: the actual cost of what was charged."""
    if one.written or one.difference > 0:
        return SOON
    if not one.difference or filling:
        return KEEPS
    # if calls come as fast as the limit allows, those of d seconds give back d * given / (kept * window) of it
    return min(KEEPS, max(SOON, WASTE * one.window * kept / -one.difference))


def given_back(held: Held) -> Message:
    """The message that cancels a call which was admitted there and does not go."""
    back = [
        Correction(term.key, term.window, term.span, term.rate, -term.cost, 0.0, -term.expected if term.rate else 0.0)
        for _, term in held.terms
        if term.window
    ]
    return settlement(held.quota.tag, held.id, held.at, LONG_LEASE, back)
