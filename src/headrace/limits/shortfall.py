"""Estimates how much lower a limit really is than configured, from unexplained refusals and the quiet between them."""

from __future__ import annotations

import math
from typing import Final

from headrace.limits.account import Taken
from headrace.limits.learn_settings import LearnSettings
from headrace.limits.meter import Hold, Meter

QUIET: Final = 60.0
"""Seconds without a refusal after which a margin shrinks."""
AGAIN: Final = 120.0
"""Seconds within which another refusal is no coincidence."""
SOON: Final = 20.0
"""Seconds within which another refusal shows that the last step was too small, whatever our accounting says."""
FULL_AGAIN: Final = (5.0, 120.0)
"""Range of seconds between two refusals in which they show what gets through."""
DOUBTED: Final = 1
"""Refusals soon after another beyond which an earlier observation is no longer trusted: a bucket had some left."""
SAME: Final = 0.05
"""Relative difference of the limit up to which two refusals count as saying the same."""
MOST_PATIENT: Final = 2
"""How often the quiet period doubles while refusals say the same."""


class Shortfall:
    """What the refusals of one limit imply."""

    __slots__ = ("_full", "_last", "_meter", "_narrowed_at", "_settings", "_steps", "_sure", "_told")

    def __init__(self, meter: Meter, settings: LearnSettings) -> None:
        self._meter = meter
        self._settings = settings
        self._last = -math.inf
        self._steps = 0
        """Refusals that each came soon after another."""
        self._told = 0
        """Refusals that said the same as the one before."""
        self._sure = 0.0
        """The share of the limit that certainly got through, on which refusals agree."""
        self._narrowed_at = -math.inf
        self._full: tuple[float, float, float] = (-math.inf, 0.0, 1.0)
        """When the limit was full, all that we had sent by then, and the share of the limit that did not get through
        since."""

    def refused(self, taken: Taken, retry_after: float | None, now: float) -> None:
        """Handle a refusal that nothing else explains: keep a part of the limit free."""
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
        """Bounds of the real limit as shares of ours, from what the provider had counted when it refused.

        When it has room again, it has dropped what was sent a window before that moment, and the call fits beside the
        rest: exactly if its window slides, with room to spare if it is fixed. A bucket lets more pass than flows into
        it, so nothing follows.
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
        most = meter.sent_between(turn - meter.settings.spread, taken.left) + others + hold.asked  # with what it waited for to leave
        return least / meter.whole, most / meter.whole

    def short_of(self, taken: Taken) -> float:
        """The share of the limit that did not get through since an earlier refusal, if it is a bucket.

        1 if unknown, because that refusal was too recent or too long ago.
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
        """Shrink the margin after a quiet period; later if refusals repeatedly said the same."""
        meter, quiet = self._meter, QUIET * 2.0**self._told
        passed, since = now - max(self._narrowed_at, self._last + quiet), now - self._last
        if not meter.margin or since <= quiet:
            return
        self._narrowed_at = now
        left = meter.margin * math.exp(-max(0.0, passed) / self._settings.margin_life)
        meter.margin = left if left > 0.001 else 0.0
