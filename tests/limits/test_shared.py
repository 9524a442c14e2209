"""Many processes, one limit, in virtual time: what the providers see of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import pytest

from headrace.limits import Ask, Charge, Used, limits_of
from headrace.limits.shared import SharedLimiter
from headrace.runtime.virtual import World
from limits.many import Towns
from limits.town import KINDS, known, small

SMALL = Charge(input=10, max_output=10)


@pytest.mark.parametrize("kind", ["slide60/reserve", "slide60/settle", "tb60/post", "fix10/reserve"])
def test_processes_together_keep_every_limit_and_use_it(kind: str) -> None:
    """Four processes, two fifths of the work at one of them: no provider ever refuses, and little is left over."""
    town = Towns(KINDS[kind], known(kind), processes=4, deployments=((300, 300_000), (120, 60_000)))
    town.beat(200)
    town.backlog(900, small)
    town.world.run(until=200)
    assert len(town.waits) == 900
    assert town.refused() == 0
    assert town.use() >= 0.95
    assert town.asked() <= 1.6 * 900


@pytest.mark.parametrize("kind", ["slide60/reserve", "slide60/settle"])
def test_a_call_costs_the_store_one_and_a_half_calls_of_its_script(kind: str) -> None:
    """Question, end and signs of life together, with eight processes at one limit: it was 2.4, as each end and each sign went alone."""
    town = Towns(KINDS[kind], known(kind), processes=8, deployments=((480, 200_000), (240, 200_000)))
    town.beat(75)
    town.backlog(1100, small)
    town.world.run(until=75)
    assert town.refused() == 0
    assert town.called() <= 1.5 * len(town.waits)


@pytest.mark.parametrize(
    ("kind", "forgets", "after"),
    [("slide60/reserve", True, 0.97), ("slide60/settle", False, 0.97), ("tb5/reserve", False, 0.97), ("fix10/reserve", True, 0.92)],
)
def test_a_lost_store_opens_no_limit_and_comes_back_without_a_burst(kind: str, forgets: bool, after: float) -> None:
    """Lost for half a minute, back with or without its memory: no provider refuses anything, before, meanwhile or afterwards.

    Nor is much left over. A sixth of the limit was used: what answers' headers said the other processes used, each took for a
    stranger's and left to him, and kept to what remained for minutes after the store's return. And turns that it had given were waited for.
    """
    town = Towns(KINDS[kind], known(kind), processes=4, deployments=((300, 300_000),))
    town.headers = True
    town.beat(240)
    town.world.at(70, town.store_goes)
    town.world.at(100, partial(town.store_returns, forgets=forgets))
    town.backlog(1400, small)
    town.world.run(until=240)
    assert town.refused() == 0
    assert 0.8 <= town.admitted(70, 100) / 150 <= 1.02
    # windows: a minute's burst comes again with the next, so that other spans hold one more or one less of them
    assert min(town.admitted(at, at + 60.5) for at in range(100, 175)) >= after * 300


@pytest.mark.parametrize("goes", [77, 79])
def test_a_store_that_is_lost_within_a_short_window_does_not_open_that(goes: int) -> None:
    """Calls that had not heard counted as a part of ours of the ten seconds, and went back: eight too many were sent in their place."""
    town = Towns(KINDS["fix10/reserve"], known("fix10/reserve"), processes=4, deployments=((300, 300_000),))
    town.headers = True
    town.beat(goes + 14)
    town.world.at(goes, town.store_goes)
    town.backlog(600, small)
    town.world.run(until=goes + 14)
    assert town.refused() == 0
    assert town.admitted(goes, goes + 14) >= 40


def test_a_store_that_is_lost_again_as_soon_as_it_is_back_opens_no_limit() -> None:
    """Nor does it close one: each process took for its share what the first table of the new store said, before the others were in it."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=8, deployments=((480, 480_000),))
    town.beat(130)
    town.world.at(60, town.store_goes)
    town.world.at(75, partial(town.store_returns, forgets=True))
    town.world.at(76.5, town.store_goes)
    town.world.at(95, partial(town.store_returns, forgets=False))
    town.backlog(1100, small)
    town.world.run(until=130)
    assert town.refused() == 0
    assert 0.8 <= town.admitted(62, 92) / 240 <= 1.1


@pytest.mark.parametrize(("late", "forgets"), [(2.5, False), (6.0, False), (6.0, True)])
def test_a_store_that_is_back_is_not_trusted_before_a_busy_process_has_told_it_what_it_charged(late: float, forgets: bool) -> None:
    """It looks seconds later than the other, which would else take for free what it has used; the other waits for it, as it knows of it."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, skew=0.5, deployments=((60, 60_000),))
    one, busy = (limiter.presence for limiter in town.limiters)
    for at in range(1, 90):
        town.world.at(at, partial(one.beat, at))
        if not 20 < at < 50 + late:
            town.world.at(at + 0.5, partial(busy.beat, at + 0.5))
    town.world.at(20, town.store_goes)
    town.world.at(49.9, partial(town.store_returns, forgets=forgets))
    town.backlog(140, small)
    town.world.run(until=90)
    assert town.refused() == 0
    assert town.admitted(0, 90) >= 80


@pytest.mark.parametrize("away", [0.05, 0.5])
def test_a_store_that_is_back_empty_before_anybody_missed_it_opens_no_limit(away: float) -> None:
    """One process has used the limit and is idle, the others come again when the store has just begun anew: they were let in once more."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=4, deployments=((300, 300_000),))
    idle, *others = town.limiters
    chance = random.Random(1)

    def come(limiters: Sequence[SharedLimiter], count: int) -> None:
        for number in range(count):
            town.world.spawn(town.served_by(limiters[number % len(limiters)], small(chance)))

    town.beat(170)

    async def look(limiter: SharedLimiter) -> None:
        limiter.release(await limiter.reserve(Ask("g", SMALL), town.world), town.world.now())

    for limiter in others:
        town.world.at(1, lambda limiter=limiter: town.world.spawn(look(limiter)))
    town.world.at(1, partial(come, [idle], 260))
    town.world.at(50.1, town.store_goes)
    town.world.at(50.1 + away, partial(town.store_returns, forgets=True))
    town.world.at(50.11 + away, partial(come, others, 500))
    town.world.run(until=170)
    assert town.admitted(0, 50) == 260
    assert town.refused() == 0
    assert town.admitted(52, 112.5) >= 0.95 * 300


@pytest.mark.parametrize("before", [None, 1], ids=["it never called before", "it called two minutes ago"])
def test_a_process_that_comes_to_a_store_that_has_just_begun_anew_is_not_let_in_on_top_of_the_others(before: int | None) -> None:
    """They had not told yet what they had charged, and the books showed an empty limit: 200 calls were refused by the provider."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((300, 300_000),))
    busy, other = town.limiters
    chance = random.Random(1)

    def come(limiter: SharedLimiter, count: int) -> None:
        for _ in range(count):
            town.world.spawn(town.served_by(limiter, small(chance)))

    town.beat(210)
    if before is not None:
        town.world.at(before, partial(come, other, 1))
    town.world.at(85, partial(come, busy, 280))
    town.world.at(140.1, partial(town.store_returns, forgets=True))
    town.world.at(140.2, partial(come, other, 200))
    town.world.run(until=210)
    assert town.admitted(85, 140) == 280
    assert town.refused() == 0
    assert len(town.waits) == 480 + (before is not None)


def test_whoever_finds_an_old_store_first_does_not_wait() -> None:
    """Only where it has just begun is there something that others may have to tell: books of one's own that are new are no reason."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((300, 300_000),))
    town.server.forget()
    waited: list[float] = []

    async def call(limiter: SharedLimiter, scope: str) -> None:
        limiter.add_scope(scope, limits_of(rpm=10))
        began = town.world.now()
        limiter.release(await limiter.reserve(Ask("g", SMALL, scopes=(scope,)), town.world), town.world.now())
        waited.append(town.world.now() - began)

    town.beat(20)
    for at, limiter, scope in ((1, town.limiters[0], "one"), (10, town.limiters[0], "two"), (11, town.limiters[1], "three")):
        town.world.at(at, lambda limiter=limiter, scope=scope: town.world.spawn(call(limiter, scope)))
    town.world.run(until=20)
    assert [round(seconds, 1) for seconds in waited] == [4.0, 0.0, 0.0]


def test_books_that_expired_while_nobody_came_are_no_loss() -> None:
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((300, 300_000),))
    waited: list[float] = []

    async def call(limiter: SharedLimiter) -> None:
        held = await limiter.reserve(Ask("g", Charge(input=10, max_output=200_000)), town.world)
        waited.append(held.waited)
        limiter.settle(held, used=Used(input=10, output=10), now=town.world.now())

    town.beat(310)
    for at in (1, 300):
        town.world.at(at, lambda: town.world.spawn(call(town.limiters[0])))
    town.world.at(250, town.server.books.clear)
    town.world.run(until=310)
    assert waited == [0.0, 0.0], "nor does a call that is larger than our share wait for the store"


def test_all_limits_that_a_call_draws_on_are_asked_for_in_one_trip() -> None:
    """Those of a key, of its team and of the deployment; what one of them refuses is charged to none of those behind it."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((300, 300_000),), trip=0.1)
    one, other = town.limiters
    for limiter in town.limiters:
        limiter.add_scope("key", limits_of(rpm=1))
        limiter.add_scope("team", limits_of(rpm=10))
    waited: list[float] = []

    async def call(limiter: SharedLimiter) -> None:
        began = town.world.now()
        held = await limiter.reserve(Ask("g", SMALL, scopes=("team", "key")), town.world)
        waited.append(town.world.now() - began)
        limiter.settle(held, used=Used(input=10, output=10), now=town.world.now())

    town.beat(70)
    town.world.at(1, lambda: town.world.spawn(call(one)))
    town.world.at(2, lambda: town.world.spawn(call(other)))
    town.world.run(until=20)
    assert waited == [pytest.approx(0.1)]
    assert sorted(books.rows["requests/60"].sum for books in town.server.books.values()) == [1, 1, 1]
    town.world.run(until=70)
    assert len(waited) == 2
    assert 58.9 <= waited[1] <= 61


def test_calls_under_the_same_scopes_in_any_order_do_not_wait_for_each_other_forever() -> None:
    """Named in two orders, and twice."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((300, 300_000),), trip=0.01)
    for limiter in town.limiters:
        limiter.add_scope("key", limits_of(rpm=600))
        limiter.add_scope("team", limits_of(rpm=600))
    served = []

    async def call(limiter: SharedLimiter, scopes: tuple[str, ...]) -> None:
        held = await limiter.reserve(Ask("g", SMALL, scopes=scopes), town.world)
        served.append(held.id)
        limiter.settle(held, used=Used(input=10, output=10), now=town.world.now())

    town.beat(60)
    for number in range(90):
        town.world.spawn(call(town.limiters[number % 2], (("key", "team"), ("team", "key"), ("key", "key"))[number % 3]))
    town.world.run(until=60)
    assert len(served) == 90


def test_a_call_whose_answer_comes_late_counts_from_when_it_leaves() -> None:
    """On a busy machine or from a distant store: its provider counts it from then, and so do the shared books."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=1, deployments=((300, 300_000),), trip=0.8)
    held = town.world.complete(town.limiters[0].reserve(Ask("g", SMALL), town.world))
    left = town.world.now()
    town.world.run(until=5)
    (books,) = town.server.books.values()
    slots = books.rows["requests/60"].slots
    assert held.open
    assert [slot * 60 / 480 >= left - 60 / 480 for slot, cost in slots.items() if cost] == [True]


def test_a_call_that_is_held_up_on_its_way_to_the_socket_counts_from_when_it_leaves() -> None:
    """By a slow connection, or a busy event loop: the shared books had it from when it was let through, and let the next go too soon."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((1, 300_000),))
    slow, other = town.limiters
    town.beat(70)
    held = town.world.complete(slow.reserve(Ask("g", SMALL), town.world))
    town.world.at(2.0, partial(slow.leaves, held, 2.0))
    town.world.at(4.0, lambda: slow.settle(held, used=Used(input=10, output=10), now=4.0))
    town.world.at(30.0, lambda: town.world.spawn(other.reserve(Ask("g", SMALL), town.world)))
    town.world.run(until=61.9)
    assert other.snapshot(61.9)["queues"] == {"g": 1}
    town.world.run(until=63)
    assert other.snapshot(63.0)["queues"] == {"g": 0}


def test_what_a_long_call_did_not_use_is_given_back_to_the_others() -> None:
    """A call is still known when it ends, however long it took."""
    town = Towns(KINDS["slide60/settle"], known("slide60/settle"), processes=2, deployments=((300, 10_000),))
    one, other = town.limiters
    town.beat(50)
    held = town.world.complete(one.reserve(Ask("g", Charge(input=10, max_output=9000)), town.world))
    task = town.world.spawn(other.reserve(Ask("g", Charge(input=10, max_output=9000)), town.world))
    town.world.at(30.0, lambda: one.settle(held, used=Used(input=10, output=10), now=30.0))
    town.world.run(until=29)
    assert not task.done
    town.world.run(until=40)
    assert task.done


def test_who_waits_for_a_day_asks_again_within_a_minute() -> None:
    """Another process's call that never left gave back what it had of the day."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((300, 300_000),))
    one, other = town.limiters
    for limiter in town.limiters:
        limiter.add_scope("key", limits_of(rpd=1))
    town.beat(150)
    held = town.world.complete(one.reserve(Ask("g", SMALL, scopes=("key",)), town.world))
    task = town.world.spawn(other.reserve(Ask("g", SMALL, scopes=("key",)), town.world))
    town.world.at(30.0, lambda: one.release(held, 30.0))
    town.world.run(until=29)
    assert not task.done
    town.world.run(until=100)
    assert task.done


def test_a_call_without_limits_asks_nobody() -> None:
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=1, deployments=())
    limiter = town.limiters[0]
    limiter.add("free", group="g", limits=(), profile=known("slide60/reserve"))
    held = town.world.complete(limiter.reserve(Ask("g", SMALL), town.world))
    assert (held.deployment, town.asked(), town.world.now()) == ("free", 0, 0.0)


@pytest.mark.parametrize("at", [0.01, 0.06, 0.11])
def test_what_is_granted_to_a_caller_who_is_gone_goes_back(at: float) -> None:
    """Cancelled while it asks: on the way there, on the way back, or in the moment of the answer. It stayed on the books for a minute."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=1, deployments=((300, 300_000),), trip=0.1, parallel=3)
    limiter = town.limiters[0]
    limiter.add_scope("key", limits_of(rpm=5))
    task = town.world.spawn(limiter.reserve(Ask("g", SMALL, scopes=("key",)), town.world))
    town.world.at(at, task.cancel)
    town.world.run(until=0.4)
    if task.done and not task.cancelled:
        limiter.release(task.result, town.world.now())
    town.world.run(until=1)
    books = town.server.books.values()
    assert [len(one.flight) for one in books] == [0, 0]
    assert {row.sum for one in books for row in one.rows.values()} == {0.0}
    assert limiter.snapshot(1.0)["deployments"]["d0"]["in_flight"] == 0


def test_a_process_hears_what_others_charged_where_it_never_asked() -> None:
    """Else it would take its part of that quota as if nothing were used when the store is lost."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((300, 300_000), (300, 300_000)))
    busy, other = town.limiters

    async def call(limiter: SharedLimiter, deployment: str) -> None:
        held = await limiter.reserve(Ask("g", SMALL, only=frozenset({deployment})), town.world)
        limiter.settle(held, used=Used(input=10, output=10), now=town.world.now())

    town.beat(20)
    for _ in range(50):
        town.world.spawn(call(busy, "d0"))
    town.world.at(5, lambda: town.world.spawn(call(other, "d1")))
    town.world.at(10, town.store_goes)
    town.world.run(until=15)
    assert other.lost
    theirs, mine = (limiter.snapshot(15)["deployments"]["d0"]["limits"]["rpm"] for limiter in (busy, other))
    assert mine["used"] >= mine["limit"] / 300 * 50
    assert theirs["limit"] > 2 * mine["limit"], "and shares follow what each wanted"


def test_a_store_that_began_anew_is_told_once_what_was_charged() -> None:
    """Of each account, though the reports of both find it out."""
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((300, 300_000), (300, 300_000)))
    town.beat(40)
    town.backlog(60, small)
    town.world.at(20.1, partial(town.store_returns, forgets=True))
    town.world.run(until=40)
    charged = [books.rows["requests/60"].sum for books in town.server.books.values()]
    assert sum(charged) == len(town.waits) == 60
    assert town.refused() == 0


def test_an_idle_process_reports_every_three_seconds_and_not_of_what_is_gone() -> None:
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=1, deployments=((300, 300_000),))
    limiter = town.limiters[0]
    limiter.add_scope("key", limits_of(rpm=10))

    async def call() -> None:
        held = await limiter.reserve(Ask("g", SMALL, scopes=("key",)), town.world)
        limiter.settle(held, used=Used(input=10, output=10), now=town.world.now())

    town.world.spawn(call())
    town.beat(50)
    town.world.run(until=20)
    assert [7 <= count <= 8 for count in town.reports().values()] == [True, True]
    limiter.remove_scope("key")
    town.world.run(until=23)
    before = town.reports()
    town.world.run(until=50)
    gone, there = sorted(count - before[account] for account, count in town.reports().items())
    assert gone == 0
    assert 9 <= there <= 10


@pytest.mark.parametrize(
    ("processes", "places", "calls", "use", "apart"),
    [(8, 24, 1.15, 0.96, 1.3), (8, 12, 1.45, 0.92, 1.5), (8, 8, 1.4, 0.96, 1.5), (8, 4, 2.6, 0.88, 2.0), (3, 2, 2.4, 0.88, 1.5)],
)
def test_a_place_among_calls_in_flight_is_passed_on_in_one_call_of_the_script(
    processes: int, places: int, calls: float, use: float, apart: float
) -> None:
    """Signs of life included. It cost three, end and question and a look in vain; and one process had half of what another had.

    Who has none has to look for one, as nobody can call it.
    """
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=processes, deployments=((6000, 6_000_000),), parallel=places)
    chance, ended, running = random.Random(1), [0] * processes, [0]

    async def call(number: int) -> None:
        held = await town.limiters[number].reserve(Ask("g", SMALL), town.world)
        running.append(running[-1] + 1)
        await town.world.sleep(chance.lognormvariate(0.7, 0.3))
        running.append(running[-1] - 1)
        town.limiters[number].settle(held, used=Used(input=10, output=10), now=town.world.now())
        ended[number] += 1

    seconds = 42 if places >= processes else 120  # where places go round nobody has many in a minute
    town.beat(seconds)
    for number in range(32 * places * seconds // 42):
        town.world.spawn(call(number % processes))
    town.world.run(until=seconds)
    assert max(running) == places
    assert (sum(ended) + places / 2) * 2.1 >= use * places * seconds
    assert max(ended) <= apart * min(ended) + 2
    assert town.called() <= calls * sum(ended)
    waits = [message.patience > 0 for message in town.server.heard if message.operation == "settle"]
    assert sum(waits) >= 0.5 * len(waits), "an end waits for the question that goes with it, however busy the machine is"


def test_a_caller_who_leaves_while_he_looks_for_a_place_keeps_nobody_else_from_looking() -> None:
    """One at a time goes and sees whether the other process has left one: whenever it leaves, the next one goes."""
    for leaves in range(13, 25):
        town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((600, 600_000),), parallel=1, trip=0.2)
        world, (busy, other), ask, served = town.world, town.limiters, Ask("g", SMALL), list[float]()

        async def call(limiter: SharedLimiter, seconds: float, world: World = world, served: list[float] = served) -> None:
            held = await limiter.reserve(ask, world)  # noqa: B023
            served.append(world.now())
            await world.sleep(seconds)
            limiter.settle(held, used=Used(input=10, output=10), now=world.now())

        world.spawn(call(busy, 6.0))
        world.run(until=1)
        impatient, _ = world.spawn(call(other, 1.0)), world.spawn(call(other, 1.0))
        world.at(leaves / 10, impatient.cancel)
        world.run(until=10)
        first, second = served
        assert first < 1
        assert 6 < second <= 8.5


def test_what_a_killed_process_held_in_flight_comes_back_to_the_others() -> None:
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((600, 600_000),), parallel=4)
    world, (dying, living) = town.world, town.limiters
    ask = Ask("g", SMALL)
    world.spawn(_hold(dying, ask, 3, world))
    world.run(until=5)
    for at in range(6, 60):
        world.at(at, partial(living.presence.beat, float(at)))
    served: list[float] = []

    async def all_of_it() -> None:
        for _ in range(4):
            await living.reserve(ask, world)
            served.append(world.now())

    world.spawn(all_of_it())
    world.run(until=60)
    assert len(served) == 4
    assert served[0] < 6
    assert 14 <= served[-1] <= 17


async def _hold(limiter: SharedLimiter, ask: Ask, count: int, world: World) -> None:
    for _ in range(count):
        await limiter.reserve(ask, world)


def test_a_deployment_that_fails_one_process_rests_in_all() -> None:
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((600, 600_000), (600, 600_000)))
    one, other = town.limiters
    town.beat(30)
    served: dict[float, str] = {}

    async def look(at: float) -> None:
        held = await other.reserve(Ask("g", SMALL, prefer=lambda id: id != "d0"), town.world)
        served[at] = held.deployment
        other.release(held, town.world.now())

    for at in (1.0, 12.0, 20.0):
        town.world.at(at, lambda at=at: town.world.spawn(look(at)))
    town.world.at(0.5, lambda: town.world.spawn(_hold(one, Ask("g", SMALL), 1, town.world)))
    town.world.at(10.0, lambda: one.pause("d0", 40.0, 10.0))
    town.world.at(18.0, lambda: one.resume("d0", 18.0))
    town.world.run(until=30)
    assert served == {1.0: "d0", 12.0: "d1", 20.0: "d0"}
