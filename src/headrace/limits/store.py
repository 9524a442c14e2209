"""The port to the store of shared limits, and the messages that `admit.lua` understands.

Inside the store, times are whole microseconds of its own clock; outside, seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

MICRO: Final = 1_000_000
SLOTS: Final = 480
"""Slots per window: a charge counts up to a 480th of the window longer than necessary, never less."""


EMPTY: Final[Mapping[str, float]] = MappingProxyType({})


class StoreLost(Exception):
    """The store did not answer."""


class Term(Struct, frozen=True):
    """One limit, and what a call takes of it."""

    key: str
    """The same in every process: unit and window."""
    room: float
    """What may be charged within the window, or be in flight."""
    cost: float
    window: float
    """Seconds of the limit; 0 for calls in flight."""
    span: float = 0.0
    """Seconds over which it is watched: the window plus the spread of travel times."""
    rate: float = 0.0
    """Units per second of its pacing; 0 if it is not paced."""
    tolerance: float = 0.0
    """Seconds that the flow may run ahead. For calls in flight: seconds between the polls of two processes for a place."""
    expected: float = 0.0
    """What is added to the pacing debt."""

    @property
    def slot(self) -> int:
        """Microseconds of one slot."""
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
    """Seconds after which it no longer counts as in flight unless renewed."""
    horizon: float = 0.25
    """Seconds ahead for which room may be granted."""
    quantum: float = 0.05
    """Shortest turn in seconds, when several processes want the same room."""
    turn: float = 0.0
    """The end of the turn that this process has, in the store's microseconds; 0 for none."""
    fresh: bool = False
    """Whether nothing was granted in that turn yet."""
    more: bool = False
    """Whether other calls wait behind it here, which could use a turn."""
    waits: bool = True
    """Whether a turn would be used if this claim is refused."""
    process: str = ""
    """The process that makes the call."""
    holds: int = 0
    """That process's calls in flight there, including those requested before this one."""
    told: bool = False
    """Whether the process has reported its charges to this store and keeps to its share until the others have. Then it
    need not wait for them when the store is new."""

    def message(self, *, also: bool = False) -> Message:
        """also: skip it if an earlier claim of the same call was refused."""
        keep = keep_of([term.span for term in self.terms], self.lease)
        times = [micros(self.lease), micros(self.horizon), micros(self.quantum)]
        turn = [self.turn, int(self.fresh), int(self.more), int(self.waits), int(self.told)]
        head: list[Argument] = [self.id, keep, *times, *turn, self.process, self.holds]
        return Message(
            "also" if also else "admit", self.account, [*head, *[argument for term in self.terms for argument in term.arguments()]]
        )


class Answer(Struct, frozen=True):
    """The store's reply to a claim. Seconds from now, unless stated otherwise."""

    granted: bool
    at: float
    """Moment of its charge, in the store's microseconds."""
    start: float
    """When it may be sent."""
    turn: float
    """When this process should ask again: for this call if refused, for the next one if granted. 0 for any time."""
    until: float
    """The end of that turn, in the store's microseconds."""
    binding: int | None
    """Index of the term that determined it."""
    born: float
    """When this data was begun. If it changes, the store has lost what was charged before."""
    in_flight: int
    left: int
    """Calls that this process may send in addition under a limit on calls in flight: one at a time if other processes
    want places."""
    used: tuple[float, ...]
    """Totals of all processes, by term."""
    debt: tuple[float, ...]
    """Seconds of pacing debt, by term; meaningless for terms without pacing."""
    ever: tuple[float, ...]
    """Totals ever charged, by term."""


class Wish(Struct, frozen=True):
    """A process's request for a block: room for the calls of a short time, which it admits by itself."""

    account: str
    id: str
    terms: tuple[Term, ...]
    """What it wants of each limit."""
    parts: tuple[float, ...]
    """By limit: what is left under it is divided by this to bound the block."""
    length: float
    """Seconds for which calls are admitted on it. They are charged as of its end, so that the charge leaves no window
    before any of them."""
    lease: float
    """See `Claim`."""
    process: str = ""
    holds: int = 0

    def message(self, *, patience: float = 0.0) -> Message:
        keep = keep_of([term.span for term in self.terms], self.lease)
        head: list[Argument] = [self.id, keep, micros(self.lease), micros(self.length), self.process, self.holds]
        for term, part in zip(self.terms, self.parts, strict=True):
            head += [*term.arguments(), part]
        return Message("block", self.account, head, patience)


class Grant(Struct, frozen=True):
    """The store's reply to a request for a block."""

    granted: bool
    at: float
    """Moment of the charge, in the store's microseconds."""
    share: float
    """Granted share of the request."""
    seats: int
    """Places in flight, where these are limited."""
    born: float
    in_flight: int
    """Including those places."""
    used: tuple[float, ...]
    debt: tuple[float, ...]
    ever: tuple[float, ...]
    """See `Answer`."""


class Correction(Struct, frozen=True):
    """The actual cost of a call to one limit, against what was charged."""

    key: str
    window: float
    span: float
    rate: float
    difference: float
    """More than was charged on arrival; negative to give back."""
    written: float
    """Output that counts from now on."""
    owed: float
    """More than was added to the pacing debt."""


class Standing(Struct, frozen=True):
    """What a process has charged to one limit, by its own accounting."""

    key: str
    window: float
    span: float
    rate: float
    debt: float
    """Seconds."""
    charges: tuple[tuple[float, float], ...]
    """(seconds ago, amount)."""


Argument: TypeAlias = str | int | float


class Message(Struct, frozen=True):
    """One operation of the script."""

    operation: str
    account: str
    arguments: list[Argument]
    patience: float = 0.0
    """Seconds for which it may be delayed, to be sent with another."""


Then: TypeAlias = Callable[["list[str] | None", float], None]
"""Receives the reply to a message, or None if there was none, and the time of it by the process's monotonic clock."""


class Store(Protocol):
    """Holds the shared accounting of several processes."""

    @property
    def process(self) -> str:
        """A name that is unique among all processes."""
        ...

    def post(self, message: Message, then: Then | None = None) -> None:
        """Send a message after all that were posted before it; `then` is called from any thread. Never blocks."""
        ...

    def post_all(self, questions: Sequence[tuple[Message, Then | None]]) -> None:
        """Send several messages in order, in one script call if the store keeps all their accounts in one place."""
        ...

    def attach(self, beat: Callable[[float], None]) -> None:
        """Call a bound method about once a second with the clock's time, as long as its object exists."""
        ...


def micros(seconds: float) -> int:
    return round(seconds * MICRO)


def slot_of(window: float) -> int:
    """Microseconds of one slot."""
    return max(1, micros(window) // SLOTS)


def keep_of(spans: Sequence[float], lease: float) -> int:
    """Milliseconds after which unused data of an account may be dropped."""
    return round(1000 * (2 * max([60.0, *spans]) + lease))


def settlement(account: str, id: str, at: float, lease: float, corrections: Sequence[Correction], *, patience: float = 0.0) -> Message:
    """Settle a claim. A second settlement changes nothing. patience: see `Message`."""
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
    """Correct a block by what its calls cost so far.

    wanted: places that it still needs, 0 once it is over. unused: room given back, by limit.
    """
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
    """A call is sent later than it was admitted: move its charge from `at` to `to`, in the store's microseconds."""
    watched = [term for term in terms if term.window]
    arguments: list[Argument] = [id, keep_of([term.span for term in watched], lease), at, to]
    for term in watched:
        arguments += [term.key, micros(term.span), term.slot, term.cost]
    return Message("delay", account, arguments, patience)


def closing(account: str, seconds: float) -> Message:
    """Hold an account for all processes, as a provider's Retry-After asks."""
    return Message("hold", account, [micros(seconds), round(1000 * (seconds + 120))])


def resting(account: str, name: str, seconds: float) -> Message:
    """Put a deployment into cooldown for so many seconds; 0 ends it."""
    return Message("rest", account, [name, micros(seconds), round(1000 * (seconds + 60))])


def restoring(account: str, born: float, away: float, lease: float, ids: Sequence[str], standings: Sequence[Standing]) -> Message:
    """Report what was charged without the store.

    The last `away` seconds if its data is the same as before, everything if it is new.
    """
    keep = keep_of([one.span for one in standings], lease)
    arguments: list[Argument] = [keep, micros(lease), born, micros(away), len(ids), *ids]
    for one in standings:
        arguments += [one.key, micros(one.span), slot_of(one.window), one.rate / MICRO, micros(one.debt), len(one.charges)]
        for age, cost in one.charges:
            arguments += [micros(age), cost]
    return Message("restore", account, arguments)


YOUNG: Final = 4.0
"""Seconds after its first use during which a store admits no call of a process that has not reported: by then all have
reported what they charged while another one was there."""
EPOCH: Final = 4.0
"""Seconds for which shares are valid. Every process that reports more often sees all of them."""
KEPT: Final = 60.0
"""Seconds for which data is kept at least after any process's report."""


def reporting(
    account: str, process: str, demand: float, lease: float, ids: Sequence[str], terms: Sequence[Term] = (), *, patience: float = 0.0
) -> Message:
    """A process's heartbeat: its demand and calls in flight, and the terms that it wants the state of."""
    arguments: list[Argument] = [process, demand, micros(EPOCH), round(1000 * KEPT), micros(lease), len(ids), *ids]
    for term in terms:
        arguments += [term.key, micros(term.span), term.slot]
    return Message("report", account, arguments, patience)


class Sign(Struct, frozen=True):
    """The store's reply to a report."""

    share: float | None
    """The share of a process that loses the store now; None if it is in no table of shares yet. It is the smaller of
    the last two shares, because other processes may have seen one table less; the shares of one table add up to less
    than 1. Newcomers divide what the previous table reserved for an unknown process."""
    least: float
    """The share of a process without demand."""
    processes: int
    born: float
    """See `Answer`; 0 if there is no data."""
    now: float
    """In the store's microseconds."""
    held: float
    """Seconds for which a provider's Retry-After holds the account, if positive."""
    in_flight: int
    states: tuple[tuple[float, float, float], ...]
    """For each requested term: the total of all processes, seconds of pacing debt, and the total ever charged."""
    rests: dict[str, float]
    """Deployments in cooldown, and the seconds left."""


def read_sign(reply: Sequence[str]) -> Sign:
    """Parse a reply to `report`."""
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
    """Arguments of the script for several messages, whose accounts' keys are in this order."""
    arguments: list[Argument] = []
    for one in messages:
        arguments += [one.operation, accounts.index(one.account) + 1, len(one.arguments), *one.arguments]
    return arguments


def read_answer(reply: Sequence[str]) -> Answer:
    """Parse a reply to `admit`."""
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
    """Parse a reply to `block`."""
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
