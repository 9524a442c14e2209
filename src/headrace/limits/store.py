"""What processes share of a quota: the port to where it is kept, and a model of the script that keeps it there.

`Books` is `admit.lua` in Python: the same arithmetic in the same order, so that both give the same numbers. Inside, time is whole
microseconds of the store's own clock; outside, seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from msgspec import Struct

from headrace.ports import Clock

MICRO: Final = 1_000_000
SLOTS: Final = 480
"""Into which a window is cut: a charge counts up to a 480th of the window longer than it had to, never shorter."""


class StoreLost(Exception):
    """The store did not answer."""


class Term(Struct, frozen=True):
    """One limit, and what a call takes of it."""

    key: str
    """The same in every process that knows the limit: what it counts, over which window."""
    room: float
    """What may be charged within the window, or be in flight."""
    cost: float
    window: float
    """Seconds of the limit; 0 for what is in flight."""
    span: float = 0.0
    """Seconds over which it is watched: the window and the spread of travel times."""
    rate: float = 0.0
    """Units a second of its pace; 0 where it is not paced."""
    tolerance: float = 0.0
    """Seconds the flow may run ahead. Of what is in flight: seconds after which it is worth asking again."""
    expected: float = 0.0
    """What the pace is charged."""

    @property
    def slot(self) -> int:
        """Microseconds."""
        return slot_of(self.window)

    def arguments(self) -> list[Argument]:
        return [
            self.key, self.room, self.cost, micros(self.span), self.slot,
            self.rate / MICRO, micros(min(self.tolerance, 1e6)), self.expected,
        ]  # fmt: skip


class Claim(Struct, frozen=True):
    """A call that asks for room in one account."""

    account: str
    id: str
    terms: tuple[Term, ...]
    lease: float
    """Seconds after which it counts as no longer in flight unless it is renewed."""
    horizon: float = 0.25
    """Seconds ahead that room may be promised for."""
    quantum: float = 0.05
    """Seconds of a turn at least, where several processes come for the same room."""
    turn: float = 0.0
    """The end of the turn this process was given, in the store's microseconds; 0 for none."""
    fresh: bool = False
    """Whether nothing was granted in that turn yet."""
    more: bool = False
    """Whether others wait behind it here, for whom a turn is of use."""
    waits: bool = True
    """Whether anybody will use the turn it is given when it is refused."""

    def message(self) -> Message:
        keep = keep_of([term.span for term in self.terms], self.lease)
        times = [micros(self.lease), micros(self.horizon), micros(self.quantum)]
        head: list[Argument] = [self.id, keep, *times, self.turn, int(self.fresh), int(self.more), int(self.waits)]
        return Message("admit", self.account, [*head, *[argument for term in self.terms for argument in term.arguments()]])


class Answer(Struct, frozen=True):
    """What the store says to a claim. Seconds from now, unless it says otherwise."""

    granted: bool
    at: float
    """Where its charge stands, in the store's microseconds."""
    start: float
    """When it may be sent."""
    turn: float
    """When this process should ask again: refused, for this call; granted, for the next one. 0 for at any time."""
    until: float
    """The end of that turn, in the store's microseconds."""
    binding: int | None
    """The term that decided it."""
    born: float
    """When these books were begun: other books have forgotten what was charged before."""
    in_flight: int
    used: tuple[float, ...]
    """What all processes have on the books, term by term."""
    debt: tuple[float, ...]
    """Seconds until all of it is earned, term by term; meaningless where there is no pace."""


class Correction(Struct, frozen=True):
    """What a call turned out to cost of one limit, against what was charged."""

    key: str
    window: float
    span: float
    rate: float
    difference: float
    """More than was charged on arrival; below 0 to give back."""
    written: float
    """Output that counts from now on."""
    owed: float
    """More than the pace was charged."""


class Standing(Struct, frozen=True):
    """What a process has charged to one limit, as it knows itself."""

    key: str
    window: float
    span: float
    rate: float
    debt: float
    """Seconds."""
    charges: tuple[tuple[float, float], ...]
    """Seconds ago, and how much."""


Argument: TypeAlias = str | int | float


class Message(Struct, frozen=True):
    """One call of the script."""

    operation: str
    account: str
    arguments: list[Argument]


class Store(Protocol):
    """Where processes keep the books they share."""

    @property
    def process(self) -> str:
        """A name that no other process has."""
        ...

    async def admit(self, claim: Claim, clock: Clock) -> Answer:
        """Charge the claim to every limit, or to none. Raises StoreLost when no answer comes; it may be charged all the same."""
        ...

    def post(self, message: Message, then: Callable[[list[str] | None], None] | None = None) -> None:
        """Send a message in its turn; `then` gets the reply, None when there was none, from whatever thread. Never blocks."""
        ...

    def attach(self, beat: Callable[[float], None]) -> None:
        """Have a bound method called about once a second with the clock's time, for as long as its object lives."""
        ...


def micros(seconds: float) -> int:
    return round(seconds * MICRO)


def slot_of(window: float) -> int:
    """Microseconds of one slot."""
    return max(1, micros(window) // SLOTS)


def keep_of(spans: Sequence[float], lease: float) -> int:
    """Milliseconds after which books that nobody uses may be forgotten."""
    return round(1000 * (2 * max([60.0, *spans]) + lease))


def settlement(account: str, id: str, at: float, lease: float, corrections: Sequence[Correction]) -> Message:
    """The end of a claim. Its second one changes nothing."""
    arguments: list[Argument] = [id, keep_of([one.span for one in corrections], lease), at]
    for one in corrections:
        arguments += [one.key, micros(one.span), slot_of(one.window), one.rate / MICRO, one.difference, one.written, one.owed]
    return Message("settle", account, arguments)


def delaying(account: str, id: str, at: float, to: float, lease: float, terms: Sequence[Term]) -> Message:
    """A call leaves later than it was let through: its charge moves from `at` to `to`, in the store's microseconds."""
    watched = [term for term in terms if term.window]
    arguments: list[Argument] = [id, keep_of([term.span for term in watched], lease), at, to]
    for term in watched:
        arguments += [term.key, micros(term.span), term.slot, term.cost]
    return Message("delay", account, arguments)


def closing(account: str, seconds: float) -> Message:
    """Nothing passes for so long, whoever asks: a provider said so."""
    return Message("hold", account, [micros(seconds), round(1000 * (seconds + 120))])


def resting(account: str, name: str, seconds: float) -> Message:
    """A deployment rests for so long; 0: it rests no more."""
    return Message("rest", account, [name, micros(seconds), round(1000 * (seconds + 60))])


def restoring(account: str, born: float, away: float, lease: float, ids: Sequence[str], standings: Sequence[Standing]) -> Message:
    """Tell the books what was charged without them: the last `away` seconds if they are the ones of then, everything if they are new."""
    keep = keep_of([one.span for one in standings], lease)
    arguments: list[Argument] = [keep, micros(lease), born, micros(away), len(ids), *ids]
    for one in standings:
        arguments += [one.key, micros(one.span), slot_of(one.window), one.rate / MICRO, micros(one.debt), len(one.charges)]
        for age, cost in one.charges:
            arguments += [micros(age), cost]
    return Message("restore", account, arguments)


EPOCH: Final = 2.0
"""Seconds for which shares stand. Every process sees each of them at least once."""


def reporting(account: str, process: str, demand: float, lease: float, ids: Sequence[str]) -> Message:
    """A process says that it lives, how much it wants, and which of its calls are under way."""
    return Message("report", account, [process, demand, micros(EPOCH), (1000 * 60), micros(lease), *ids])


def share_of(reply: Sequence[str]) -> tuple[float, float]:
    """The share of a process that lost the store after this reply to its report, and when the books were begun.

    The smaller of the last two shares it was told: others may have seen one table less, and all shares of one table add up to less than 1.
    """
    now, before, least = reply[0] or reply[2], reply[1] or reply[2], reply[2]
    return max(0.0, min(float(now), float(before)) if least else 0.0), float(reply[4])


def read_answer(reply: Sequence[str]) -> Answer:
    """The answer in a reply to `admit`."""
    granted, at, start, turn, until, binding, born, in_flight, now, *states = reply
    begins = float(turn)
    return Answer(
        granted=granted == "1",
        at=float(at),
        start=float(start) / MICRO,
        turn=begins / MICRO,
        until=float(now) + float(until) if float(until) else 0.0,
        binding=int(float(binding)) - 1 if float(binding) else None,
        born=float(born),
        in_flight=int(float(in_flight)),
        used=tuple([float(used) for used in states[::2]]),
        debt=tuple([float(debt) / MICRO for debt in states[1::2]]),
    )


# ---- the model


EPSILON: Final = 1e-6
LONGEST_TURN: Final = 5_000_000.0


class _Row:
    """One limit's row in the books."""

    __slots__ = ("new", "old", "paid", "slots", "sum")

    def __init__(self) -> None:
        self.sum = 0.0
        self.old = 0.0
        self.new = -1.0
        self.paid = 0.0
        self.slots: dict[float, float] = {}


class _Asked(Struct):
    """One limit in a message, beside its row."""

    row: _Row
    span: float
    slot: float
    room: float = 0.0
    cost: float = 0.0
    rate: float = 0.0
    tolerance: float = 0.0
    expected: float = 0.0


class Books:
    """One account's books. Every call takes the time in microseconds and returns what the script would."""

    def __init__(self) -> None:
        self.rows: dict[str, _Row] = {}
        self.flight: dict[str, float] = {}
        self.members: dict[str, float] = {}
        self.rests: dict[str, float] = {}
        self.held = 0.0
        self.turn = 0.0
        self.born = 0.0

    def call(self, operation: str, now: float, arguments: Sequence[Argument]) -> list[str]:
        found: Callable[..., list[str]] = getattr(self, operation)
        return found(now, list(arguments))

    def _row(self, key: str) -> _Row:
        return self.rows.setdefault(key, _Row())

    # one limit

    @staticmethod
    def _forget(row: _Row, span: float, slot: float, now: float) -> None:
        if span == 0:
            return
        last = min(math.floor((now - span) / slot) - 1, row.new)
        while row.old <= last:
            row.sum -= row.slots.pop(row.old, 0.0)
            row.old += 1
        if row.old > row.new:
            row.sum = 0.0

    @staticmethod
    def _fits_at(asked: _Asked, now: float) -> float:
        row = asked.row
        excess = row.sum + asked.cost - asked.room
        if excess <= EPSILON:
            return now
        if asked.cost <= asked.room + EPSILON:
            for number in sorted(row.slots):
                if row.old <= number <= row.new:
                    excess -= row.slots[number]
                    if excess <= EPSILON:
                        return (number + 1) * asked.slot + asked.span
        return now + asked.span

    def _opens_at(self, asked: _Asked, in_flight: int, now: float) -> float:
        if asked.span == 0:
            return now + asked.tolerance if in_flight + asked.cost > asked.room + EPSILON else now
        at = self._fits_at(asked, now)
        if asked.rate > 0 and asked.row.paid - asked.tolerance > at:
            at = asked.row.paid - asked.tolerance
        return at

    def _earliest(self, terms: Sequence[_Asked], in_flight: int, now: float) -> tuple[float, int, bool]:
        at, binding, full = max(now, self.held), 0, False
        for number, asked in enumerate(terms, 1):
            opens = self._opens_at(asked, in_flight, now)
            full = full or (asked.span == 0 and opens > now)
            if opens > at:
                at, binding = opens, number
        return at, binding, full

    @staticmethod
    def _add(row: _Row, slot: float, at: float, cost: float) -> None:
        number = float(math.floor(at / slot))
        if row.old > row.new:
            row.old = row.new = number
        row.old, row.new = min(row.old, number), max(row.new, number)
        row.slots[number] = row.slots.get(number, 0.0) + cost
        row.sum += cost

    @staticmethod
    def _state(terms: Sequence[_Asked], reply: Sequence[float], now: float) -> list[str]:
        numbers = [*reply, *[number for asked in terms for number in (asked.row.sum, asked.row.paid - now)]]
        return [text(number) for number in numbers]

    @staticmethod
    def _step(terms: Sequence[_Asked], binding: int, quantum: float) -> float:
        if not binding:
            return quantum
        asked = terms[binding - 1]
        if asked.span == 0:
            return asked.tolerance
        rate = asked.rate if asked.rate > 0 else asked.room / asked.span
        cost = asked.expected if asked.expected > 0 else asked.cost
        return max(quantum, min(cost / rate, LONGEST_TURN))

    # operations

    def admit(self, now: float, arguments: list[Any]) -> list[str]:
        id, _, lease, horizon, quantum, until, fresh, more, waits, *rest = arguments
        terms = [
            _Asked(self._row(key), span, slot, room, cost, rate, tolerance, expected)
            for key, room, cost, span, slot, rate, tolerance, expected in batched(rest, 8)
        ]
        self.born = self.born or now
        self.flight = {known: expiry for known, expiry in self.flight.items() if expiry > now}
        if id in self.flight:
            return self._state(terms, [1, now, 0, 0, 0, 0, self.born, len(self.flight), now], now)
        for asked in terms:
            self._forget(asked.row, asked.span, asked.slot, now)
        at, binding, full = self._earliest(terms, len(self.flight), now)
        mine = until > 0 and now <= until + horizon
        others = self.turn > now and not (mine and self.turn <= until)
        start = max(at, self.turn) if others and (not mine or (not fresh and at > until)) else at
        stride = self._step(terms, binding, quantum)
        if full or start > now + horizon:
            return self._refuse(terms, now, at, start, stride, binding, kept=(mine and bool(fresh)) or not waits)
        ahead = others and not mine
        if ahead:
            self.turn = math.ceil(max(self.turn, start + stride))
        self._charge(terms, start)
        self.flight[id] = start + lease
        promise, ends = 0.0, 0.0
        if more:
            following, bound, filled = self._earliest(terms, len(self.flight), now)
            if filled or following > now + horizon or ahead or (self.turn > now and mine and following > until and self.turn > until):
                begins = max(following, self.turn)
                self.turn = ends = math.ceil(begins + self._step(terms, bound, quantum))
                promise, ends = begins - now, ends - now
        return self._state(terms, [1, start, start - now, promise, ends, binding, self.born, len(self.flight), now], now)

    def _refuse(
        self, terms: Sequence[_Asked], now: float, at: float, start: float, stride: float, binding: int, *, kept: bool
    ) -> list[str]:
        promise = start
        if not kept:
            promise = max(at, self.turn)
            self.turn = math.ceil(promise + stride)
        ends = math.ceil(promise + stride) - now
        return self._state(terms, [0, 0, 0, promise - now, ends, binding, self.born, len(self.flight), now], now)

    def _charge(self, terms: Sequence[_Asked], start: float) -> None:
        for asked in terms:
            if asked.span > 0:
                self._add(asked.row, asked.slot, start, asked.cost)
                if asked.rate > 0:
                    asked.row.paid = max(asked.row.paid, start) + asked.expected / asked.rate

    def settle(self, now: float, arguments: list[Any]) -> list[str]:
        id, _, at, *rest = arguments
        if self.flight.pop(id, None) is None:
            return ["0"]
        for key, span, slot, rate, difference, written, owed in batched(rest, 7):
            row = self._row(key)
            self._forget(row, span, slot, now)
            if difference != 0 and row.old <= math.floor(at / slot) <= row.new:
                self._add(row, slot, at, difference)
            if written != 0:
                self._add(row, slot, now, written)
            if rate > 0:
                row.paid += owed / rate
        return ["1"]

    def delay(self, now: float, arguments: list[Any]) -> list[str]:
        id, _, at, to, *rest = arguments
        if id not in self.flight:
            return ["0"]
        for key, span, slot, cost in batched(rest, 4):
            row = self._row(key)
            self._forget(row, span, slot, now)
            if row.old <= math.floor(at / slot) <= row.new:
                self._add(row, slot, at, -cost)
                self._add(row, slot, to, cost)
        return ["1"]

    def hold(self, now: float, arguments: list[Any]) -> list[str]:
        self.held = max(self.held, now + arguments[0])
        return ["1"]

    def rest(self, now: float, arguments: list[Any]) -> list[str]:
        name, duration, _ = arguments
        self.rests.pop(name, None)
        if duration > 0:
            self.rests[name] = now + duration
        return ["1"]

    def restore(self, now: float, arguments: list[Any]) -> list[str]:
        _, lease, known, away, count, *rest = arguments
        self.flight.update(dict.fromkeys(rest[:count], now + lease))
        self.born = self.born or now
        rest = rest[count:]
        while rest:
            key, span, slot, rate, debt, charges, *rest = rest
            row = self._row(key)
            self._forget(row, span, slot, now)
            for age, cost in batched(rest[: 2 * charges], 2):
                if age < span and (self.born != known or age <= away):
                    self._add(row, slot, now - age, cost)
            rest = rest[2 * charges :]
            if rate > 0:
                row.paid = max(row.paid, now + debt)
        return [text(self.born)]

    def report(self, now: float, arguments: list[Any]) -> list[str]:
        name, demand, epoch, _, lease, *ids = arguments
        current = math.floor(now / epoch)
        self.members[f"d:{name}"], self.members[f"t:{name}"] = float(demand), now
        if current > self.members.get("epoch", -1):
            self._share_out(now, current, epoch)
        self.flight.update(dict.fromkeys(ids, now + lease))
        shares = [text(self.members[key]) if key in self.members else "" for key in (f"s:{name}", f"p:{name}", "least", "count")]
        rests = [part for name in sorted(self.rests) if self.rests[name] > now for part in (name, text(self.rests[name] - now))]
        return [*shares, text(self.born), text(now), text(self.held - now), *rests]

    def _share_out(self, now: float, current: int, epoch: float) -> None:
        old = self.members
        demands = {
            key[2:]: demand for key, demand in sorted(old.items()) if key.startswith("d:") and now - old[f"t:{key[2:]}"] <= 3 * epoch
        }
        total = sum(demands.values())
        least = total / (4 * len(demands)) if total > 0 else 1.0
        weights = least
        for demand in demands.values():
            weights += max(demand, least)
        self.members = {"epoch": current, "least": least / weights, "count": len(demands)}
        for who, demand in demands.items():
            self.members |= {f"d:{who}": demand, f"t:{who}": old[f"t:{who}"], f"s:{who}": max(demand, least) / weights}
            if old.get("epoch") == current - 1 and f"s:{who}" in old:
                self.members[f"p:{who}"] = old[f"s:{who}"]


def text(number: float) -> str:
    """As the script writes a number."""
    return f"{number:.17g}"


def batched(values: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    return [tuple(values[at : at + size]) for at in range(0, len(values), size)]


class MemoryStore:
    """A store within one process: for virtual time, and for what is tested in it.

    clock: the store's own time. away: while True nothing is answered. trip: seconds that a question takes.
    """

    def __init__(self, clock: Clock, *, trip: float = 0.0, timeout: float = 0.1) -> None:
        self.clock = clock
        self.trip = trip
        self.timeout = timeout
        self.away = False
        self.process = "virtual"
        self.calls = self.asked = 0
        """Messages so far, and those of them that asked for room."""
        self.books: dict[str, Books] = {}

    async def admit(self, claim: Claim, clock: Clock) -> Answer:
        if self.away:
            await clock.sleep(self.timeout)
            raise StoreLost("the store is away")
        self.asked += 1
        if self.trip:
            await clock.sleep(self.trip / 2)
        answer = read_answer(self._call(claim.message()))
        if self.trip:
            await clock.sleep(self.trip / 2)
        return answer

    def post(self, message: Message, then: Callable[[list[str] | None], None] | None = None) -> None:
        reply = None if self.away else self._call(message)
        if then is not None:
            then(reply)

    def attach(self, beat: Callable[[float], None]) -> None:
        """Whoever owns the virtual time calls it."""

    def _call(self, message: Message) -> list[str]:
        self.calls += 1
        books = self.books.setdefault(message.account, Books())
        return books.call(message.operation, float(micros(self.clock.now())), message.arguments)
