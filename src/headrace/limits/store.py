"""What processes share of a quota: the port to where it is kept, and the messages that `admit.lua` understands.

Inside the store time is whole microseconds of its own clock; outside, seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

MICRO: Final = 1_000_000
SLOTS: Final = 480
"""Into which a window is cut: a charge counts up to a 480th of the window longer than it had to, never shorter."""


EMPTY: Final[Mapping[str, float]] = MappingProxyType({})


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
    """Seconds the flow may run ahead. Of what is in flight: seconds from one process that looks for a place to the next."""
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
    process: str = ""
    """Whose call it is."""
    holds: int = 0
    """The calls of that process that are in flight there, or were asked for before this one."""
    told: bool = False
    """Whether the process has told these books what it charged, and keeps to its share until the others have: then it need not wait for
    those where the store has just begun."""

    def message(self, *, also: bool = False) -> Message:
        """also: it is not looked at where another claim of the same call before it was refused."""
        keep = keep_of([term.span for term in self.terms], self.lease)
        times = [micros(self.lease), micros(self.horizon), micros(self.quantum)]
        turn = [self.turn, int(self.fresh), int(self.more), int(self.waits), int(self.told)]
        head: list[Argument] = [self.id, keep, *times, *turn, self.process, self.holds]
        return Message(
            "also" if also else "admit", self.account, [*head, *[argument for term in self.terms for argument in term.arguments()]]
        )


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
    left: int
    """Calls that this process may send besides, as far as those in flight are what is limited: one at a time where others want to."""
    used: tuple[float, ...]
    """What all processes have on the books, term by term."""
    debt: tuple[float, ...]
    """Seconds until all of it is earned, term by term; meaningless where there is no pace."""
    ever: tuple[float, ...]
    """What was ever charged there, term by term."""


class Wish(Struct, frozen=True):
    """A process that asks for room for the calls of a short time, to let them in by itself."""

    account: str
    id: str
    terms: tuple[Term, ...]
    """What it would like of each limit."""
    parts: tuple[float, ...]
    """By limit: what is left under it, divided by what a block may take."""
    length: float
    """Seconds for which it lets calls in. They are charged as of the end of that, and so leave no window before any of them."""
    lease: float
    """As `Claim` has it."""
    process: str = ""
    holds: int = 0

    def message(self, *, patience: float = 0.0) -> Message:
        keep = keep_of([term.span for term in self.terms], self.lease)
        head: list[Argument] = [self.id, keep, micros(self.lease), micros(self.length), self.process, self.holds]
        for term, part in zip(self.terms, self.parts, strict=True):
            head += [*term.arguments(), part]
        return Message("block", self.account, head, patience)


class Grant(Struct, frozen=True):
    """What the store says to a wish."""

    granted: bool
    at: float
    """Where the charge stands, in the store's microseconds."""
    share: float
    """Of what was wished for."""
    seats: int
    """Calls that may be in flight, where those are limited."""
    born: float
    in_flight: int
    """With those seats."""
    used: tuple[float, ...]
    debt: tuple[float, ...]
    ever: tuple[float, ...]
    """As `Answer` has them."""


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
    """One operation of the script."""

    operation: str
    account: str
    arguments: list[Argument]
    patience: float = 0.0
    """Seconds it may be kept back, to travel with another."""


Then: TypeAlias = Callable[["list[str] | None", float], None]
"""What becomes of a message: its reply, None when there was none, and when that was by the process's monotonic clock."""


class Store(Protocol):
    """Where processes keep the books they share."""

    @property
    def process(self) -> str:
        """A name that no other process has."""
        ...

    def post(self, message: Message, then: Then | None = None) -> None:
        """Send a message in its turn, after all that was posted before it; `then` is called from whatever thread. Never blocks."""
        ...

    def post_all(self, questions: Sequence[tuple[Message, Then | None]]) -> None:
        """Send several in their turn, in one call where the store keeps all of their books in one place."""
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


def settlement(account: str, id: str, at: float, lease: float, corrections: Sequence[Correction], *, patience: float = 0.0) -> Message:
    """The end of a claim. Its second one changes nothing. patience: as `Message` has it."""
    arguments: list[Argument] = [id, keep_of([one.span for one in corrections], lease), at, *_corrected(corrections)]
    return Message("settle", account, arguments, patience)


def amending(
    account: str,
    id: str,
    at: float,
    wanted: int,
    lease: float,
    corrections: Sequence[Correction],
    unused: Mapping[str, float] = EMPTY,
    *,
    patience: float = 0.0,
) -> Message:
    """What a block's calls turned out to cost so far. wanted: its places, none of one that is over. unused: by limit, what
    of it is given back because nobody came."""
    arguments: list[Argument] = [id, keep_of([one.span for one in corrections], lease), at, wanted, len(unused)]
    arguments += [part for item in unused.items() for part in item]
    arguments += _corrected(corrections)
    return Message("amend", account, arguments, patience)


def _corrected(corrections: Sequence[Correction]) -> list[Argument]:
    return [
        argument
        for one in corrections
        for argument in (one.key, micros(one.span), slot_of(one.window), one.rate / MICRO, one.difference, one.written, one.owed)
    ]


def delaying(account: str, id: str, at: float, to: float, lease: float, terms: Sequence[Term], *, patience: float = 0.0) -> Message:
    """A call leaves later than it was let through: its charge moves from `at` to `to`, in the store's microseconds."""
    watched = [term for term in terms if term.window]
    arguments: list[Argument] = [id, keep_of([term.span for term in watched], lease), at, to]
    for term in watched:
        arguments += [term.key, micros(term.span), term.slot, term.cost]
    return Message("delay", account, arguments, patience)


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


YOUNG: Final = 4.0
"""Seconds from its beginning on in which a store lets nobody pass who has told it nothing: by then all have told what they charged while
another was there."""
EPOCH: Final = 4.0
"""Seconds for which shares stand. Every process that reports more often than that sees each of them."""
KEPT: Final = 60.0
"""Seconds for which books are kept at least after a report of any process."""


def reporting(
    account: str, process: str, demand: float, lease: float, ids: Sequence[str], terms: Sequence[Term] = (), *, patience: float = 0.0
) -> Message:
    """A process says that it lives, how much it wants, which of its calls are under way, and what it would like to know of."""
    arguments: list[Argument] = [process, demand, micros(EPOCH), round(1000 * KEPT), micros(lease), len(ids), *ids]
    for term in terms:
        arguments += [term.key, micros(term.span), term.slot]
    return Message("report", account, arguments, patience)


class Sign(Struct, frozen=True):
    """What the store says to a report."""

    share: float | None
    """Of a process that loses the store from now on; None of one that stands in no table yet. The smaller of the last two it was told:
    others may have seen one table less, and all shares of one table add up to less than 1. Newcomers divide what the table before them
    kept for one it did not know."""
    least: float
    """The share of one that wants nothing."""
    processes: int
    born: float
    """As `Answer` has it; 0 where there are no books."""
    now: float
    """In the store's microseconds."""
    held: float
    """Seconds for which a provider's word holds everything shut, if above 0."""
    in_flight: int
    states: tuple[tuple[float, float, float], ...]
    """Of each term that it asked for: what all have on the books, seconds of debt, and what was ever charged."""
    rests: dict[str, float]
    """Deployments that rest, and for how many seconds more."""


def read_sign(reply: Sequence[str]) -> Sign:
    """What is in a reply to `report`."""
    share, before, least, count, born, now, held, in_flight, terms, *rest = reply
    states, rests = rest[: 3 * int(float(terms))], rest[3 * int(float(terms)) :]
    return Sign(
        share=min(float(share), float(before)) if share else None,
        least=float(least),
        processes=max(1, int(float(count))),
        born=float(born),
        now=float(now),
        held=float(held) / MICRO,
        in_flight=int(float(in_flight)),
        states=tuple(
            [
                (float(used), float(debt) / MICRO, float(ever))
                for used, debt, ever in zip(states[::3], states[1::3], states[2::3], strict=True)
            ]
        ),
        rests={name: float(left) / MICRO for name, left in zip(rests[::2], rests[1::2], strict=True)},
    )


def several(messages: Sequence[Message], accounts: Sequence[str]) -> list[Argument]:
    """What the script takes for many messages at once, whose accounts' keys stand in this order."""
    arguments: list[Argument] = []
    for one in messages:
        arguments += [one.operation, accounts.index(one.account) + 1, len(one.arguments), *one.arguments]
    return arguments


def read_answer(reply: Sequence[str]) -> Answer:
    """The answer in a reply to `admit`."""
    granted, at, start, turn, until, binding, born, in_flight, left, now, *states = reply
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
        left=int(float(left)),
        used=tuple([float(used) for used in states[::3]]),
        debt=tuple([float(debt) / MICRO for debt in states[1::3]]),
        ever=tuple([float(ever) for ever in states[2::3]]),
    )


def read_grant(reply: Sequence[str]) -> Grant:
    """The answer in a reply to `block`."""
    granted, at, share, seats, born, in_flight, _, *states = reply
    return Grant(
        granted=granted == "1",
        at=float(at),
        share=float(share),
        seats=int(float(seats)),
        born=float(born),
        in_flight=int(float(in_flight)),
        used=tuple([float(used) for used in states[::3]]),
        debt=tuple([float(debt) / MICRO for debt in states[1::3]]),
        ever=tuple([float(ever) for ever in states[2::3]]),
    )
