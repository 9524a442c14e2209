"""Tabs: calls that come close together, while there is plenty for all of them, are only added up and charged to the books as one.

Each is still let through or not by the rules of `Account.when`: a tab takes at most so much that whatever fits onto it would have fitted
into the books. Nobody sees books that lack what is on a tab: whoever looks at them or changes them, by the limiter's lock, finds all tabs
closed, and what was on them charged as of the moment of its last call. What is learned from answers is learned from the first of each tab.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from headrace.limits.account import Account, Taken
from headrace.limits.guard import NO_ENTRY, Entry
from headrace.limits.limit import Charge, Used
from headrace.limits.lock import Lock
from headrace.limits.meter import UNSEEN, Hold, Meter
from headrace.limits.sizes import SIGMAS

LONGEST: Final = 0.06
"""Seconds from a tab's first call to its last, of which all leave the window with the last: a thousandth of a minute. Calls further apart
than that are no reason for one, unless many are under way."""
MANY: Final = 4
NOT_AGAIN: Final = 0.1
"""Seconds for which no other tab is tried where one was full, or could not be had."""
PART: Final = 2.0
"""What is left under a limit, divided by what a tab may take of it."""


UNTAKEN: Final = Taken(Charge(), 0.0, 0.0, -math.inf, -math.inf, [])
"""What a call holds of the books that only stands on tabs."""


class Tab(Struct, eq=False):
    """What calls take of one account until somebody looks at its books."""

    account: Account
    meters: Sequence[Meter]
    parallel: Sequence[Meter]
    """Those that count what is under way."""
    changing: Sequence[tuple[int, Meter]]
    """Those under which a call turns out to cost something else than on arrival, and their places among all."""
    flow: Meter | None
    """The limit whose flow is spread and goes by what is written."""
    ahead: float
    """What may be added to that flow."""
    begun: float
    until: float
    at: float = -math.inf
    """When its last call was let through."""
    unpaid: float = 0.0
    """What its calls will probably add to the flow."""
    squares: float = 0.0
    """Of the prompts of those under way, and what they will probably write: as `Sizes.begin` has them."""
    outputs: float = 0.0
    entries: Sequence[Entry] | None = None
    """Where it was charged, by limit; None while it is open."""
    views: Sequence[tuple[float, float]] = ()
    """What was on our books before its first call, by limit."""


class Put(Struct, eq=False, gc=False):
    """What one call has on one tab."""

    tab: Tab
    charge: Charge
    input: float
    """The prompt, as the provider is expected to count it."""
    costs: Sequence[float]
    """What it takes of each limit."""
    expected: float
    """What it will probably add to the flow."""
    output: float
    """Tokens that it will probably write."""
    at: float
    first: bool
    """Whether it is the first on it."""

    def taken(self) -> Taken:
        """The same as it stands in the books. The tab is closed."""
        tab, holds = self.tab, []
        assert tab.entries is not None
        for meter, cost, entry, (used, ever) in zip(tab.meters, self.costs, tab.entries, tab.views, strict=True):
            spread = cost if meter.constant else self.expected if meter is tab.flow else 0.0
            holds.append(Hold(meter, cost, spread, entry, (used + cost, ever + cost), cost))
        return Taken(self.charge, self.input, self.output, self.at, self.at, holds)


class Tabs:
    """The open tabs of one limiter. Whoever calls holds its lock: by `Lock.held`, which leaves them open."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._open: list[Tab] = []

    # ---- putting down

    def put(self, accounts: Sequence[Account], charge: Charge, now: float) -> tuple[Put, ...]:
        """Put a call down on the tabs of all of these; on none, where the books have to be asked. In one piece: every call does it."""
        puts: list[Put] = []
        for account in accounts:
            tab = account.tab
            if tab is None or now >= tab.until:
                tab = self._begin(account, now)
                if tab is None:
                    return _on_none(puts)
            fits, expected, output = True, 0.0, 0.0
            account.in_flight += 1
            # `Account.costs` of what counts no tokens, without a call.
            input, costs = account.costs(charge) if account.learns else (charge.input, account._pick((charge.requests, 1.0, charge.money)))
            if account.expects:
                output = account.sizes.expected(charge)
                tab.squares += input * input
                tab.outputs += output
                flow = tab.flow
                if flow is not None:
                    expected = flow.expected(charge, input, output)
                    tab.unpaid = unpaid = tab.unpaid + expected
                    fits = unpaid <= tab.ahead
            for meter, cost in zip(tab.meters, costs):  # noqa: B905 - saying `strict` costs as much as looking at a limit
                meter.unbooked = unbooked = meter.unbooked + cost
                if unbooked > meter.spare:
                    fits = False
                if meter.counts_money:
                    meter._open += cost
            puts.append(Put(tab, charge, input, costs, expected, output, now, tab.at < tab.begun))
            if not fits:
                account.no_tab_until = now + NOT_AGAIN
                return _on_none(puts)
            tab.at = now
        return tuple(puts)

    def _begin(self, account: Account, now: float) -> Tab | None:
        """Another tab for the account, if it has plenty of everything and calls come close together."""
        if account.tab is not None:
            self._open.remove(account.tab)
            _book(account.tab)
        before, account.asked_at = account.asked_at, now
        if now < account.no_tab_until or (now - before > LONGEST and account.in_flight < MANY):
            return None
        flow = ahead = None
        if account.held_until <= now and account.urgent_until <= now:
            flows = [meter for meter in account.meters if meter._pace is not None and not meter.constant]
            flow = flows[0] if flows else None
            if len(flows) <= 1 and all(_spare(account, meter, now) > 0 for meter in account.meters):
                ahead = _ahead(flow, now)
        if ahead is None:
            account.no_tab_until = now + NOT_AGAIN
            return None
        tab = account.tab = Tab(account, account.meters, account.parallel, account.changing, flow, ahead, now, now + LONGEST)
        self._open.append(tab)
        self._lock.before = self.close
        return tab

    # ---- closing

    def close(self) -> None:
        """Bring everything into the books."""
        self._lock.before = None
        for tab in self._open:
            _book(tab)
        self._open.clear()


def _on_none(puts: Sequence[Put]) -> tuple[Put, ...]:
    """Undo them: the call goes another way. Their tabs are open."""
    for put in puts:
        tab = put.tab
        tab.account.in_flight -= 1
        tab.unpaid -= put.expected
        if tab.account.expects:
            tab.squares -= put.input * put.input
            tab.outputs -= put.output
        for meter, cost in zip(tab.meters, put.costs, strict=True):
            meter.unbooked -= cost
            if meter.counts_money:
                meter._open -= cost
    return ()


def settle(puts: Sequence[Put], used: Used, now: float) -> None:
    """End a call that was answered: charge what it used, give back the rest. Of the first on each tab its account learns."""
    for put in puts:
        tab, charge, costs, input = put.tab, put.charge, put.costs, put.input
        account, entries, flow = tab.account, tab.entries, tab.flow
        account.in_flight -= 1
        if account.expects:
            if entries is None:
                tab.squares -= input * input
                tab.outputs -= put.output
            else:
                account.sizes.end(input, put.output)
        for meter in tab.parallel:
            if entries is None:
                meter.unbooked -= 1
            else:
                meter.running -= 1
        counted = input  # `Account.counted`, without a call, where more counts than calls and money
        if account.learns and used.input:
            counted = used.input - used.cached if account.profile.cached_free else used.input
        for number, meter in tab.changing:
            cost = costs[number]
            if meter.counts_money:
                more = used.money - cost
                meter._open -= cost
            else:
                more = meter.final(charge, counted, used) - cost
            if entries is None:
                meter.unbooked += more
                if meter is flow:
                    tab.unpaid += cost + more - put.expected
            else:
                meter.correct(entries[number], more)
                if meter is flow:
                    _correct_flow(account, flow, cost + more - put.expected)
        if put.first and account.learns:
            account.sizes.learn(charge, used, now - put.at, now)


def _correct_flow(account: Account, flow: Meter, more: float) -> None:
    """A call of a closed tab cost that much more than it was expected to."""
    assert flow._pace is not None
    flow._pace.correct(more)
    if more > 0 and account.tab is not None:  # that is no longer there for those of today
        account.tab.ahead -= more


def _spare(account: Account, meter: Meter, now: float) -> float:
    """What calls may take of a limit before its books are looked at again, as `Account.when` would let them; 0 for nothing.

    Doubt about prompts grows by no more than `SIGMAS * error` of what they are estimated at, so a tab leaves as much for it.
    """
    if meter.counts_running:
        spare = (meter.room - meter.running) / PART
    elif meter.as_written or meter._shorter:
        spare = 0.0  # what is in doubt there grows by more than what a call takes on arrival; windows of seconds need each moment
    else:
        left = meter.room_behind_urgent - meter._log.current(now)
        if meter.doubted:
            left = (left - account.sizes.doubt(0.0)) / (1.0 + SIGMAS * account.sizes.error)
        spare = left / PART
        if meter.constant and meter._pace is not None:
            spare = min(spare, _ahead(meter, now))
    meter.spare = spare if spare > 0.0 else 0.0
    return meter.spare


def _ahead(flow: Meter | None, now: float) -> float:
    """What may be added to a flow before nothing more would pass."""
    if flow is None or flow._pace is None:
        return 0.0
    pace = flow._pace
    paid = pace.paid_until if pace.paid_until > now else now
    return (now + flow.ahead(flow.spare, now, urgent=False) - paid) * pace.rate


def _book(tab: Tab) -> None:
    """Close a tab: charge all of it as of the moment of its last call."""
    account, at = tab.account, max(tab.at, tab.begun)
    entries, views = [], []
    for meter in tab.meters:
        amount, meter.unbooked, meter.spare = meter.unbooked, 0.0, 0.0
        if meter.counts_running:
            meter.running += round(amount)
            entries.append(NO_ENTRY)
            views.append(UNSEEN)
            continue
        views.append((meter._log.current(at), meter._ever))
        entries.append(meter.book(amount, tab.unpaid if meter is tab.flow else amount, at))
    if account.expects:
        account.sizes.unconfirmed += max(0.0, tab.squares)
        account.sizes.owed += max(0.0, tab.outputs)
    tab.entries, tab.views = entries, views
    account.tab, account.asked_at = None, at
