"""Many processes, one limit, in virtual time: what the providers see of it."""

from __future__ import annotations

from functools import partial

import pytest

from headrace.limits import Ask, Charge
from headrace.limits.shared import SharedLimiter
from headrace.runtime.virtual import World
from limits.many import Towns
from limits.town import KINDS, known, small


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


@pytest.mark.parametrize(("kind", "forgets"), [("slide60/reserve", True), ("slide60/settle", False)])
def test_a_lost_store_opens_no_limit_and_comes_back_without_a_burst(kind: str, forgets: bool) -> None:
    """Lost for half a minute, back with or without its memory: no provider refuses anything, before, meanwhile or afterwards."""
    town = Towns(KINDS[kind], known(kind), processes=4, deployments=((300, 300_000),))
    town.beat(240)
    town.world.at(70, town.store_goes)
    town.world.at(100, partial(town.store_returns, forgets=forgets))
    town.backlog(1100, small)
    town.world.run(until=240)
    assert town.refused() == 0
    meanwhile, afterwards = (town.admitted(since, until) / (300 * (until - since) / 60) for since, until in ((75, 100), (106, 220)))
    assert 0.3 <= meanwhile <= 1.02
    assert afterwards >= 0.88  # 0.9 is what it is to be


def test_what_a_killed_process_held_in_flight_comes_back_to_the_others() -> None:
    town = Towns(KINDS["slide60/reserve"], known("slide60/reserve"), processes=2, deployments=((600, 600_000),), parallel=4)
    world, (dying, living) = town.world, town.limiters
    ask = Ask("g", Charge(input=10, max_output=10))
    world.spawn(_hold(dying, ask, 3, world))
    world.run(until=5)
    for at in range(6, 60):
        world.at(at, partial(living.beat, float(at)))
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
        held = await other.reserve(Ask("g", Charge(input=10, max_output=10), prefer=lambda id: id != "d0"), town.world)
        served[at] = held.deployment
        other.release(held, town.world.now())

    for at in (1.0, 12.0, 20.0):
        town.world.at(at, lambda at=at: town.world.spawn(look(at)))
    town.world.at(0.5, lambda: town.world.spawn(_hold(one, Ask("g", Charge(input=10, max_output=10)), 1, town.world)))
    town.world.at(10.0, lambda: one.pause("d0", 40.0, 10.0))
    town.world.at(18.0, lambda: one.resume("d0", 18.0))
    town.world.run(until=30)
    assert served == {1.0: "d0", 12.0: "d1", 20.0: "d0"}
