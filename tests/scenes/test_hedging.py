"""Hedging: a second, concurrent attempt for unusually slow calls, within a budget. The shipped Router in virtual time."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scenes.stage import Stage, provider

from headrace.errors import ConfigurationError, InternalServerError
from headrace.ports import Ports, Transport
from headrace.routing.hedging import ENOUGH, Hedging, Usual
from headrace.runtime.virtual import World

NO_TRANSPORT = cast("Transport", None)

TAIL = ({"kind": "slow", "factor": 40.0, "probability": 0.03},)
"""Three in a hundred answers take forty times as long."""


def slowest(stage: Stage, share: float) -> float:
    """Seconds within which this share of the calls was answered."""
    times = sorted(served.done - served.sent for served in stage.log if served.done is not None)
    return times[int(share * len(times))]


def offered(hedge: float | None, faults: Any = TAIL, **options: Any) -> Stage:
    stage = Stage(*(provider(name, faults=faults, output_tokens=10.0) for name in "abc"))
    stage.open(*(stage.deployment(name) for name in "abc"), hedge=hedge)
    stage.offer(rate=4, until=200, **options)
    stage.run()
    return stage


def attempts(stage: Stage) -> int:
    return sum(row["requests"] for row in stage.providers.stats().values())


@pytest.mark.parametrize("options", [{}, {"stream": True}], ids=["whole", "streamed"])
def test_hedging_shortens_the_slowest_one_percent_with_few_extra_attempts(options: dict[str, Any]) -> None:
    without, hedged = offered(None, **options), offered(0.1, **options)
    assert hedged.failed() == []
    assert slowest(hedged, 0.98) < slowest(without, 0.98) / 3
    extra = attempts(hedged) - len(hedged.log)
    assert 0 < extra <= 0.1 * len(hedged.log)
    assert attempts(without) == len(without.log)


@pytest.mark.parametrize("options", [{}, {"stream": True}], ids=["whole", "streamed"])
def test_the_losing_attempt_is_cancelled_and_holds_nothing(options: dict[str, Any]) -> None:
    stage = offered(0.1, **options)
    stats = stage.providers.stats().values()
    extra = attempts(stage) - len(stage.log)
    assert sum(row["left"] for row in stats) >= extra * 0.8, "the losers' connections were closed before they had answered"
    assert stage.idle()
    assert all(member.load.running == 0 for member in stage.router._fleet.members.values())


def test_the_decision_record_says_that_the_hedge_won() -> None:
    stage = offered(0.1)
    told = [served.record["hedge"] for served in stage.log]
    assert 0 < sum(told) <= attempts(stage) - len(stage.log)


def test_the_hedging_budget_holds_when_all_providers_become_slow() -> None:
    """The usual latency is learned again; until then, hedges stay within their share."""
    late = ({"kind": "slow", "factor": 20.0, "since": 100.0},)
    stage = offered(0.05, late)
    assert stage.failed() == []
    assert attempts(stage) - len(stage.log) <= 0.05 * len(stage.log)


def test_there_is_no_hedge_without_room_at_another_deployment() -> None:
    stage = Stage(*(provider(name, faults=TAIL) for name in "ab"))
    stage.open(stage.deployment("a"), stage.deployment("b", rpm=1), hedge=0.5)
    stage.offer(rate=2, until=120)
    stage.run()
    assert stage.failed() == []
    assert attempts(stage) - len(stage.log) <= 2, "b has room for one call a minute"


def test_a_group_of_one_is_not_hedged() -> None:
    stage = Stage(provider("a", faults=TAIL))
    stage.open(stage.deployment("a"), hedge=1.0)
    stage.offer(rate=2, until=120)
    stage.run()
    assert attempts(stage) == len(stage.log)


def test_a_failed_hedge_does_not_affect_the_first_attempt() -> None:
    stage = Stage(provider("a", faults=({"kind": "slow", "factor": 30.0, "since": 60.0},)), provider("b"))
    stage.open(stage.deployment("a"), stage.deployment("b"), hedge=1.0, disable_cooldowns=True)
    stage.offer(rate=1, until=59)
    stage.run(until=59)
    stage.providers.control(provider="b", dies={"kind": "status", "status": 500})
    stage.send(model="gpt")
    stage.at(60, lambda: stage.send(3))
    stage.run()
    assert stage.failed() == []
    assert stage.idle()


def test_when_both_attempts_fail_the_call_is_retried_as_usual() -> None:
    dying = ({"kind": "slow", "factor": 20.0, "since": 60.0, "until": 70.0},)
    stage = Stage(*(provider(name, faults=dying) for name in "ab"))
    stage.open(stage.deployment("a"), stage.deployment("b"), hedge=1.0, timeout=3, num_retries=0, disable_cooldowns=True)
    stage.offer(rate=1, until=59)
    stage.at(60.1, lambda: stage.send(1))
    stage.run()
    assert len(stage.failed()) == 1
    assert stage.idle()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("after", [0.05, 0.6, 1.5, 3.0])
def test_cancelling_the_call_cancels_both_attempts(after: float, stream: bool) -> None:
    stage = Stage(*(provider(name, faults=({"kind": "hang", "since": 60.0},)) for name in "ab"))
    stage.open(stage.deployment("a"), stage.deployment("b"), hedge=1.0)
    stage.offer(rate=1, until=59, stream=stream)
    stage.run(until=61)
    tasks = stage.send(4, stream=stream)
    stage.run(until=61 + after)
    for task in tasks:
        task.cancel()
    stage.run()
    assert [served.left for served in stage.log[-4:]] == [True] * 4
    assert stage.idle()


@given(share=st.floats(0.01, 1.0), asked=st.lists(st.booleans(), max_size=400))
def test_hedges_never_exceed_their_share_of_the_calls(share: float, asked: list[bool]) -> None:
    hedging, second = Hedging(share), 0
    for calls, wants in enumerate(asked, 1):
        hedging.called()
        second += wants and hedging._take()
        assert second <= share * calls + 1e-6


def test_there_is_no_hedge_before_enough_latencies_were_measured() -> None:
    usual = Usual()
    for number in range(ENOUGH - 1):
        usual.observe(float(number))
    assert usual.longest is None
    usual.observe(100.0)
    assert usual.longest == 100.0
    for _ in range(300):
        usual.observe(1.0)
    assert usual.longest == 1.0, "what was long ago is forgotten"


@pytest.mark.parametrize(("given_as", "said"), [(1.5, "hedge must be a share from 0 to 1"), ("often", "hedge must be a share")])
def test_an_invalid_share_is_rejected_by_name(given_as: Any, said: str) -> None:
    stage = Stage(provider("a"))
    with pytest.raises(ConfigurationError, match=said):
        stage.open(stage.deployment("a"), hedge=given_as)


def test_a_failed_attempt_starts_no_hedge() -> None:
    stage = Stage(*(provider(name, faults=({"kind": "status", "status": 500},)) for name in "ab"))
    stage.open(stage.deployment("a"), stage.deployment("b"), hedge=1.0, num_retries=0)
    stage.send(30)
    stage.run()
    assert {type(served.error) for served in stage.failed()} == {InternalServerError}
    assert attempts(stage) == 30


def test_a_response_that_arrives_during_cancellation_is_discarded() -> None:
    """Otherwise a stream would stay open without an owner."""
    world = World()
    ports = Ports(
        NO_TRANSPORT, world, world.random.random, spawn=lambda coroutine: (world.spawn(coroutine), int)[1]
    )  # none can be cancelled
    hedging, thrown_away = Hedging(1.0), []

    async def attempt(seconds: float, answer: str) -> str:
        await world.sleep(seconds)
        return answer

    async def another() -> Any:
        return attempt(0.5, "second")

    async def call(seconds: float) -> Any:
        hedging.called()
        return await hedging.run(ports, "gpt", attempt(seconds, "first"), another, thrown_away.append)

    assert [world.complete(call(1.0)) for _ in range(ENOUGH)] == ["first"] * ENOUGH
    assert world.complete(call(9.0)) == "second"
    world.run()
    assert thrown_away == ["first"]
