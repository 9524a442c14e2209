"""The ledger of one quota: its limits, what holds it shut, and what its calls turn out to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from headrace.errors import Failure, Kind
from headrace.limits.costs import Arrival, picker
from headrace.limits.guard import EPSILON
from headrace.limits.limit import Charge, Limit, Unit, Used
from headrace.limits.meter import Hold, Meter
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.profile import Profile
from headrace.limits.sizes import Sizes

if TYPE_CHECKING:
    from headrace.limits.blocks import Block
    from headrace.limits.tabs import Tab

Costs: TypeAlias = tuple[float, tuple[float, ...]]
"""A call as an account counts it: its prompt in the provider's tokens, and what it takes of each limit on arrival."""

NOT_STARTED: Final = frozenset({
    Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED, Kind.BAD_REQUEST, Kind.CONTEXT_WINDOW, Kind.UNSUPPORTED_PARAMS, Kind.UNPROCESSABLE,
    Kind.AUTHENTICATION, Kind.PAYMENT, Kind.PERMISSION, Kind.NOT_FOUND,
})  # fmt: skip
"""Refusals before any work: no tokens were used."""

SHARPNESS: Final = 12
"""How suddenly a limit becomes dear as it fills: at 80 % it costs a fifteenth of its full price, at 95 % half of it."""
SLACK: Final = 0.2
"""Share of a limit up to which its price is nothing that counts: a billionth of the full one."""
FRESH: Final = 1.0
"""Seconds for which prices are good."""
OF_INPUT: Final = frozenset({Arrival.INPUT, Arrival.BOTH, Arrival.LARGER})
OF_OUTPUT: Final = frozenset({Arrival.OUTPUT, Arrival.BOTH, Arrival.LARGER})
GRAIN: Final = 1 / 64
"""Share of a limit that may be taken before prices are reckoned anew."""
MANY: Final = 1e9
"""Calls for which any limit is large enough."""
URGENT_MEMORY: Final = 60.0
"""Seconds after an interactive call for which a share of each window is kept for the next."""


WEIGHED: Final = 8.0
"""What the share of a limit that a call takes counts beside how full the limit is, where none is dear: a large call goes where it is small,
as long as that is not much fuller than the others."""
STEP: Final = 1e6
"""A hundredth of a limit, beside the calls in flight that decide between those which are as full: more than there can be."""


class Worth(Struct, frozen=True, gc=False):
    """What the limits of an account cost, as they are used at a moment: nothing while they are slack, steeply more as they fill."""

    call: float
    """The shadow price of a call besides that of what it is made of."""
    input: float
    """Of each token of its prompt."""
    output: float
    """Of each that it may write."""
    money: float
    """Of each nano-dollar."""
    fullness: float
    """How full the fullest is."""
    a_call: float
    """The share of a limit that a call takes, whatever it is made of."""
    an_input: float
    """The same of each token of its prompt."""
    an_output: float
    """Of each that it may write, where that counts on arrival."""
    until: float
    """The moment until which it is good."""
    slack_until: float
    """The same where no limit costs anything that counts, else the beginning of time."""


NEVER_LOOKED_AT: Final = Worth(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -math.inf, -math.inf)


class Account:
    """One quota. Deployments that share a key, an address and a model share it."""

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
        """Nothing passes before."""
        self.urgent_until = -math.inf
        self.tab: Tab | None = None
        """Where its calls are put down for the time being."""
        self.asked_at = self.no_tab_until = -math.inf
        """When a call last came that could have gone on one, and until when none is tried."""

    def meter_of(self, unit: Unit, window: float) -> Meter | None:
        return next((meter for meter in self.meters if meter.limit.unit is unit and meter.limit.window == window), None)

    def configure(self, limits: Sequence[Limit], profile: Profile) -> None:
        """Other limits from now on. What is on the books of a limit that stays, stays there."""
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
        """Another deployment brings its limits: the lower amount counts where two speak of the same."""
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
        """Whether it matters what running calls will probably turn out to be."""
        if not self.expects:
            self.sizes.forget_running()
        self.learns = any(meter.limit.unit not in (Unit.REQUESTS, Unit.MONEY) for meter in meters)
        """Whether it matters what calls turn out to be."""
        self.worth = NEVER_LOOKED_AT
        """As it was when somebody asked last."""
        self.unpriced = 0
        """Calls that may still be let in at that; then it is asked again."""
        self.parallel = [meter for meter in meters if meter.counts_running]
        self.changing = [(number, meter) for number, meter in enumerate(meters) if not meter.constant]
        """Limits under which a call may turn out to cost something else than on arrival, and their places among all."""
        self._pick = picker([meter.arrives for meter in meters])

    # ---- what a call costs

    def costs(self, charge: Charge) -> Costs:
        if not self.learns:  # tokens count nowhere
            return charge.input, self._pick((charge.requests, 1.0, charge.money))
        counted = charge.input - charge.cached if charge.cached and self.profile.cached_free else charge.input
        input = counted * self.sizes.ratio
        most = charge.max_output if charge.stated else self.sizes.most(charge.max_output)
        # `amounts`, without a call: every call asks it of every account.
        return input, self._pick((charge.requests, 1.0, charge.money, input, most, 0.0, input + most, input if input > most else most))

    def current(self, costs: Costs) -> bool:
        """Whether `costs` were reckoned with the limits there are."""
        return len(costs[1]) == len(self.meters)

    # ---- when it fits

    def open_at(self, now: float, urgent: bool = False) -> float:
        """The moment before which no call at all passes; inf when one must end first."""
        whole = urgent or self.urgent_until <= now
        at = self._open_at(now, urgent, whole)
        if not whole and at > self.urgent_until:  # by then nothing is kept for interactive calls any more
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
        """The moment at which a call fits, and the limit that decides it."""
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

        The rules of `when`, in the order that finds out soonest and in one piece: this is asked of every limit for every call.
        """
        if self.held_until > now:
            return False
        whole = urgent or self.urgent_until <= now
        even = whole and not urgent
        for meter, cost in zip(self.meters, costs[1]):  # noqa: B905 - saying `strict` costs as much as looking at a limit
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
                if pace.paid_until - ahead > now:  # as `Meter.when` has it, to the last bit: a line is looked at again then
                    return False
            if meter._shorter and not meter.short_windows_allow(cost, now):
                return False
        return True

    def price(self, charge: Charge, now: float) -> float:
        """What its limits cost a call in shadow prices: as they were a short while ago, if hardly anything was taken of them since."""
        worth = self.worth if self.unpriced > 0 and self.worth.until >= now else self._look(charge, now)
        return worth.call + worth.input * charge.input + worth.output * charge.max_output + worth.money * charge.money

    def rank(self, charge: Charge) -> float:
        """How full it is with such a call, in steps within which those under way count: the lower, the more room is left elsewhere too."""
        worth = self.worth
        tokens = worth.an_input * charge.input + worth.an_output * charge.max_output
        share = tokens if tokens > worth.a_call else worth.a_call
        return (worth.fullness + WEIGHED * share) * 100 // 1 * STEP + self.in_flight

    def _look(self, charge: Charge, now: float) -> Worth:
        """What its limits cost now, good for as many calls like this one as take hardly anything of them."""
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
        """Tokens that may be on the books of a provider that has more on them than we."""
        doubt = self.sizes.doubt(input) if meter.limit.unit is not Unit.OUTPUT else 0.0
        return doubt + self.sizes.landing(self.in_flight, meter.settings.spread) if meter.as_written else doubt

    def never(self, costs: Costs) -> tuple[Meter, float] | None:
        """The limit that a call is larger than and what it costs there, if there is one."""
        for meter, cost in zip(self.meters, costs[1]):  # noqa: B905 - as above
            if cost > meter.largest + EPSILON:
                return meter, cost
        return None

    def spent(self, costs: Costs, now: float) -> Meter | None:
        """The budget that has no money left for a call, if there is one."""
        return next((meter for meter, cost in zip(self.meters, costs[1], strict=False) if meter.spent(cost, now)), None)

    def spend(self, money: int, now: float) -> None:
        """Nano-dollars that were spent by none of our calls."""
        for meter in self.meters:
            if meter.limit.unit is Unit.MONEY:
                meter.add_written(money, now)

    def was_full(self) -> bool:
        """Whether a call that has just ended made room for one that could not have run beside it."""
        return bool(self.parallel) and any(meter.running + 1 >= meter.room for meter in self.parallel)

    # ---- taking and giving back

    def take(self, charge: Charge, costs: Costs, now: float, urgent: bool) -> Taken:
        """Charge a call against every limit."""
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
        """A call leaves later than it was let through."""
        taken.left = now
        for hold in taken.holds:
            hold.meter.delay(hold, now)

    def progress(self, taken: Taken, written: float, now: float) -> None:
        """So much output was written by now: on the books at once where it counts as it is written."""
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
        """Whether a call that was not let in counts there all the same."""
        return meter.limit.unit is Unit.REQUESTS and self.profile.count_failed

    @staticmethod
    def _assume(hold: Hold, taken: Taken, now: float) -> None:
        """A call that was served, or broke off, and nobody says what it used: it is taken to be as expected or reserved."""
        output = max(taken.output, taken.written) if hold.meter.as_written else 0.0
        hold.meter.settle(hold, hold.charged, now, output, max(0.0, output - taken.written))

    def counted(self, used: Used, input: float) -> float:
        """What counts of a prompt. input: what it was expected to be, for those of which nobody says anything."""
        if not used.input:
            return input
        return used.input - used.cached if self.profile.cached_free else used.input

    def _charge(self, taken: Taken, used: Used, now: float) -> None:
        """A call whose use was reported."""
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
    """The prompt, as the provider was expected to count it."""
    output: float
    """What it was expected to write."""
    at: float
    """When it was let through."""
    left: float
    """When it went on its way, as far as we know."""
    holds: list[Hold]
    written: float = 0.0
    """Output reported so far."""
    block: Block | None = None
    """Where it was let in, of what was taken for it from the books that processes share."""
    moved_to: float = 0.0
    """Where its charge stands there if it left long after the block's end."""
