"""What the headers say of others on the same quota, whatever way the provider counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from headrace.limits import Limit, Unit
from headrace.limits.foreign import Foreign
from headrace.limits.meter import Meter
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.profile import Profile
from headrace.simulator.enforce import FixedWindow, Rule, SlidingLog, TokenBucket
from headrace.simulator.enforce import Meter as Provider
from limits.town import KINDS, Town, known, mixed

PROVIDERS: dict[str, Callable[[int], Provider]] = {
    "bucket": lambda rpm: TokenBucket(rpm / 60, rpm),
    "fixed": lambda rpm: FixedWindow(rpm, 60, phase=25),
    "sliding": lambda rpm: SlidingLog(rpm, 60),
}


def left_to_others(provider: Provider, rpm: int, ours: float, theirs: float, burst: float | None, seconds: int = 400) -> float:
    """Requests a second that are left to others in the last hundred seconds, on average. `ours` and `theirs` are sent each second."""
    meter = Meter(Limit(Unit.REQUESTS, rpm), Profile(request_burst=burst), MeterSettings())
    seen, rate, late, view = Foreign(), 0.0, [], (0.0, 0.0)
    for second in range(seconds):
        now = float(second)
        for _ in range(whole(theirs, second)):
            provider.take(now, 1)
        for _ in range(whole(ours, second)):
            meter.when(1, now)
            hold = meter.take(1, 1, now)
            provider.take(now, 1)
            view = hold.view
        said = seen.observe(meter, now, view, rpm, math.floor(max(0.0, provider.room(now))))
        rate = rate if said is None else said
        late.append(rate)
    return sum(late[-100:]) / 100


def whole(rate: float, second: int) -> int:
    """How many of `rate` a second fall into this one."""
    return math.floor(rate * (second + 1)) - math.floor(rate * second)


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("rpm", [40, 600])
@pytest.mark.parametrize("burst", [None, 60.0], ids=["burst unknown", "burst known"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_flow_that_is_alone_leaves_nothing_to_others(provider: str, burst: float | None, rpm: int, share: float) -> None:
    """A provider said to allow a burst of a minute slowed us to a call a minute: counting minutes, or with its bucket nearly full."""
    assert left_to_others(PROVIDERS[provider](rpm), rpm, share * rpm / 60, 0, burst) == 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_others_on_a_provider_whose_burst_is_known_are_left_what_they_use(provider: str) -> None:
    assert 1.9 <= left_to_others(PROVIDERS[provider](600), 600, 8, 3, 60.0) <= 6  # of ten a second ours leave them two


def test_a_burst_that_leaves_the_provider_s_window_before_ours_does_not_make_it_a_bucket() -> None:
    """One header showed more room than our books, and from then on all of the limit was left to others who used a fifth."""
    meter = Meter(Limit(Unit.REQUESTS, 600), Profile(request_burst=60.0), MeterSettings())
    seen, rate = Foreign(), 0.0
    for look in range(60):
        remaining = 300 if look == 20 else 0
        rate = seen.observe(meter, 3.0 * look, (480.0, 480.0 + 24 * look), 600, remaining) or 0.0
    assert 2.0 < rate < 4.0


def test_a_counter_that_is_little_used_is_not_taken_for_a_bucket_that_others_empty() -> None:
    """Symptom: with a sixth of the requests used, minutes that began anew looked like a bucket, and all of the limit was left to others."""
    town = Town(KINDS["fix60/reserve"], known("fix60/reserve"), deployments=((600, 100_000),), headers=True)
    town.backlog(800, mixed)
    town.world.run(until=500.0)
    town.world.close()
    [provider] = town.providers.values()
    assert provider.refused == []
    assert provider.used(60, 480) >= 0.97


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("burst", [None, 60.0], ids=["burst unknown", "burst known"])
def test_what_is_taken_off_a_limit_is_used_by_nobody(provider: str, burst: float | None) -> None:
    """Symptom: a limit was halved, and what the headers showed less of from one reply to the next was left to others for a minute."""
    theirs, meter = PROVIDERS[provider](600), Meter(Limit(Unit.REQUESTS, 600), Profile(request_burst=burst), MeterSettings())
    seen, said = Foreign(), []
    for second in range(300):
        limit = 600 if second < 150 else 300
        theirs.resize(Rule("requests", limit, 60.0, "bucket" if provider == "bucket" else "fixed", burst=60.0))
        meter.when(4, float(second))
        hold = meter.take(4, 4, float(second))
        theirs.take(second, 4)
        said.append(seen.observe(meter, second, hold.view, limit, math.floor(max(0.0, theirs.room(second)))) or 0.0)
    assert max(said) == 0


def test_what_others_use_is_told_from_what_a_counter_has_of_ours() -> None:
    """Symptom: beside others a third of a limit that is counted by the minute lay idle."""
    town = Town(KINDS["fix60/reserve"], known("fix60/reserve"), headers=True)
    town.stranger(2.8, 400.0)
    town.backlog(3000, mixed)
    town.world.run(until=400.0)
    town.world.close()
    assert town.use() >= 0.9
    assert town.refused() <= 0.003 * len(town.waits)


def test_a_header_of_an_overdrawn_window_does_not_make_it_something_else() -> None:
    """Symptom: a limit was halved below what was used, and for the minute of nothing remaining the window was taken for a bucket."""
    meter = Meter(Limit(Unit.REQUESTS, 600), Profile(request_burst=60.0), MeterSettings())
    seen, rate = Foreign(), 0.0
    for look in range(60):
        overdrawn = look < 10
        used, remaining = (400.0, 0) if overdrawn else (200.0, 80)
        rate = seen.observe(meter, 3.0 * look, (used, used + 10 * look), 300, remaining) or 0.0
    assert 0.3 < rate < 0.8, "twenty a minute, and as much again for their lumps"
