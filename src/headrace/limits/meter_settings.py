"""How far the mirror of a limit keeps from its edge."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class MeterSettings(Struct, frozen=True):
    """Reasons: docs/limits.md."""

    spread: float = 0.5
    """Seconds by which the travel times of two requests may differ: the window is watched this much longer."""
    short_spread: float = 0.25
    """The same for windows shorter than a minute, of which half a second would be a good part; the pace keeps their flow even besides."""
    tolerance: float = 4.0
    """Seconds of its rate that a flow may run ahead where nobody knows what a provider bears; below a second it wastes what two
    limits leave each other."""
    known_tolerance: float = 16.0
    """The same where the provider is known to allow a burst: more brings calls in sooner after a quiet time and gains nothing else."""
    urgent_tolerance: float = 8.0
    """The same for interactive calls."""
    even_tolerance: float = 2.0
    """The same for others, where there have been interactive calls of late."""
    least_burst: float = 5.0
    """Calls that may go at once however low the limit is."""
    kept_for_urgent: float = 0.01
    """Share of a window that only interactive calls may use, once there have been some: they need not wait for old charges to expire."""
    paced: bool = True
    """False for limits of our own: nobody minds when we use them."""


SELDOM: Final = 0.5
"""Requests a second: where a limit allows fewer, the wait from one to the next would be felt by whoever just tries a key."""
EASE: Final = 0.5
"""Part of what is free of a window, in seconds of its rate, by which a flow with a known burst may run ahead besides."""
PACED: Final = 60.0
"""Seconds of the longest window over which calls are spread: a day's allowance may be used in the morning."""
