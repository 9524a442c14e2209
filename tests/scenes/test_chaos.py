"""Fault injection over real sockets: providers reset, cut off and hang, callers cancel. `python -m benchmarks.chaos` is larger."""

from __future__ import annotations

import pytest
from benchmarks.chaos.__main__ import sound
from benchmarks.chaos.storm import Damage, Weather, storm

ROUGH = Weather(resets=0.08, cuts=0.08, hangs=0.02, leavers=0.15)


@pytest.mark.parametrize("threads", [False, True], ids=["async", "sync"])
def test_nothing_leaks_under_faults(threads: bool) -> None:
    damage = storm(300, at_once=24, weather=ROUGH, threads=threads)
    assert damage.calls == 300, "every call is accounted for"
    assert set(damage.outcomes) >= {"answered", "streamed", "left"}
    assert set(damage.faults) == {"reset", "cut", "hang"}, "it was a storm"
    assert {name: count for name, count in damage.left.items() if count} == {}
    assert damage.false_ends == 0


def test_a_leak_is_reported() -> None:
    whole = Damage(left={"reservations": 0})
    whole.outcomes.update(answered=2)
    assert sound(whole, 2)
    assert not sound(whole, 3), "a call is missing"
    assert not sound(Damage(whole.outcomes, {"reservations": 1}), 2)
    assert not sound(Damage(whole.outcomes, {}, false_ends=1), 2)
