"""What the headers say of others on the same quota, whatever way the provider counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.limits import Limit, Unit
from headrace.limits.learn import Foreign
from headrace.limits.meter import Meter, MeterSettings
from headrace.limits.profile import Profile
from headrace.simulator.enforce import FixedWindow, SlidingLog, TokenBucket
from headrace.simulator.enforce import Meter as Provider

RPM = 600
PROVIDERS: dict[str, Callable[[], Provider]] = {
    "bucket": lambda: TokenBucket(RPM / 60, RPM),
    "fixed": lambda: FixedWindow(RPM, 60, phase=25),
    "sliding": lambda: SlidingLog(RPM, 60),
}


def left_to_others(provider: Provider, ours: float, theirs: float, burst: float | None, seconds: int = 400) -> float:
    """Requests a second that are left to others in the last hundred seconds, on average. `ours` and `theirs` are sent each second."""
    meter = Meter(Limit(Unit.REQUESTS, RPM), Profile(request_burst=burst), MeterSettings())
    seen, rate, late = Foreign(), 0.0, []
    for second in range(seconds):
        now = float(second)
        for _ in range(round(theirs)):
            provider.take(now, 1)
        for _ in range(round(ours)):
            meter.when(1, now)
            hold = meter.take(1, 1, now)
            provider.take(now, 1)
        said = seen.observe(meter, now, hold.view, RPM, max(0.0, provider.room(now)))
        rate = rate if said is None else said
        late.append(rate)
    return sum(late[-100:]) / 100


@pytest.mark.parametrize("ours", [2, 6, 10])
@pytest.mark.parametrize("burst", [None, 60.0], ids=["burst unknown", "burst known"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_flow_that_is_alone_leaves_nothing_to_others(provider: str, burst: float | None, ours: int) -> None:
    """A provider said to allow a burst of a minute, but counting fixed or sliding minutes, slowed us to a call a minute."""
    assert left_to_others(PROVIDERS[provider](), ours, 0, burst) == 0


@pytest.mark.parametrize("provider", ["bucket", "sliding"])
def test_others_on_a_provider_whose_burst_is_known_are_left_what_they_use(provider: str) -> None:
    assert 2 <= left_to_others(PROVIDERS[provider](), 8, 3, 60.0) <= 6
