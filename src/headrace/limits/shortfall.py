"""How much less of a limit there is than we were told: by the refusals that our books do not explain, and by the quiet between them."""

from __future__ import annotations

import math
from typing import Final

from headrace.limits.account import Taken
from headrace.limits.learn_settings import LearnSettings
from headrace.limits.meter import Hold, Meter

QUIET: Final = 60.0
"""Seconds without a refusal after which a margin is narrowed."""
AGAIN: Final = 120.0
"""Seconds within which another refusal is no accident."""
SOON: Final = 20.0
"""Seconds within which another refusal says that the step taken at the last one was too small, whatever our books hold."""
FULL_AGAIN: Final = (5.0, 120.0)
"""Seconds between two refusals within which they say what gets through."""
DOUBTED: Final = 1
"""Refusals soon after another beyond which what got through once is no longer believed to get through again: a bucket had some left."""
SAME: Final = 0.05
"""Share of the limit by which two refusals may differ that tell of the same."""
MOST_PATIENT: Final = 2
"""How often the quiet that is waited for doubles while refusals tell of the same."""


class Shortfall:
    """What one limit's refusals say."""

    __slots__ = ("_full", "_last", "_meter", "_narrowed_at", "_settings", "_steps", "_sure", "_told")

    def __init__(self, meter: Meter, settings: LearnSettings) -> None:
        self._meter = meter
        self._settings = settings
        self._last = -math.inf
        self._steps = 0
        """Refusals, each soon after another."""
        self._told = 0
        """Refusals that told of the same as the one before."""
        self._sure = 0.0
        """The share of the limit that got through for certain, as refusals agree."""
        self._narrowed_at = -math.inf
        self._full: tuple[float, float, float] = (-math.inf, 0.0, 1.0)
        """When the limit was full, all that we had sent by then, and the share of it that did not get through since."""

    def refused(self, taken: Taken, retry_after: float | None, now: float) -> None:
        """Nothing else explains this refusal: keep a part of the limit free."""
        meter, settings, known = self._meter, self._settings, self._meter.margin
        quiet, self._last = now - self._last, now
        self._steps = self._steps + 1 if quiet <= SOON else 0
        step = settings.margin_step * (1 - known)
        least, most = self._got_through(taken, retry_after, again=quiet <= AGAIN)
        margin = max(known + step, 1 - most)
        if self._steps or least > 1 - known + step:
            margin = max(margin, known + settings.margin_step * 2.0 ** min(self._steps, 5))
        if least < 1:
            self._sure = least if self._sure > most else max(self._sure, least)
            if self._steps <= DOUBTED and self._told == MOST_PATIENT:
                margin = min(margin, max(known + step, 1 - self._sure))
        margin = min(margin, (1 + known) / 2, max(known + step, self.short_of(taken)), settings.margin_max)
        if not self._steps:
            self._told = min(MOST_PATIENT, self._told + 1) if known and margin - known <= SAME else 0
        meter.margin = margin

    def _got_through(self, taken: Taken, retry_after: float | None, *, again: bool) -> tuple[float, float]:
        """The shares of the limit between which it must lie, by what the provider had counted when it refused.

        Once it has room again it has forgotten what was sent a window before that moment, and the call fits beside the rest: just so if
        its window slides, with something to spare if it begins anew. A bucket had let more pass than flows into it, and says nothing.
        """
        meter, hold = self._meter, self._hold(taken)
        if hold is None or not meter.covers(taken.left) or not (again or retry_after):
            return 1.0, 1.0
        window, others = meter.limit.window, meter.left_to_others
        if retry_after is None or retry_after >= window:
            counted = (hold.view[0] + others) / meter.whole
            return counted, counted
        turn = taken.left + retry_after - window
        least = meter.sent_between(turn, taken.left) + others
        most = meter.sent_between(turn - meter.settings.spread, taken.left) + others + hold.asked  # with what it waited to see leave
        return least / meter.whole, most / meter.whole

    def short_of(self, taken: Taken) -> float:
        """The share of the limit by which less got through since an earlier refusal: of a bucket, less flows into it than we were told.

        1 where nobody can say, since that was too short a while ago, or too long.
        """
        hold = self._hold(taken)
        if hold is None:
            return 1.0
        meter = self._meter
        since, before, known = self._full
        ever, passed = hold.view[1] - hold.asked, taken.at - since
        if passed > FULL_AGAIN[1]:
            since, before, known = taken.at, ever, 1.0
        elif passed >= FULL_AGAIN[0]:
            known = 1 - ((ever - before) / passed * meter.limit.window + meter.left_to_others) / meter.whole
        self._full = (since, before, known)
        return known

    def _hold(self, taken: Taken) -> Hold | None:
        return next((hold for hold in taken.holds if hold.meter is self._meter), None)

    def narrow(self, now: float) -> None:
        """Give back a part of the margin after quiet time: the sooner, the less often refusals told of the same."""
        meter, quiet = self._meter, QUIET * 2.0**self._told
        passed, since = now - max(self._narrowed_at, self._last + quiet), now - self._last
        if not meter.margin or since <= quiet:
            return
        self._narrowed_at = now
        left = meter.margin * math.exp(-max(0.0, passed) / self._settings.margin_life)
        meter.margin = left if left > 0.001 else 0.0
