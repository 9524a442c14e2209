"""Safety margins of a mirrored limit."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class MeterSettings(Struct, frozen=True):
    """Safety margins of a mirrored limit. Reasons: docs/limits.md."""

    spread: float = 0.5
    """Seconds by which the travel times of two requests may differ: the window is watched this much longer."""
    short_spread: float = 0.25
    """The same for windows shorter than a minute, where half a second would be a large part; pacing also evens out
    their flow."""
    tolerance: float = 4.0
    """Pacing tolerance in seconds where the provider's burst is unknown. Below a second, a pair of limits leaves
    capacity unused."""
    known_tolerance: float = 16.0
    """The same where the provider is known to allow a burst: more only admits calls sooner after a quiet period."""
    urgent_tolerance: float = 8.0
    """The same for interactive calls."""
    even_tolerance: float = 2.0
    """The same for other calls, while there are interactive ones."""
    least_burst: float = 5.0
    """Calls that may go at once however low the limit is."""
    kept_for_urgent: float = 0.01
    """Share of a window that only interactive calls may use, once there are some, so that they need not wait for old
    charges to expire."""
    paced: bool = True
    """False for scopes, whose use may be uneven."""


SELDOM: Final = 0.5
"""Requests a second. Below this rate the pause between two requests would be felt by someone who just tries a key."""
EASE: Final = 0.5
"""Part of what is free of a window, in seconds of its rate, that is added to the tolerance of a flow with a known burst."""
PACED: Final = 60.0
"""Seconds of the longest window that is paced: a day's allowance may be used in the morning."""
