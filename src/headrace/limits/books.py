"""`admit.lua` in Python: the same arithmetic in the same order, so that both give the same numbers.

Used by `memory.py` and by tests.

Times are whole microseconds of the store's own clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.limits.places import Claimant, Places
from headrace.limits.store import MICRO, YOUNG, Argument, Message

EPSILON: Final = 1e-6
LONGEST_TURN: Final = 5_000_000.0
FILLING: Final = 0.75
"""Share of a limit up to which blocks are granted; the rest is for calls that ask one by one."""
LEAST: Final = 0.25
"""Smallest part of the requested amount that is granted as a block."""
AFRESH: Final = 2_000_000.0
"""Microseconds for which the amount that blocks gave back is available to the next ones."""


class _Row:
    """The state of one limit."""

    __slots__ = ("back", "back_at", "ever", "new", "old", "paid", "slots", "sum")

    def __init__(self) -> None:
        self.sum = 0.0
        self.old = 0.0
        self.new = -1.0
        self.paid = 0.0
        self.ever = 0.0
        self.back = self.back_at = 0.0
        """What blocks gave back unused, and when. The next blocks take it without increasing `ever`."""
        self.slots: dict[float, float] = {}

    def returned(self, now: float) -> float:
        """What blocks gave back unused within the last `AFRESH`."""
        return self.back if now - self.back_at <= AFRESH else 0.0

    def returns(self, amount: float, now: float) -> None:
        self.back, self.back_at = amount, now


class _Asked(Struct):
    """One limit of a request, with its state."""

    row: _Row
    span: float
    slot: float
    room: float = 0.0
    cost: float = 0.0
    rate: float = 0.0
    tolerance: float = 0.0
    expected: float = 0.0


class Since:
    """When a store was first used, shared by all of its accounts; -inf for long ago, None for not yet."""

    def __init__(self, at: float | None = -math.inf) -> None:
        self.at = at

    def opens(self, now: float) -> float:
        """The moment by which all processes have told a new store what they had charged."""
        if self.at is None:
            self.at = now
        return self.at + YOUNG * MICRO


class Books:
    """The shared accounting of one account.

    Each operation takes the time in microseconds and returns what the script would.
    """

    def __init__(self, since: Since | None = None) -> None:
        self.since = since or Since()
        self.rows: dict[str, _Row] = {}
        self.flight: dict[str, float] = {}
        self.seats: dict[str, float] = {}
        """In-flight places of a block besides the first."""
        self.members: dict[str, float] = {}
        self.rests: dict[str, float] = {}
        self.places = Places()
        self.held = 0.0
        self.turn = 0.0
        self.born = 0.0

    def call(self, operation: str, now: float, arguments: Sequence[Argument]) -> list[str]:
        found: Callable[..., list[str]] = getattr(self, operation)
        return found(now, list(arguments))

    def _row(self, key: str) -> _Row:
        return self.rows.setdefault(key, _Row())

    def _land(self, now: float) -> None:
        """Drop calls in flight that have expired."""
        self.flight = {known: expiry for known, expiry in self.flight.items() if expiry > now}
        self.seats = {known: seats for known, seats in self.seats.items() if known in self.flight}

    @property
    def in_flight(self) -> float:
        return len(self.flight) + sum(self.seats.values())

    def _fly(self, ids: Sequence[str], until: float) -> None:
        for id in ids:
            name, _, seats = id.partition("*")
            self.flight[name] = until
            if seats:
                self.seats[name] = int(seats)

    def _others_of(self, id: str, seats: float) -> None:
        self.seats.pop(id, None)
        if seats > 0:
            self.seats[id] = seats

    # ---- one limit

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

    def _opens_at(self, asked: _Asked, now: float) -> float:
        if asked.span == 0:
            return now  # a place is freed when a call ends, which cannot be predicted
        at = self._fits_at(asked, now)
        if asked.rate > 0 and asked.row.paid - asked.tolerance > at:
            at = asked.row.paid - asked.tolerance
        return at

    def _earliest(self, terms: Sequence[_Asked], now: float, held: float) -> tuple[float, int]:
        at, binding = max(now, held), 0
        for number, asked in enumerate(terms, 1):
            opens = self._opens_at(asked, now)
            if opens > at:
                at, binding = opens, number
        return at, binding

    @staticmethod
    def _add(row: _Row, slot: float, at: float, cost: float) -> None:
        number = float(math.floor(at / slot))
        if row.old > row.new:
            row.old = row.new = number
        row.old, row.new = min(row.old, number), max(row.new, number)
        row.slots[number] = row.slots.get(number, 0.0) + cost
        row.sum += cost
        row.ever += max(0.0, cost)

    @staticmethod
    def _state(terms: Sequence[_Asked], reply: Sequence[float], now: float) -> list[str]:
        numbers = [*reply, *[number for asked in terms for number in (asked.row.sum, asked.row.paid - now, asked.row.ever)]]
        return [text(number) for number in numbers]

    @staticmethod
    def _step(terms: Sequence[_Asked], binding: int, quantum: float) -> float:
        if not binding:
            return quantum
        asked = terms[binding - 1]
        rate = asked.rate if asked.rate > 0 else asked.room / asked.span
        cost = asked.expected if asked.expected > 0 else asked.cost
        return max(quantum, min(cost / rate, LONGEST_TURN))

    # ---- operations

    def admit(self, now: float, arguments: list[Any]) -> list[str]:
        id, _, lease, horizon, quantum, until, fresh, more, waits, told, process, holds, *rest = arguments
        terms = [
            _Asked(self._row(key), span, slot, room, cost, rate, tolerance, expected)
            for key, room, cost, span, slot, rate, tolerance, expected in batched(rest, 8)
        ]
        all_told = self.since.opens(now)
        held = self.held if told else max(self.held, all_told)
        self._land(now)
        if id in self.flight:
            return self._state(terms, [1, now, 0, 0, 0, 0, self.born or now, self.in_flight, 0, now], now)
        self.born = self.born or now
        for asked in terms:
            self._forget(asked.row, asked.span, asked.slot, now)
        at, binding = self._earliest(terms, now, held)
        place = self._claimant(terms, process, holds, now)
        left = place.left(self.in_flight) if place else 1
        mine = until > 0 and now <= until + horizon
        others = self.turn > now and not (mine and self.turn <= until)
        start = max(at, self.turn) if others and (not mine or (not fresh and at > until)) else at
        stride = self._step(terms, binding, quantum)
        if start > now + horizon:
            promise = start
            if waits and (told or now >= all_told) and not (mine and fresh):
                promise = max(at, self.turn)
                self.turn = math.ceil(promise + stride)
            ends = math.ceil(promise + stride) - now
            return self._state(terms, [0, 0, 0, promise - now, ends, binding, self.born, self.in_flight, left, now], now)
        number = next((number for number, asked in enumerate(terms, 1) if asked.span == 0), 0)
        if place and left == 0:
            promise = place.give_up() if waits else now + place.stride
            return self._state(terms, [0, 0, 0, promise - now, 0, number, self.born, self.in_flight, 0, now], now)
        ahead = others and not mine
        if ahead:
            self.turn = math.ceil(max(self.turn, start + stride))
        self._charge(terms, start)
        self.flight[id] = start + lease
        left, looks = place.take(self.in_flight, more=bool(more)) if place else (1, now)
        promise, ends = 0.0, 0.0
        if more:
            following, bound = self._earliest(terms, now, held)
            if following > now + horizon or ahead or (self.turn > now and mine and following > until and self.turn > until):
                begins = max(following, self.turn)
                self.turn = ends = math.ceil(begins + self._step(terms, bound, quantum))
                promise, ends = begins - now, ends - now
            elif left == 0:
                promise, binding = looks - now, number
        return self._state(terms, [1, start, start - now, promise, ends, binding, self.born, self.in_flight, left, now], now)

    also = admit

    def _claimant(self, terms: Sequence[_Asked], process: str, holds: float, now: float) -> Claimant | None:
        place = next((asked for asked in terms if asked.span == 0), None)
        return None if place is None else self.places.claimant(process, holds, place.room, place.tolerance, now)

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
        return self._correct(now, at, rest)

    def _correct(self, now: float, at: float, rest: list[Any]) -> list[str]:
        """Correct the charges made at `at` by the difference to the actual cost."""
        for key, span, slot, rate, difference, written, owed in batched(rest, 7) if self.born else ():
            row = self._row(key)
            self._forget(row, span, slot, now)
            since = min(at, (row.new + 1) * slot - 1)  # the slot of a charge that was moved to a late departure is known only approximately
            if difference != 0 and row.old <= math.floor(since / slot):
                self._add(row, slot, since, difference)
            if written != 0:
                self._add(row, slot, now, written)
            if rate > 0:
                row.paid += owed / rate
        return ["1"]

    def block(self, now: float, arguments: list[Any]) -> list[str]:
        """Grant a block: room for the calls of a short time, which the process admits by itself."""
        id, _, lease, length, process, holds, *rest = arguments
        asked = batched(rest, 9)
        terms = [
            _Asked(self._row(key), span, slot, room, cost, rate, ahead, flow) for key, room, cost, span, slot, rate, ahead, flow, _ in asked
        ]
        self.born = self.born or now
        self._land(now)
        in_flight, start, share, seats = self.in_flight, now + length, 1.0, 1
        if self.held > now or self.since.opens(now) > now or self.turn > now or id in self.flight:
            share = 0.0
        place = self._claimant(terms, process, holds, now)
        if place and place.rivals:
            share = 0.0
        for one, (*_, part) in zip(terms, asked, strict=True):
            self._forget(one.row, one.span, one.slot, now)
            used = in_flight if one.span == 0 else one.row.sum
            share = min(share, (FILLING * one.room - used) / part / one.cost)
            if one.rate > 0:
                share = min(share, (now + one.tolerance - max(one.row.paid, start)) * one.rate / part / one.expected)
        if share < LEAST:
            return self._state(terms, [0, 0, 0, 0, self.born, in_flight, now], now)
        for one in terms:
            if one.span > 0:
                back = min(one.row.returned(now), share * one.cost)
                if back > 0:
                    one.row.returns(one.row.returned(now) - back, now)
                self._add(one.row, one.slot, start, share * one.cost)
                one.row.ever -= back
                if one.rate > 0:
                    one.row.paid = max(one.row.paid, start) + share * one.expected / one.rate
            else:
                seats = max(1, math.floor(share * one.cost + EPSILON))
        self.flight[id] = now + lease
        self._others_of(id, seats - 1)
        return self._state(terms, [1, start, share, seats, self.born, in_flight + seats, now], now)

    def amend(self, now: float, arguments: list[Any]) -> list[str]:
        """Correct a block by what its calls really cost, and set the places in flight that it still needs."""
        id, _, at, wanted, count, *rest = arguments
        if id not in self.flight:
            return ["0"]
        self._others_of(id, wanted - 1)
        if wanted == 0:
            del self.flight[id]
        for key, unused in batched(rest[: 2 * count], 2):
            row = self._row(key)
            row.returns(row.returned(now) + unused, now)
        return self._correct(now, at, rest[2 * count :])

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
        self.since.opens(now)
        self._fly(rest[:count], now + lease)
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
        name, demand, epoch, _, lease, count, *rest = arguments
        ids, terms = rest[:count], [_Asked(self._row(key), span, slot) for key, span, slot in batched(rest[count:], 3)]
        self.since.opens(now)
        current = math.floor(now / epoch)
        self.members[f"d:{name}"], self.members[f"t:{name}"] = float(demand), now
        if current > self.members.get("epoch", -1):
            self._share_out(now, current, epoch)
        self._fly(ids, now + lease)
        self._land(now)
        shares = [text(self.members[key]) if key in self.members else "" for key in (f"s:{name}", f"p:{name}", "least", "count")]
        rests = [part for name in sorted(self.rests) if self.rests[name] > now for part in (name, text(self.rests[name] - now))]
        for asked in terms:
            self._forget(asked.row, asked.span, asked.slot, now)
        state = self._state(terms, [self.born, now, self.held - now, self.in_flight, len(terms)], now)
        return [*shares, *state, *rests]

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
        newcomers = sum([f"s:{who}" not in old for who in demands])
        for who, demand in demands.items():
            share = before = max(demand, least) / weights
            if old.get("epoch") == current - 1:
                before = old[f"s:{who}"] if f"s:{who}" in old else old["least"] / newcomers
            self.members |= {f"d:{who}": demand, f"t:{who}": old[f"t:{who}"], f"s:{who}": share, f"p:{who}": before}


def several(messages: Sequence[Message], now: float, books: Callable[[str], Books]) -> list[list[str]]:
    """The script's replies to several messages in one call. books: returns those of an account."""
    replies: list[list[str]] = []
    refused: set[Argument] = set()
    for one in messages:
        skipped = one.operation == "also" and one.arguments[0] in refused
        replies.append([""] if skipped else books(one.account).call(one.operation, now, one.arguments))
        if replies[-1][0] == "0":
            refused.add(one.arguments[0])
    return replies


def text(number: float) -> str:
    """A number as the script formats it."""
    return f"{number:.17g}"


def batched(values: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    return [tuple(values[at : at + size]) for at in range(0, len(values), size)]
