"""Accounting of one quota: its limits, what blocks it, and what its calls really cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from headrace.errors import Failure, Kind
from headrace.limits.costs import Arrival, picker
from headrace.limits.limit import Charge, Limit, Unit, Used
from headrace.limits.meter import Hold, Meter
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.profile import Profile
from headrace.limits.sizes import Sizes
from headrace.limits.sliding_log import EPSILON

if TYPE_CHECKING:
    from headrace.limits.blocks import Block
    from headrace.limits.tabs import Tab

Costs: TypeAlias = tuple[float, tuple[float, ...]]
"""A call's cost to an account: its prompt in the provider's tokens, and the amount it takes of each limit on arrival."""

NOT_STARTED: Final = frozenset({
    Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED, Kind.BAD_REQUEST, Kind.CONTEXT_WINDOW, Kind.UNSUPPORTED_PARAMS, Kind.UNPROCESSABLE,
    Kind.AUTHENTICATION, Kind.PAYMENT, Kind.PERMISSION, Kind.NOT_FOUND,
})  # fmt: skip
"""Refusals before any work was done: no tokens were used."""

SHARPNESS: Final = 12
"""How steeply a limit's shadow price rises: 80 % full, it is a fifteenth of the full price; 95 % full, half of it."""
SLACK: Final = 0.2
"""Share of a limit up to which its price is negligible: a billionth of the full price."""
FRESH: Final = 1.0
"""Seconds for which prices are valid."""
OF_INPUT: Final = frozenset({Arrival.INPUT, Arrival.BOTH, Arrival.LARGER})
OF_OUTPUT: Final = frozenset({Arrival.OUTPUT, Arrival.BOTH, Arrival.LARGER})
GRAIN: Final = 1 / 64
"""Share of a limit that may be taken before prices are recomputed."""
MANY: Final = 1e9
"""Upper bound for the number of calls that a limit has room for."""
URGENT_MEMORY: Final = 60.0
"""Seconds after an interactive call for which a share of each window is reserved for further ones."""


WEIGHED: Final = 8.0
"""Weight of the share of a limit that a call takes against how full the limit is, while prices are negligible: a large
call goes where its share is small, unless that limit is much fuller than the others."""
STEP: Final = 1e6
"""Rank of one hundredth of a limit. Calls in flight, which decide between equally full limits, are fewer than that."""


class Worth(Struct, frozen=True, gc=False):
    """Shadow prices of an account's limits at one moment: negligible while limits are slack, rising steeply as they fill."""

    call: float
    """Price of a call apart from its tokens and money."""
    input: float
    """Price of each prompt token."""
    output: float
    """Price of each output token."""
    money: float
    """Price of each nano-dollar."""
    fullness: float
    """Used share of the fullest limit."""
    a_call: float
    """The share of a limit that any call takes."""
    an_input: float
    """The share of a limit that each prompt token takes."""
    an_output: float
    """The share of a limit that each output token takes, where output counts on arrival."""
    until: float
    """Clock seconds until which these prices are valid."""
    slack_until: float
    """The same while every price is negligible; else -inf."""


NEVER_LOOKED_AT: Final = Worth(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -math.inf, -math.inf)


class Account:
    """One quota. Deployments with the same key, address and model share it."""

    __slots__ = (
        "_pick", "asked_at", "changing", "deployments", "expects", "has_budget", "held_until", "in_flight", "learns", "meters", "name",
        "no_tab_until", "parallel", "profile", "settings", "sizes", "tab", "unpriced", "urgent_until", "worth",
    )  # fmt: skip

    def __init__(self, name: str, limits: Sequence[Limit], profile: Profile, settings: MeterSettings) -> None:
        self.name = name
        self.profile = profile
        self.settings = settings
        self.sizes = Sizes()
        self._keep([Meter(limit, profile, settings) for limit in limits])
        self.in_flight = 0
        self.deployments: set[str] = set()
        self.held_until = -math.inf
        """The moment before which no call is admitted."""
        self.urgent_until = -math.inf
        self.tab: Tab | None = None
        """The open tab for its calls, if any."""
        self.asked_at = self.no_tab_until = -math.inf
        """When a call last arrived that could have used a tab, and the moment until which no tab is opened."""

    def meter_of(self, unit: Unit, window: float) -> Meter | None:
        return next((meter for meter in self.meters if meter.limit.unit is unit and meter.limit.window == window), None)

    def configure(self, limits: Sequence[Limit], profile: Profile) -> None:
        """Replace the limits. A limit that stays keeps what was charged to it."""
        meters = []
        for limit in limits:
            meter = self.meter_of(limit.unit, limit.window)
            if meter is None or profile != self.profile:
                meter = Meter(limit, profile, self.settings)
            elif meter.limit != limit:
                meter.resize(limit)
            meters.append(meter)
        self.profile = profile
        self._keep(meters)

    def join(self, limits: Sequence[Limit]) -> None:
        """Merge the limits of another deployment: the lower amount counts where both have the same limit."""
        for limit in limits:
            meter = self.meter_of(limit.unit, limit.window)
            if meter is None:
                self._keep([*self.meters, Meter(limit, self.profile, self.settings)])
            elif limit.amount < meter.limit.amount:
                meter.resize(limit)

    def _keep(self, meters: list[Meter]) -> None:
        self.meters = meters
        self.has_budget = any(meter.limit.unit is Unit.MONEY for meter in meters)
        self.expects = any(meter.expects or meter.doubted for meter in meters)
        """Whether estimates of running calls matter to any limit."""
        if not self.expects:
            self.sizes.forget_running()
        self.learns = any(meter.limit.unit not in (Unit.REQUESTS, Unit.MONEY) for meter in meters)
        """Whether the sizes of completed calls matter to any limit."""
        self.worth = NEVER_LOOKED_AT
        """The latest prices."""
        self.unpriced = 0
        """Calls that may still use these prices before they are recomputed."""
        self.parallel = [meter for meter in meters if meter.counts_running]
        self.changing = [(number, meter) for number, meter in enumerate(meters) if not meter.constant]
        """Limits whose final cost may differ from the cost on arrival, with their index among all."""
        self._pick = picker([meter.arrives for meter in meters])

    # ---- what a call costs

    def costs(self, charge: Charge) -> Costs:
        if not self.learns:  # no limit counts tokens
            return charge.input, self._pick((charge.requests, 1.0, charge.money))
        counted = charge.input - charge.cached if charge.cached and self.profile.cached_free else charge.input
        input = counted * self.sizes.ratio
        most = charge.max_output if charge.stated else self.sizes.most(charge.max_output)
        # the same as `amounts`, inlined: called for every call and account
        return input, self._pick((charge.requests, 1.0, charge.money, input, most, 0.0, input + most, input if input > most else most))

    def current(self, costs: Costs) -> bool:
        """Whether `costs` were computed with the current limits."""
        return len(costs[1]) == len(self.meters)

    # ---- when a call fits

    def open_at(self, now: float, urgent: bool = False) -> float:
        """The moment before which no call at all can pass; inf if one must end first."""
        whole = urgent or self.urgent_until <= now
        at = self._open_at(now, urgent, whole)
        if not whole and at > self.urgent_until:  # by then nothing is reserved for interactive calls any more
            at = max(self.urgent_until, self._open_at(now, urgent, True))
        return at

    def _open_at(self, now: float, urgent: bool, whole: bool) -> float:
        at, even = self.held_until if self.held_until > now else now, whole and not urgent
        for meter in self.meters:
            if meter.counts_running:
                if meter.running >= meter.room and meter.tries_at > at:
                    at = meter.tries_at
                continue
            pace = meter._pace
            if pace is not None and pace.paid_until > at:
                opens = pace.paid_until - meter.tolerance if even and meter._burst is None else meter.open_at(now, urgent, whole)
                if opens > at:
                    at = opens
            if meter.constant and meter._log.used + 1.0 > meter.room_behind_urgent + EPSILON:  # not even one request may fit
                opens = meter.when(1.0, now, 0.0, urgent, whole)
                if opens > at:
                    at = opens
        return at

    def when(self, costs: Costs, now: float, urgent: bool) -> tuple[float, Meter | None]:
        """The moment at which a call fits, and the limit that determines it."""
        whole = urgent or self.urgent_until <= now
        at, binding = self._when(costs, now, urgent, whole)
        if not whole and at > self.urgent_until:
            freed, bound = self._when(costs, now, urgent, True)
            at, binding = (freed, bound) if freed > self.urgent_until else (self.urgent_until, binding)
        return at, binding

    def _when(self, costs: Costs, now: float, urgent: bool, whole: bool) -> tuple[float, Meter | None]:
        at = self.held_until if self.held_until > now else now
        binding = None
        for meter, cost in zip(self.meters, costs[1], strict=False):
            fits = meter.when(cost, now, self._doubt(meter, costs[0]) if meter.doubted else 0.0, urgent, whole)
            if fits > at:
                at, binding = fits, meter
        return at, binding

    def has_room(self, costs: Costs, now: float, urgent: bool) -> bool:
        """Whether a call fits now.

        The rules of `when`, inlined and ordered to fail early: this runs for every limit of every call.
        """
        if self.held_until > now:
            return False
        whole = urgent or self.urgent_until <= now
        even = whole and not urgent
        for meter, cost in zip(self.meters, costs[1]):  # noqa: B905 - passing `strict` costs as much as checking one limit
            if meter.counts_running:
                if meter.running + cost > meter.room + EPSILON and meter.tries_at > now:
                    return False
                continue
            log, pace = meter._log, meter._pace
            if log.expires <= now:
                log.forget(now)
            used, room = log.used, meter.room if whole else meter.room_behind_urgent
            if meter.doubted:
                room -= self._doubt(meter, costs[0]) if meter.as_written else self.sizes.doubt(costs[0])
            if used + cost > room + EPSILON and (used > EPSILON or room > cost or cost > meter.whole + EPSILON):
                return False
            if pace is not None and pace.paid_until > now:
                ahead = meter.tolerance if even and meter._burst is None else meter.ahead(cost, now, urgent, whole)
                if pace.paid_until - ahead > now:  # exactly as in `Meter.when`, which says when the queue is matched again
                    return False
            if meter._shorter and not meter.short_windows_allow(cost, now):
                return False
        return True

    def price(self, charge: Charge, now: float) -> float:
        """A call's shadow price at this account. Uses recent prices if little was taken since."""
        worth = self.worth if self.unpriced > 0 and self.worth.until >= now else self._look(charge, now)
        return worth.call + worth.input * charge.input + worth.output * charge.max_output + worth.money * charge.money

    def rank(self, charge: Charge) -> float:
        """How full the account would be with such a call, in steps within which calls in flight decide.

        Lower means more room left.
        """
        worth = self.worth
        tokens = worth.an_input * charge.input + worth.an_output * charge.max_output
        share = tokens if tokens > worth.a_call else worth.a_call
        return (worth.fullness + WEIGHED * share) * 100 // 1 * STEP + self.in_flight

    def _look(self, charge: Charge, now: float) -> Worth:
        """Recompute the prices, valid for as many calls of this size as take hardly anything of the limits."""
        most, fullest, until = MANY, 0.0, now + FRESH
        call = input = output = money = a_call = an_input = an_output = 0.0
        for meter, cost in zip(self.meters, self.costs(charge)[1], strict=True):
            room, counts = meter.room, meter.arrives
            share = (meter.running if meter.counts_running else meter._log.current(now)) / room
            if share > fullest:
                fullest = share
            if cost * most > room:
                most = room / cost
            one = 1 / room
            price = (share if share < 1.0 else 1.0) ** SHARPNESS / room
            if counts <= Arrival.ONE:
                call, a_call = call + price, max(a_call, one)
            elif counts is Arrival.MONEY:
                money += price
            if counts in OF_INPUT:
                input, an_input = input + price, max(an_input, one)
            if counts in OF_OUTPUT:
                output, an_output = output + price, max(an_output, one)
        self.unpriced = int(most * GRAIN)
        ratio, slack = self.sizes.ratio, until if fullest <= SLACK else -math.inf
        self.worth = Worth(call, input * ratio, output, money, fullest, a_call, an_input * ratio, an_output, until, slack)
        return self.worth

    def _doubt(self, meter: Meter, input: float) -> float:
        """Tokens that the provider may have charged and we have not."""
        doubt = self.sizes.doubt(input) if meter.limit.unit is not Unit.OUTPUT else 0.0
        return doubt + self.sizes.landing(self.in_flight, meter.settings.spread) if meter.as_written else doubt

    def never(self, costs: Costs) -> tuple[Meter, float] | None:
        """The limit that a call exceeds by itself, and its cost there; None if it fits."""
        for meter, cost in zip(self.meters, costs[1]):  # noqa: B905 - as above
            if cost > meter.largest + EPSILON:
                return meter, cost
        return None

    def spent(self, costs: Costs, now: float) -> Meter | None:
        """The budget that has no money left for a call; None if there is none."""
        return next((meter for meter, cost in zip(self.meters, costs[1], strict=False) if meter.spent(cost, now)), None)

    def spend(self, money: int, now: float) -> None:
        """Charge nano-dollars that were not spent by our calls."""
        for meter in self.meters:
            if meter.limit.unit is Unit.MONEY:
                meter.add_written(money, now)

    def was_full(self) -> bool:
        """Whether a call that has just ended freed a place in flight while none was free."""
        return bool(self.parallel) and any(meter.running + 1 >= meter.room for meter in self.parallel)

    # ---- charging and settling

    def take(self, charge: Charge, costs: Costs, now: float, urgent: bool) -> Taken:
        """Charge a call to every limit."""
        self.in_flight += 1
        self.unpriced -= 1
        if urgent:
            self.urgent_until = now + URGENT_MEMORY
        input, holds = costs[0], []
        output = self.sizes.begin(charge, input) if self.expects else 0.0
        for meter, cost in zip(self.meters, costs[1]):  # noqa: B905 - as above
            holds.append(meter.take(cost, meter.expected(charge, input, output) if meter.expects else cost, now))
        return Taken(charge, input, output, now, now, holds)

    def delay(self, taken: Taken, now: float) -> None:
        """The call is sent later than it was admitted: move its charges."""
        taken.left = now
        for hold in taken.holds:
            hold.meter.delay(hold, now)

    def progress(self, taken: Taken, written: float, now: float) -> None:
        """Record the output tokens written so far; they are charged at once where output counts as it is written."""
        more = written - taken.written
        if more > 0:
            taken.written = written
            for hold in taken.holds:
                if hold.meter.as_written:
                    hold.meter.add_written(more, now)

    def settle(self, taken: Taken, used: Used | None, sent: bool, failure: Failure | None, now: float) -> None:
        """End a call: charge what it used, give back the rest."""
        self.in_flight -= 1
        if not taken.holds:
            return
        if self.expects:
            self.sizes.end(taken.input, taken.output)
        if used is not None and failure is None and sent:
            self._charge(taken, used, now)
            if self.learns:
                self.sizes.learn(taken.charge, used, now - taken.at, now)
        elif not sent:
            for hold in taken.holds:
                hold.meter.settle(hold, 0.0, now)
        elif failure is not None and failure.kind in NOT_STARTED:
            for hold in taken.holds:
                hold.meter.settle(hold, hold.charged if self._counts_failed(hold.meter) else 0.0, now)
        elif used is None:
            for hold in taken.holds:
                self._assume(hold, taken, now)
        else:
            self._charge(taken, used, now)

    def _counts_failed(self, meter: Meter) -> bool:
        """Whether a refused call counts against this limit."""
        return meter.limit.unit is Unit.REQUESTS and self.profile.count_failed

    @staticmethod
    def _assume(hold: Hold, taken: Taken, now: float) -> None:
        """Settle a call that was served, or broke off, without reported usage: it keeps its reservation or estimate."""
        output = max(taken.output, taken.written) if hold.meter.as_written else 0.0
        hold.meter.settle(hold, hold.charged, now, output, max(0.0, output - taken.written))

    def counted(self, used: Used, input: float) -> float:
        """Prompt tokens that count. input: the estimate, used if none were reported."""
        if not used.input:
            return input
        return used.input - used.cached if self.profile.cached_free else used.input

    def _charge(self, taken: Taken, used: Used, now: float) -> None:
        """Settle a call with reported usage."""
        charge, counted = taken.charge, self.counted(used, taken.input)
        for hold in taken.holds:
            meter = hold.meter
            if meter.constant:
                if meter.counts_running:
                    meter.running -= 1
            elif meter.as_written:
                meter.settle(hold, meter.final(charge, counted, used), now, used.output, max(0.0, used.output - taken.written))
            else:
                meter.settle(hold, meter.final(charge, counted, used), now)

    def __repr__(self) -> str:
        return f"<Account {self.in_flight} in flight, {self.meters!r}>"


class Taken(Struct, eq=False, gc=False):
    """What one call holds of one account."""

    charge: Charge
    input: float
    """Prompt tokens, as the provider was expected to count them."""
    output: float
    """Output tokens that were expected."""
    at: float
    """When it was admitted."""
    left: float
    """When it was sent, as far as known."""
    holds: list[Hold]
    written: float = 0.0
    """Output tokens reported so far."""
    block: Block | None = None
    """The block of a shared limit that it was admitted on."""
    moved_to: float = 0.0
    """Where its charge is in the shared accounting if it was sent long after the block's end."""
