"""Tabs: calls that come close together, while limits have plenty of room, are charged to the account as one.

Each call is still admitted by the rules of `Account.when`: a tab takes at most so much that whatever fits onto it would
have fitted the account. Nobody sees an account without what is on its tab: taking the limiter's lock closes all tabs,
and charges them as of the moment of their last call. The account learns only from the first response of each tab.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from headrace.limits.account import Account, Taken
from headrace.limits.costs import Arrival, picker
from headrace.limits.limit import Charge, Used
from headrace.limits.lock import Lock
from headrace.limits.meter import UNSEEN, Hold, Meter
from headrace.limits.sizes import SIGMAS, Sizes
from headrace.limits.sliding_log import NO_ENTRY, Entry

if TYPE_CHECKING:
    from headrace.limits.blocks import Block

LONGEST: Final = 0.06
"""Seconds from a tab's first call to its last, whose charges all leave the window with the last: a thousandth of a
minute. Calls further apart do not start a tab, unless many are in flight."""
MANY: Final = 4
NOT_AGAIN: Final = 0.1
"""Seconds for which no new tab is tried after one was full or could not be opened."""
TOKENS: Final = len(Arrival) - Arrival.INPUT
"""Entries of `Arrival` that are token amounts."""
PART: Final = 2.0
"""A tab may take what is left under a limit divided by this."""


UNTAKEN: Final = Taken(Charge(), 0.0, 0.0, -math.inf, -math.inf, [])
"""What a call that is only on tabs holds of the accounts."""


class Tab(Struct, eq=False):
    """What calls have taken of one account since its tab was opened."""

    account: Account
    meters: Sequence[Meter]
    flow: Meter | None
    """The paced limit whose cost depends on tokens, if any."""
    ahead: float
    """What may be added to that flow."""
    begun: float
    until: float
    slates: list[Slate] = []
    """The slates it is on while it is open."""
    unpaid: float = 0.0
    """What its calls are expected to add to the flow."""
    squares: float = 0.0
    """Squares of the prompts in flight, and their expected outputs: see `Sizes.begin`."""
    outputs: float = 0.0
    entries: Sequence[Entry] | None = None
    """Log entries that it was charged as, by limit; None while it is open."""
    views: Sequence[tuple[float, float]] = ()
    """Our totals before its first call, by limit."""
    block: Block | None = None
    """The block of a shared limit that it draws on."""


class Shape(Struct, frozen=True, eq=False):
    """The limits of several accounts in one sequence, so that a call's cost to each is computed at once."""

    accounts: tuple[Account, ...]
    """A caller's scopes, then a deployment's account."""
    limits: tuple[Sequence[Meter], ...]
    """By account."""
    meters: tuple[Meter, ...]
    """All of them."""
    pick: Callable[[Sequence[float]], Any]
    """Selects the cost to each limit from `Put.amounts`."""
    sizes: tuple[Sizes, ...]
    """Of the accounts that learn."""
    parallel: tuple[tuple[int, Meter], ...]
    """Limits on calls in flight, with the index of their account."""
    changing: tuple[tuple[Meter, int, int, int, int], ...]
    """Limits under which a call's final cost may differ from its cost on arrival: with the index of their account,
    their index among all limits, their index in the account, and the index of the prompt in `Put.amounts`."""
    money: tuple[tuple[Meter, int], ...]
    """Budgets, with their index among all limits."""

    def holds(self) -> bool:
        """Whether the accounts still have these limits."""
        return all(account.meters is meters for account, meters in zip(self.accounts, self.limits, strict=True))


class Slate(Struct, eq=False):
    """The open tabs for calls from one caller to one deployment."""

    shape: Shape
    tabs: tuple[Tab, ...]
    """By account."""
    until: float
    """When the first of them ends; -inf once one is closed."""
    fresh: tuple[Account, ...]
    """Accounts whose tabs have no call yet."""
    blocks: tuple[Block, ...] = ()
    """The blocks that the tabs draw on."""
    at: float = -math.inf
    """When its last call was admitted."""


class Put(Struct, eq=False, gc=False):
    """What one call has on the tabs of a slate."""

    slate: Slate
    charge: Charge
    amounts: Sequence[float]
    """Requests, 1 and money, then the token amounts of `Arrival` for each account that learns, as it is expected to
    count them."""
    costs: Sequence[float]
    """What it takes of each limit."""
    input: float
    """Prompt tokens, as the deployment's provider is expected to count them."""
    expected: float
    """What it is expected to add to the deployment's flow."""
    output: float
    """Tokens that it is expected to write."""
    at: float
    first: tuple[Account, ...]
    """Accounts on whose tabs it is the first call."""

    def taken(self) -> list[tuple[Account, Taken]]:
        """The same as ordinary holds. The tabs must be closed."""
        shape, costs, prompts = self.slate.shape, iter(self.costs), iter(self.amounts[Arrival.INPUT :: TOKENS])
        inputs = [next(prompts) if account.sizes in shape.sizes else self.charge.input for account in shape.accounts]
        return [(tab.account, self._taken(tab, costs, input)) for tab, input in zip(self.slate.tabs, inputs, strict=True)]

    def _taken(self, tab: Tab, costs: Iterator[float], input: float) -> Taken:
        """costs: iterator positioned at the costs of this tab's limits."""
        holds = []
        assert tab.entries is not None
        for meter, entry, (used, ever) in zip(tab.meters, tab.entries, tab.views, strict=True):
            cost = next(costs)
            spread = cost if meter.constant else self.expected if meter is tab.flow else 0.0
            holds.append(Hold(meter, cost, spread, entry, (used + cost, ever + cost), cost))
        return Taken(self.charge, input, self.output, self.at, self.at, holds, block=tab.block)


class Lender(Protocol):
    """Where the blocks of shared limits come from."""

    def lend(self, account: Account, charge: Charge, now: float) -> Block | None:
        """The block that a new tab of the account may draw on, for calls like this one; None if there is none. Requests the next one."""
        ...

    def requests(self, account: Account) -> bool:
        """Whether the account has requested a block and waits for the reply."""
        ...


class Tabs:
    """The open tabs of one limiter. Callers hold its lock by `Lock.held`, which leaves the tabs open."""

    def __init__(self, lock: Lock, lender: Lender | None = None) -> None:
        self._lock, self._lender = lock, lender
        self._open: list[Tab] = []

    # ---- adding calls

    def put(self, slates: dict[Account, Slate], scopes: tuple[Account, ...], own: Account, charge: Charge, now: float) -> Put | None:
        """Add a call to the tabs of all these accounts; None, and nothing added, if the accounts must be checked.

        Inlined: every call runs it.

        slates: of that caller, by the deployment's account, where later calls find the slate.
        """
        slate = slates.get(own)
        if slate is None or now >= slate.until:
            slate = self._begin_all(slates, (*scopes, own), charge, now)
            if slate is None:
                return None
        shape, tab = slate.shape, slate.tabs[-1]
        input: float = charge.input
        most: float = charge.max_output
        amounts: list[float] = [charge.requests, 1.0, charge.money]
        for sizes in shape.sizes:
            input = charge.input * sizes.ratio
            if not charge.stated:
                most = sizes.most(charge.max_output)
            amounts += (input, most, 0.0, input + most, input if input > most else most)
        costs, fits, expected, output = shape.pick(amounts), True, 0.0, 0.0
        for meter, cost in zip(shape.meters, costs):  # noqa: B905 - passing `strict` costs as much as checking one limit
            meter.unbooked = unbooked = meter.unbooked + cost
            if unbooked > meter.spare:
                fits = False
        for account in shape.accounts:
            account.in_flight += 1
        for meter, place in shape.money:
            meter._open += costs[place]
        if own.expects:
            output = own.sizes.expected(charge)
            tab.squares += input * input
            tab.outputs += output
            if tab.flow is not None:
                expected = tab.flow.expected(charge, input, output)
                tab.unpaid = unpaid = tab.unpaid + expected
                if unpaid > tab.ahead:
                    fits = False
        put = Put(slate, charge, amounts, costs, input, expected, output, now, slate.fresh)
        if not fits:
            _undo(put, now)
            return None
        slate.at, slate.fresh = now, ()
        return put

    def _begin_all(self, slates: dict[Account, Slate], accounts: tuple[Account, ...], charge: Charge, now: float) -> Slate | None:
        """A slate of existing and new tabs for these accounts and calls like this one; None if one can have no tab."""
        tabs: list[Tab] = []
        fresh: list[Account] = []
        for account in accounts:
            tab = account.tab
            if tab is None or now >= tab.until:
                tab = self._begin(account, charge, now)
                if tab is None:
                    if self._lender is not None and self._lender.requests(account):
                        self._request(self._lender, accounts[len(tabs) + 1 :], charge, now)
                    return None
                fresh.append(account)
            tabs.append(tab)
        before = slates.get(accounts[-1])
        shape = before.shape if before is not None and before.shape.holds() else _shape(accounts)
        slate = slates[accounts[-1]] = Slate(shape, tuple(tabs), min([tab.until for tab in tabs]), tuple(fresh))
        if self._lender is not None:
            slate.blocks = tuple([tab.block for tab in tabs if tab.block is not None])
        for tab in tabs:
            tab.slates.append(slate)
        return slate

    @staticmethod
    def _request(lender: Lender, accounts: Sequence[Account], charge: Charge, now: float) -> None:
        """Request blocks for the remaining accounts of a call as well, so that all are there after one round trip."""
        for account in accounts:
            if account.tab is None and account.meters:
                lender.lend(account, charge, now)

    def _begin(self, account: Account, charge: Charge, now: float) -> Tab | None:
        """Open a tab for the account, if all of its limits have plenty of room and calls come close together."""
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
        if ahead is None or (flow is not None and ahead <= 0.0):
            account.no_tab_until = now + NOT_AGAIN
            return None
        tab = Tab(account, account.meters, flow, ahead, now, now + LONGEST)
        if self._lender is not None and account.meters:
            block = tab.block = self._lender.lend(account, charge, now)
            if block is None:
                return None
            tab.ahead, tab.until = block.bound(ahead), min(tab.until, block.until if now >= block.renewed_at else block.renewed_at)
        account.tab = tab
        self._open.append(tab)
        self._lock.before = self.close
        return tab

    # ---- closing

    def close(self) -> None:
        """Charge all open tabs to their accounts."""
        self._lock.before = None
        for tab in self._open:
            _book(tab)
        self._open.clear()


def _shape(accounts: tuple[Account, ...]) -> Shape:
    picked: list[int] = []
    sizes: list[Sizes] = []
    parallel: list[tuple[int, Meter]] = []
    changing: list[tuple[Meter, int, int, int, int]] = []
    money: list[tuple[Meter, int]] = []
    for number, account in enumerate(accounts):
        prompt = Arrival.INPUT + TOKENS * len(sizes)
        parallel += [(number, meter) for meter in account.parallel]
        changing += [(meter, number, len(picked) + place, place, prompt) for place, meter in account.changing]
        money += [(meter, len(picked) + place) for place, meter in account.changing if meter.counts_money]
        picked += [meter.arrives + (prompt - Arrival.INPUT if meter.arrives >= Arrival.INPUT else 0) for meter in account.meters]
        sizes += [account.sizes] if account.learns else []
    limits = tuple([account.meters for account in accounts])
    meters = tuple([meter for those in limits for meter in those])
    return Shape(accounts, limits, meters, picker(picked), tuple(sizes), tuple(parallel), tuple(changing), tuple(money))


def _undo(put: Put, now: float) -> None:
    """Take the call off its open tabs again."""
    slate = put.slate
    shape, tab = slate.shape, slate.tabs[-1]
    for each in slate.tabs:
        account = each.account
        account.in_flight -= 1
        over = any(meter.unbooked > meter.spare for meter in each.meters) or each.unpaid > each.ahead
        if over and (each.block is None or each.block.holds([meter.unbooked for meter in each.meters], each.unpaid)):
            account.no_tab_until = now + NOT_AGAIN  # else another block may be there at once
    tab.unpaid -= put.expected
    if tab.account.expects:
        tab.squares -= put.input * put.input
        tab.outputs -= put.output
    for meter, cost in zip(shape.meters, put.costs, strict=True):
        meter.unbooked -= cost
    for meter, place in shape.money:
        meter._open -= put.costs[place]


def settle(put: Put, used: Used, now: float) -> None:
    """Settle a call with reported usage. Accounts learn from the first call on their tabs."""
    slate, charge, costs, whole = put.slate, put.charge, put.costs, used.input
    shape, tabs, tab = slate.shape, slate.tabs, slate.tabs[-1]
    for each in shape.accounts:
        each.in_flight -= 1
    for block in slate.blocks:
        block.running -= 1
    if tab.account.expects:
        if tab.entries is None:
            tab.squares -= put.input * put.input
            tab.outputs -= put.output
        else:
            tab.account.sizes.end(put.input, put.output)
    for number, meter in shape.parallel:
        if tabs[number].entries is None:
            meter.unbooked -= 1
        else:
            meter.running -= 1
    for meter, number, place, among, prompt in shape.changing:
        tab, cost = tabs[number], costs[place]
        if meter.counts_money:
            more = used.money - cost
            meter._open -= cost
        else:
            # the same as `Account.counted`, inlined
            counted = put.amounts[prompt] if not whole else whole - used.cached if tab.account.profile.cached_free else whole
            more = meter.final(charge, counted, used) - cost
        if tab.entries is None:
            meter.unbooked += more
            if meter is tab.flow:
                tab.unpaid += cost + more - put.expected
        else:
            meter.correct(tab.entries[among], more)
            if tab.block is not None:
                tab.block.took(among, more)
            if meter is tab.flow:
                _correct_flow(tab.account, meter, cost + more - put.expected)
                if tab.block is not None:
                    tab.block.flowed(cost + more - put.expected)
    for account in put.first:
        if account.learns:
            account.sizes.learn(charge, used, now - put.at, now)


def _correct_flow(account: Account, flow: Meter, more: float) -> None:
    """Correct the flow for a call of a closed tab that cost `more` than expected."""
    assert flow._pace is not None
    flow._pace.correct(more)
    if more > 0 and account.tab is not None:  # calls on the current tab can no longer use that
        account.tab.ahead -= more


def _spare(account: Account, meter: Meter, now: float) -> float:
    """What calls may take of a limit before its account is checked again; 0 for nothing.

    Under the rules of `Account.when`. Doubt about prompts grows by no more than `SIGMAS * error` of their estimates, so
    a tab leaves that much.
    """
    if meter.counts_running:
        spare = (meter.room - meter.running) / PART
    elif meter.as_written or meter._shorter:
        spare = 0.0  # doubt grows there by more than a call takes on arrival; windows of seconds need exact moments
    else:
        left = meter.room_behind_urgent - meter._log.current(now)
        if meter.doubted:
            left = (left - account.sizes.doubt(0.0)) / (1.0 + SIGMAS * account.sizes.error)
        spare = left / PART
        if meter.constant and meter._pace is not None:
            spare = min(spare, _ahead(meter, now))
    if meter._burst is not None and spare > meter._burst / PART:  # the bucket holds all of it, whatever the largest call
        spare = meter._burst / PART
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
    account, at = tab.account, max([tab.begun, *[slate.at for slate in tab.slates]])
    entries, views = [], []
    if tab.block is not None:
        tab.block.book([meter.unbooked for meter in tab.meters], tab.unpaid)
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
    for slate in tab.slates:
        slate.until = -math.inf
    tab.slates.clear()
    account.tab, account.asked_at = None, at
