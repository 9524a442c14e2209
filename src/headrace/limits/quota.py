"""What a process knows of one account's shared books, and what it says of a call there: the local meters in the store's terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from headrace.errors import Failure
from headrace.fingerprint import fingerprint
from headrace.limits.account import NOT_STARTED, Account, Taken
from headrace.limits.ask import Ask
from headrace.limits.guard import EPSILON, SLOTS, Entry
from headrace.limits.limit import Limit, Unit, Used
from headrace.limits.meter import Hold, Meter
from headrace.limits.queue import Priority
from headrace.limits.store import Answer, Correction, Message, Term, settlement
from headrace.limits.turns import Turns

if TYPE_CHECKING:
    from headrace.limits.blocks import Block

EARLY: Final = 0.12
"""Seconds before a turn at which the process comes for it, so that what it takes is promised by the time it begins. Tunes use:
the store lets nobody through sooner for it."""
LEASE: Final = 15.0
"""Seconds after which what a killed process held in flight comes back."""
LONG_LEASE: Final = 900.0
"""Seconds for which a call may still be settled; where calls in flight are limited a process says every second which ones are."""
SOON, KEEPS = 0.1, 2.0
"""Seconds for which the end of a call may be kept back, to be told with the next question: where it matters, and where nobody misses it."""
WASTE: Final = 0.005
"""Share of a limit that may lie idle because what calls give back is told late."""
FILLING, FRESH = 0.75, 10.0
"""Share of a limit below which nobody misses what is given back, if that was seen within so many seconds."""
FADES: Final = 0.8
"""What a call that was let through counts for our demand, a second later."""
QUIET: Final = 0.5
"""Demand below which whatever comes begins anew."""
LOOKS: Final = 60
"""At the shared books within a window that are remembered."""
LONGEST_PAUSE: Final = 60.0
"""Seconds after which a process asks again however late its turn is: others may have given something back."""


class Held(Struct, eq=False):
    """What one call has on the shared books of one account."""

    quota: Quota
    id: str
    at: float
    """Where its charge stands, in the store's microseconds."""
    left: float
    """When it goes on its way for that, by our own clock."""
    taken: Taken
    terms: tuple[tuple[Hold, Term], ...]
    stored: bool = True
    """False for a call that went while the store was lost."""


class Quota:
    """What a process knows of one account's shared books."""

    __slots__ = (
        "_demand", "_demand_at", "_demand_since", "account", "asked_at", "asking", "barred", "block", "blocks", "born", "flow", "fresh",
        "held", "here", "in_flight", "least", "outside", "processes", "refused", "reported_at", "reports_from", "resting", "scaled",
        "seeds", "seen", "share", "shut_until", "tag", "telling", "turn", "turns", "typical", "untold", "wished_until", "word_until",
    )  # fmt: skip

    def __init__(self, account: Account, tag: str) -> None:
        self.account = account
        self.tag = tag
        self.turn, self.fresh = 0.0, False
        self.shut_until = -math.inf
        """Nobody asks before."""
        self.word_until = -math.inf
        """Before which moment nothing passes by a provider's word, should `shut_until` be later."""
        self.turns = Turns()
        self.asked_at = -math.inf
        self._demand, self._demand_at, self._demand_since = 0.0, 0.0, -math.inf
        self.reported_at = self.reports_from = -math.inf
        """When the store last heard of us here, and before which moment no report is sent: one is on its way."""
        self.held: dict[str, Held] = {}
        self.asking: set[str] = set()
        """Claims that have not been answered."""
        self.block: Block | None = None
        """On which calls are let in."""
        self.blocks: dict[str, Block] = {}
        """With those that have calls under way, or something to tell."""
        self.typical: dict[Meter, float] = {}
        """What a call on the last block took."""
        self.wished_until, self.refused = -math.inf, False
        """No block is asked for before: another question is on its way, or the last one was refused."""
        self.in_flight = 0
        self.born = 0.0
        """As the store has it, of the books we knew last."""
        self.telling = False
        """Whether what we charged is on its way to books that have forgotten it."""
        self.seen: dict[str, tuple[float, float, float]] = {}
        """By limit: when it was seen, what all had used then, seconds of debt."""
        self.flow: dict[str, list[tuple[float, float]]] = {}
        """By limit: what had ever been charged by when."""
        self.share: float | None = None
        self.least: float | None = None
        self.processes = self.here = 0
        """How many reported of it when the store was last lost to none of them, and how many do now."""
        self.scaled: dict[Meter, Limit] = {}
        """While only our share counts: what the limits really are."""
        self.seeds: dict[Meter, list[tuple[Entry, float]]] = {}
        """What was put on our own books for others."""
        self.outside: dict[Meter, dict[Entry, float]] = {}
        """What stands on our own books of money that no call of ours spent: all processes know of it, and none tells the store."""
        self.untold: dict[Meter, float] = {}
        """How much of it the shared books do not have: what was spent before they began."""
        self.resting: set[str] = set()
        """Deployments that rest because some process said so."""
        self.barred = False
        """Whether our share is less than one call."""

    def shut(self, until: float) -> None:
        """Nobody asks, and so nobody passes, until it is our turn."""
        if self.account.held_until != self.shut_until:
            self.word_until = self.account.held_until
        self.shut_until = max(self.shut_until, until)
        self.account.held_until = max(self.account.held_until, until)

    def granted(self, now: float) -> None:
        """A call was let through."""
        self.came(1, now)

    def came(self, calls: int, now: float) -> None:
        """So many were."""
        demand = self.demand(now)
        if demand < QUIET:
            self._demand_since = now
        self._demand, self._demand_at = demand + calls, now

    def rate(self, now: float) -> float:
        """Of them a second, of late: since they began to come, if that is not long ago."""
        return float(self.demand(now) * -math.log(FADES) / (1.0 - FADES ** max(1.0, now - self._demand_since)))

    @property
    def under_way(self) -> bool:
        return bool(self.held or self.blocks)

    def saw_others(self, meter: Meter, used: float, now: float) -> None:
        """used: what all have on the shared books of a limit; what is not ours is theirs, unused parts of their blocks included."""
        blocks = [block for block in self.blocks.values() if block.meters is self.account.meters]
        if meter.counts_running:
            ours: float = meter.running + sum([block.seats - block.running for block in blocks])
        else:
            number = self.account.meters.index(meter)
            ours = meter._log.current(now) + sum([block.left[number] - block.owed[number] for block in blocks])
        meter.elsewhere = max(0.0, used - ours)

    def forget_others(self, now: float) -> None:
        """What they had when nobody has looked for a window."""
        for meter in self.account.meters:
            seen = self.seen.get(key_of(meter, meter.limit.window))
            if meter.elsewhere and seen is not None and now - seen[0] > max(meter.limit.window, FRESH):
                meter.elsewhere = 0.0

    def saw_money(self, meter: Meter, used: float, now: float) -> None:
        """used: what is on the shared books of it."""
        if meter in self.outside:
            self.untold[meter] = max(self.untold.get(meter, 0.0), meter._log.current(now) - meter._open - used)

    def spent_outside(self, meter: Meter, money: float) -> None:
        """So much was charged last that no call of ours spent. While only our share counts, our part of it does."""
        known, entry = self.outside.setdefault(meter, {}), meter._log.last
        known[entry] = known.get(entry, 0.0) + money
        if len(known) > 2 * SLOTS:
            self.outside[meter] = {each: cost for each, cost in known.items() if not each.gone}
        if meter in self.scaled:
            extra = money / self.factor(meter) - money
            meter._log.correct(entry, extra)
            self.seeds.setdefault(meter, []).append((entry, extra))

    def drop_blocks(self) -> None:
        """The store is lost, or back: nobody is let in on what it gave, and it is not told of that any more but as a whole."""
        self.block = None
        for meter in self.account.meters:
            meter.elsewhere = 0.0
        for block in self.blocks.values():
            block.write_off()
        self.blocks = {id: block for id, block in self.blocks.items() if block.running}

    def ids(self) -> list[str]:
        """What stands in flight for us."""
        return [*self.held, *[f"{block.id}*{block.seats - 1}" if block.seats > 1 else block.id for block in self.blocks.values()]]

    def places(self) -> int:
        """How many that are, with those that are asked for."""
        return len(self.held) + len(self.asking) + sum([block.seats for block in self.blocks.values()])

    def demand(self, now: float) -> float:
        """Calls let through, those of the last seconds weighing most."""
        return float(self._demand * FADES ** (now - self._demand_at))

    def saw(self, term: Term, now: float, used: float, debt: float, ever: float) -> None:
        """The books of one limit, as they are now."""
        self.seen[term.key] = (now, used, debt)
        flow = self.flow.setdefault(term.key, [])
        if flow and flow[-1][1] > ever:
            flow.clear()  # of other books
        while flow and flow[0][0] < now - 2 * term.window:
            del flow[0]
        if len(flow) > 1 and now - flow[-2][0] < term.window / LOOKS:
            flow[-1] = (now, ever)
        else:
            flow.append((now, ever))

    def try_for_place(self, now: float) -> bool:
        """Let one more call go if fewer are in flight than may be, as a report has just shown. Whether none could have gone without."""
        if self.asking:
            return False  # the answer says more
        waits = [meter for meter in self.account.meters if now < meter.tries_at < math.inf and self.in_flight < meter.whole]
        for meter in waits:
            meter.tries_at = now
        return bool(waits)

    def factor(self, meter: Meter) -> float:
        """What the whole limit is of what counts here now."""
        whole = self.scaled.get(meter)
        return 1.0 if whole is None else whole.amount / meter.limit.amount


def tag_of(name: str) -> str:
    """An account's name in keys: nothing can be read from it."""
    return fingerprint(name)


def terms_of(quota: Quota, taken: Taken, ask: Ask, now: float) -> list[tuple[Hold, Term]]:
    """What a call asks of each limit of an account, as its meters would decide it."""
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
    """The windows of an account, for looking at."""
    return [Term(key_of(meter, meter.limit.window), meter.room, 0.0, meter.limit.window, meter._log.window) for meter in windowed(quota)]


def windowed(quota: Quota) -> list[Meter]:
    return [meter for meter in quota.account.meters if meter.limit.window]


def key_of(meter: Meter, window: float) -> str:
    return f"{meter.limit.unit.value}/{window:g}"


def doubt(quota: Quota, meter: Meter, taken: Taken) -> float:
    """As `Account` has it, with the calls that all processes have under way."""
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
    """The flow has run ahead until then, ours and that of the others."""
    if meter._pace is not None:
        meter._pace.paid_until = max(meter._pace.paid_until, until)


def pause_of(quota: Quota, answer: Answer, terms: Sequence[tuple[Hold, Term]]) -> float:
    """Seconds until this process asks again. Where calls give back what they do not use, sooner than the books as they stand would say."""
    if answer.binding is None and not answer.granted:
        return answer.turn  # nothing of ours: a provider's word holds it shut
    meter = None if answer.binding is None else terms[answer.binding][0].meter
    pause = min(LONGEST_PAUSE, max(0.0, answer.turn - EARLY))
    if meter is not None and meter.limit.unit in (Unit.TOKENS, Unit.OUTPUT, Unit.MONEY) and meter.profile.accounting == "settle":
        pause = min(pause, max(0.1, quota.account.sizes.duration / 2))
    return pause


def ending(held: Held, used: Used | None, sent: bool, failure: Failure | None, now: float, *, followed: bool) -> Message:
    """What a call turned out to cost, against what the shared books were charged. followed: whether a call goes in its place, and asks."""
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
    """Whether a limit was seen of late, and far from full."""
    seen = quota.seen.get(term.key)
    return seen is not None and now - seen[0] < FRESH and seen[1] < FILLING * term.room


def _patience(one: Correction, kept: float, filling: bool) -> float:
    """Seconds for which nobody misses the word of what a call cost of one limit. kept: what it did cost of what was charged."""
    if one.written or one.difference > 0:
        return SOON
    if not one.difference or filling:
        return KEEPS
    # of calls that come as fast as the limit lets them, what d seconds of them give back is d * given / (kept * window) of it
    return min(KEEPS, max(SOON, WASTE * one.window * kept / -one.difference))


def given_back(held: Held) -> Message:
    """A call that was let through there and does not go."""
    back = [
        Correction(term.key, term.window, term.span, term.rate, -term.cost, 0.0, -term.expected if term.rate else 0.0)
        for _, term in held.terms
        if term.window
    ]
    return settlement(held.quota.tag, held.id, held.at, LONG_LEASE, back)
