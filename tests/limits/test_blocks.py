"""Blocks: room from the shared books for the calls of a short time. What the providers see, and what the books hold in the end."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from headrace.errors import Failure, Kind
from headrace.limits import Ask, Charge, Limiter, Used, limits_of, profile_of
from headrace.limits.blocks import LENGTH
from headrace.limits.books import Books
from headrace.limits.limit import Limit, Unit
from headrace.limits.memory import MemoryServer, MemoryStore
from headrace.limits.profile import Profile
from headrace.limits.shared import SharedLimiter
from headrace.limits.store import MICRO, Claim, Correction, Term, Wish, amending, read_answer, read_grant
from headrace.runtime.virtual import World
from limits.many import Listening, Towns
from limits.town import KINDS, known, small

START = 1_764_000_000 * MICRO
TOKENS = Term("tokens/60", room=5000, cost=700.5, window=60.0, span=60.5, rate=5000 / 60, tolerance=8.0, expected=700.5)
SEATS = Term("in_flight/0", room=20, cost=4, window=0.0)
PLENTY = ((6000, 6_000_000),)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.5, 2.0, 9.0]), st.booleans(), st.floats(0.2, 3.0), st.floats(0, 1), st.floats(0, 1)),
        max_size=100,
    )
)
def test_no_window_and_no_flow_ever_holds_more_than_its_limit_whenever_in_its_time_a_block_is_used(offers: Any) -> None:
    """Blocks between calls that ask by themselves; some of each is used, at any moment until its end, and the rest given back."""
    books, now, sent = Books(), float(START), list[tuple[float, float]]()
    for number, (passed, alone, factor, used, at) in enumerate(offers):
        now += round(passed * MICRO)
        term = Term(TOKENS.key, 5000, 700.5 * factor, 60.0, 60.5, TOKENS.rate, 8.0, 700.5 * factor)
        if alone:
            answer = read_answer(books.call("admit", now, Claim("a", f"c{number}", (term,), 30.0, horizon=0.0).message().arguments))
            if answer.granted:
                sent.append((answer.at, term.cost))
            continue
        grant = read_grant(books.call("block", now, Wish("a", f"b{number}", (term,), (2.0,), LENGTH, 30.0).message().arguments))
        if grant.granted:
            room = term.cost * grant.share
            sent.append((now + at * LENGTH * MICRO, room * used))
            back = room * (used - 1)
            books.call(
                "amend",
                now,
                amending(
                    "a", f"b{number}", grant.at, 0, 30.0, [Correction(TOKENS.key, 60.0, 60.5, TOKENS.rate, back, 0.0, back)]
                ).arguments,
            )
    for end, _ in sent:
        assert sum(cost for at, cost in sent if end - 60 * MICRO < at <= end) <= TOKENS.room + 1e-3
        for begin, _ in sent:
            if begin <= end:
                most = TOKENS.rate * ((end - begin) / MICRO + 8.0) + 700.5 * 3  # of calls that ask by themselves, one more
                assert sum(cost for at, cost in sent if begin <= at <= end) <= most


def _quarter(term: Term) -> Term:
    return structs.replace(term, cost=term.cost / 4, expected=term.expected / 4)


def test_a_block_takes_quarter_of_what_is_left_of_three_quarters_and_none_where_somebody_waits() -> None:
    books = Books()
    wish = Wish("a", "b1", (_quarter(TOKENS), SEATS), (2.0, 2.0), LENGTH, 30.0, "p1").message()
    first = read_grant(books.call("block", float(START), wish.arguments))
    assert (first.granted, first.share, first.seats) == (True, 1.0, 4)
    big = Wish("a", "b2", (Term("tokens/60", 5000, 4000, 60.0, 60.5),), (2.0,), LENGTH, 30.0, "p1").message()
    second = read_grant(books.call("block", float(START), big.arguments))
    assert second.share == pytest.approx((0.75 * 5000 - 700.5 / 4) / 2 / 4000)
    books.call("admit", float(START), Claim("a", "c", (Term("tokens/60", 5000, 4900, 60.0, 60.5),), 30.0).message().arguments)
    third = read_grant(books.call("block", float(START), Wish("a", "b3", (SEATS,), (2.0,), LENGTH, 30.0, "p1").message().arguments))
    assert not third.granted, "a turn was given"


@pytest.mark.parametrize("kind", ["slide60/reserve", "slide60/settle", "tb60/reserve", "tb5/reserve", "fix60/reserve"])
@pytest.mark.parametrize("parallel", [None, 400])
def test_while_there_is_plenty_few_calls_ask(kind: str, parallel: int | None) -> None:
    """Half of the limit is wanted: nobody waits or is refused, and one question serves many calls. It was one for each."""
    town = Towns(KINDS[kind], known(kind), processes=4, deployments=PLENTY, parallel=parallel)
    town.beat(75)
    count = town.arrivals(50, 0, 60, small)
    town.world.run(until=75)
    assert len(town.waits) == count
    assert town.refused() == 0
    assert town.asked() <= 0.2 * count
    assert town.called() <= 0.4 * count


@pytest.mark.parametrize("kind", ["slide60/reserve", "slide60/settle", "tb5/reserve", "fix60/reserve"])
def test_calls_that_come_to_be_more_than_the_limit_are_never_refused_and_leave_nothing_of_it(kind: str) -> None:
    """From blocks to asking one by one: at first there is plenty, then more is wanted than there is."""
    town = Towns(KINDS[kind], known(kind), processes=4, deployments=((1200, 3_000_000),))
    town.beat(200)
    town.arrivals(12, 0, 60, small)
    town.arrivals(26, 60, 190, small)
    town.world.run(until=191)
    town.world.close()
    assert town.refused() == 0
    assert min(town.admitted(at, at + 60.5) for at in range(100, 130)) >= 0.98 * 1200


@pytest.mark.parametrize("kind", ["slide60/reserve", "slide60/settle"])
@pytest.mark.parametrize("forgets", [True, False])
@pytest.mark.parametrize("goes", [50.0, 50.3])
def test_a_store_that_is_lost_amid_blocks_opens_no_limit_and_stops_nobody(kind: str, forgets: bool, goes: float) -> None:
    """Two thirds of the limit are wanted, by blocks; meanwhile each has its part. They had none after six seconds: what blocks gave back
    was taken for charged, and so of what was charged nothing seemed to leave the window."""
    town = Towns(KINDS[kind], known(kind), processes=4, deployments=((3600, 6_000_000),))
    town.headers = True
    town.beat(150)
    town.world.at(goes, town.store_goes)
    town.world.at(80, partial(town.store_returns, forgets=forgets))
    count = town.arrivals(40, 0, 140, small)
    town.world.run(until=150)
    assert town.refused() == 0
    assert len(town.waits) == count
    assert town.admitted(60, 80) >= 0.9 * 40 * 20
    assert max(wait for _, _, wait in town.waits) <= 4.0


def test_a_block_is_no_longer_than_half_of_what_the_flow_may_run_ahead() -> None:
    """All of its calls may go at its end. Of a provider that nobody knows the flow may run ahead a tenth of a second at first,
    a little more with each second without a refusal."""
    town = Towns(KINDS["slide60/reserve"], Profile(), processes=2, deployments=((60_000, 60_000_000),))
    town.beat(3)
    town.arrivals(400, 0, 2, small)
    town.world.run(until=3)
    lengths = [message.arguments[3] for message in town.server.heard if message.operation == "block"]
    assert lengths
    assert all(0 < length < 0.06 * MICRO for length in lengths)


@pytest.mark.parametrize("profile", [Profile(), known("slide60/reserve")])
@pytest.mark.parametrize("rate", [1000, 4000])
def test_calls_that_begin_to_come_fast_go_on_blocks_within_the_first_second(profile: Profile, rate: int) -> None:
    """What little a first block held was gone in a moment, no other was tried for a tenth of a second, and each held what seconds before
    had wanted: of calls to an unknown provider two thirds asked by themselves in the first seconds, and cost ten times as much."""
    town = Towns(KINDS["slide60/reserve"], profile, processes=1, deployments=((6_000_000, 6_000_000_000),))
    town.beat(3)
    count = town.arrivals(rate, 0, 3, small)
    town.world.run(until=1)
    first = town.asked()
    assert first <= 100
    town.world.run(until=4)
    assert len(town.waits) == count
    assert town.asked() == first, "the next block was not there in time"


def test_blocks_for_a_key_a_team_and_a_deployment_are_requested_together() -> None:
    """Each was only requested when the one before had come: for three round trips all calls asked by themselves."""
    two = Two(trip=0.005)
    limiter, world, store = two.limiters[0], two.world, two.stores[0]
    limiter.add("wide", group="wide", limits=limits_of(rpm=10**8, tpm=10**12), profile=profile_of("openai"))
    limiter.add_scope("wide key", limits_of(rpm=10**8))
    limiter.add_scope("wide team", limits_of(tpm=10**12))

    async def call() -> None:
        held = await limiter.reserve(Ask("wide", Charge(10, 40), scopes=("wide key", "wide team")), world)
        await world.sleep(0.004)
        limiter.settle(held, used=Used(12, 20), now=world.now())

    for begin in (1.0, 13.0):
        for number in range(4000):
            world.at(begin + number / 4000, lambda: world.spawn(call()))
    world.run(until=12.0)
    before = store.asked
    world.run(until=16.0)
    assert (store.asked - before) / 3 <= 40


def test_a_killed_process_leaves_no_more_on_the_books_than_its_block() -> None:
    """It counts until its window leaves; the others go on, and no provider refuses."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=3, skew=0.5, deployments=((1200, 3_000_000),))
    town.beat(160)
    town.arrivals(12, 0, 40, small)
    busy = town.limiters[0]

    def killed() -> None:
        town.limiters, town.weights = town.limiters[1:], [1.0, 1.0]
        busy._store = town.stores[0] = MemoryStore(MemoryServer(), town.world, town.world.at)  # it says nothing any more
        busy.presence._store = busy.presence.blocks._store = busy._store

    town.world.at(41, killed)
    town.world.run(until=41.5)
    town.arrivals(30, 42, 150, small)
    town.world.run(until=150)
    town.world.close()
    assert town.refused() == 0
    assert town.admitted(105, 145) >= 0.97 * 1200 * 40 / 60


class Two:
    """Two processes, a store without a way to it, a key and a budget."""

    def __init__(self, *, trip: float = 0.0, **limits: Any) -> None:
        self.world = World()
        self.server = MemoryServer()
        self.stores = [MemoryStore(self.server, self.world, self.world.at, process=name, trip=trip) for name in "ab"]
        self.limiters = [SharedLimiter(store, random=random.Random(1)) for store in self.stores]
        for limiter in self.limiters:
            limiter.add("d", group="chat", limits=limits_of(rpm=6000, tpm=600_000, **limits), profile=profile_of("openai"))
            limiter.add_scope("key", [*limits_of(rpm=3000), Limit(Unit.MONEY, 10**12, 30 * 86_400.0, "max_budget")])
        for at in range(1, 200):
            for limiter in self.limiters:
                self.world.at(at, partial(limiter.presence.beat, float(at)))

    def sums(self) -> dict[str, float]:
        return {f"{number}:{key}": row.sum for number, books in enumerate(self.server.books.values()) for key, row in books.rows.items()}

    def flight(self) -> list[str]:
        return [id for books in self.server.books.values() for id in books.flight]


def ends(limiter: Limiter, held: Any, chance: random.Random, now: float) -> tuple[int, int, int] | None:
    """As calls end: answered, failed, left, never sent. Requests, tokens and money that count."""
    how = chance.random()
    used = Used(12, chance.randint(1, 20), money=chance.randint(1, 900))
    if how < 0.8:
        limiter.settle(held, used=used, now=now)
        return 1, 40, used.money
    if how < 0.9:
        limiter.settle(held, used=None, sent=False, now=now)
        return None
    limiter.settle(held, used=None, failure=Failure(Kind.SERVER, "broken", provider="openai"), now=now)
    return 1, 40, 1000


@pytest.mark.parametrize("parallel", [None, 500])
@pytest.mark.parametrize("seed", range(3))
def test_in_the_end_the_store_has_on_its_books_what_calls_used_and_nothing_in_flight(seed: int, parallel: int | None) -> None:
    """Whether they went on blocks or asked by themselves, in whatever order they ended."""
    two, chance = Two(max_parallel_requests=parallel), random.Random(seed)
    totals, blocked = [0, 0, 0], 0

    async def call(limiter: SharedLimiter) -> None:
        nonlocal blocked
        held = await limiter.reserve(Ask("chat", Charge(10, 40, money=1000), scopes=("key",)), two.world)
        blocked += held.put is not None
        limiter.leaves(held, two.world.now())
        await two.world.sleep(chance.uniform(0.0, 4.0))
        counted = ends(limiter, held, chance, two.world.now())
        for number, amount in enumerate(counted or ()):
            totals[number] += amount

    for _ in range(1200):
        two.world.at(chance.uniform(0, 20), lambda: two.world.spawn(call(chance.choice(two.limiters))))
    two.world.run(until=35)
    assert blocked > 600
    assert two.flight() == []
    requests, tokens, money = totals
    found = sorted(round(value, 3) for value in two.sums().values() if value)
    assert found == sorted(float(value) for value in (requests, requests, tokens, money))


def test_a_call_that_leaves_long_after_its_block_counts_from_when_it_leaves() -> None:
    """A connection that took seconds to make: its provider counts it from then."""
    two = Two()
    limiter, world = two.limiters[0], two.world
    held: list[Any] = []

    async def call() -> None:
        held.append(await limiter.reserve(Ask("chat", Charge(10, 40, money=1000), scopes=("key",)), world))

    for number in range(150):
        world.at(number * 0.02, lambda: world.spawn(call()))
    world.run(until=3.0)
    last = held[-1]
    assert last.put is not None
    for one in held[:-1]:
        limiter.settle(one, used=Used(12, 38, money=500), now=world.now())
    world.run(until=20.0)
    limiter.leaves(last, world.now())
    limiter.settle(last, used=Used(12, 38, money=500), now=world.now())
    world.run(until=65.0)
    row = next(books.rows["requests/60"] for books in two.server.books.values() if "tokens/60" in books.rows)
    row_sum = sum(cost for slot, cost in row.slots.items() if slot * 0.125e6 > 18 * MICRO)
    assert round(row_sum, 6) == 1.0


@pytest.mark.parametrize("rate", [5.0, 200.0])
def test_what_is_left_is_told_with_what_other_processes_used(rate: float) -> None:
    """It was told as if a process were alone. What they have used in the last three seconds may be missing."""
    two, told, let_in = Two(max_parallel_requests=500), list[tuple[float, int]](), list[float]()
    one, other = two.limiters

    async def call(limiter: SharedLimiter) -> None:
        held = await limiter.reserve(Ask("chat", Charge(10, 40, money=1000), scopes=("key",)), two.world)
        let_in.append(two.world.now())
        await two.world.sleep(0.5)
        limiter.settle(held, used=Used(12, 20, money=500), now=two.world.now())

    def look() -> None:
        now = two.world.now()
        told.append((now, next(left.remaining for left in other.left(["key"], now) if left.unit is Unit.REQUESTS)))

    for number in range(int(10 * rate)):
        two.world.at(1 + number / rate, lambda: two.world.spawn(call(one)))
    for number in range(100):
        two.world.at(1 + number / 10, lambda: two.world.spawn(call(other)))
    for at in range(4, 11):
        two.world.at(at, look)
    two.world.at(22.0, look)
    two.world.run(until=25)
    two.world.at(190.0, look)
    two.world.run(until=195)
    assert told.pop() == (190.0, 3000)
    for at, left in told[:-1]:
        used = sum(moment <= at for moment in let_in)
        assert 3000 - used - 2 * rate - 20 <= left <= 3000 - used + 3 * rate
    assert told[-1][1] == 3000 - 10 * rate - 100


def test_a_block_is_never_called_as_a_call_of_its_process_is() -> None:
    """After 176 calls that had asked by themselves one had the name of a block: it was let in for nothing, and its end ended the block."""
    two = Two()
    server = two.server = Listening()
    for store in two.stores:
        store._server = server

    async def call() -> None:
        held = await two.limiters[0].reserve(Ask("chat", Charge(10, 40, money=1000), scopes=("key",)), two.world)
        await two.world.sleep(0.5)
        two.limiters[0].settle(held, used=Used(12, 20, money=500), now=two.world.now())

    for number in range(300):
        two.world.at(1 + number / 4, lambda: two.world.spawn(call()))
    for number in range(900):
        two.world.at(80 + number / 100, lambda: two.world.spawn(call()))
    two.world.run(until=95)
    names = [{message.arguments[0] for message in server.heard if message.operation == operation} for operation in ("admit", "block")]
    assert [len(found) > least for found, least in zip(names, (180, 25), strict=True)] == [True, True]
    assert names[0].isdisjoint(names[1])
