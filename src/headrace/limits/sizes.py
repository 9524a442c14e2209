"""What calls turn out to be: how a provider counts a prompt that we can only estimate, how much is written, for how long."""

from __future__ import annotations

import math
from collections import deque
from heapq import nlargest
from operator import mul
from typing import Final

from headrace.limits.limit import Charge, Used

MEMORY: Final = 256
"""Replies over which averages run."""
SEEN: Final = 32
"""Replies after which averages are believed."""
TOGETHER: Final = 16
"""Replies that are heeded together, once averages are believed: each moves them so little that nobody misses it meanwhile."""
LATEST: Final = 2.0
"""Seconds for which a reply may stay unheeded."""
RARELY: Final = 64
"""Replies after which the longest answers are looked for anew."""
SIGMAS: Final = 3.5
LANDING_SIGMAS: Final = 3.0
ERROR_SHARE: Final = 0.02
"""What one reply counts in the mean error: it is to fall slowly, since what it guards against is rare."""
MOST_OFF: Final = 4.0
"""Factor by which the count of one prompt may move what is known: beyond, something else was counted with it."""
LEAST_PROMPT: Final = 16
"""Tokens of a prompt that says something of how prompts are counted: of a shorter one most is what surrounds it."""
GUESSED_ERROR: Final = 0.15
"""Mean relative error of an estimated prompt before any reply has shown it."""


class Sizes:
    """Running averages over the calls of one account, and what is in doubt about those still running."""

    __slots__ = (
        "_heed_at", "_heeded", "_lengths", "_outputs", "_rare", "_rare_until", "_ratios", "_replies", "_seconds", "_together", "_unheeded",
        "duration", "error", "owed", "ratio", "square", "unconfirmed", "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ratio = 1.0
        """What the provider counts of a prompt for each token that we estimate."""
        self.error = GUESSED_ERROR
        """Relative spread of that ratio."""
        self.unconfirmed = 0.0
        """Sum of the squares of prompts whose true count has not come back yet."""
        self.owed = 0.0
        """Tokens that running calls will probably still write."""
        self.written = 0.0
        """Mean output."""
        self.square = 0.0
        """Mean square of it."""
        self.duration = 5.0
        """Mean seconds from reservation to settlement."""
        self._replies = 0
        self._outputs: deque[float] = deque(maxlen=2 * MEMORY)
        self._rare, self._rare_until = 0.0, SEEN
        """What one answer in two hundred exceeds, and the number of replies until which that is believed."""
        self._ratios: list[float] = []
        self._lengths: list[float] = []
        self._seconds: list[float] = []
        """Of replies that are yet to be heeded."""
        self._heeded = self._unheeded = 0
        self._together, self._heed_at = 1, math.inf
        """The number of unheeded replies, and the moment, at which they are heeded."""

    def expected(self, charge: Charge) -> float:
        """Tokens a call will probably write."""
        if charge.expected_output is not None:
            return min(charge.expected_output, charge.max_output)
        if self._replies < SEEN:
            return charge.max_output / 3
        return self.written if self.written < charge.max_output or not charge.stated else charge.max_output

    def most(self, guess: float) -> float:
        """Tokens that a call without a bound will write at most, but for one in two hundred; a guess until calls have shown it."""
        replies = self._replies
        return guess if replies < SEEN else self._rare if replies < self._rare_until else self._longest()

    def doubt(self, input: float) -> float:
        """Tokens by which unconfirmed prompts, one of `input` tokens included, may together exceed their estimates."""
        return SIGMAS * self.error * math.sqrt(self.unconfirmed + input * input)

    def landing(self, running: int, delay: float) -> float:
        """Tokens that running calls may have written, or write while a request is on its way, and that nobody has reported yet.

        delay: seconds from a reply's end to our knowing of it, and from our sending to an arrival.
        """
        if not running:
            return 0.0
        ending = running * min(1.0, 2 * delay / max(self.duration, 0.1))
        if self._replies < SEEN:
            return self.owed * ending / running
        return self.owed * ending / running + LANDING_SIGMAS * math.sqrt(ending * self.square) + min(1.0, ending) * self._longest()

    def begin(self, charge: Charge, input: float) -> float:
        """A call is let through, its prompt taken to be so long. The tokens that it will probably write."""
        output = self.expected(charge)
        self.unconfirmed += input * input
        self.owed += output
        return output

    def end(self, input: float, output: float) -> None:
        """The counterpart of `begin`, with what it was given and gave."""
        unconfirmed, owed = self.unconfirmed - input * input, self.owed - output
        self.unconfirmed = unconfirmed if unconfirmed > 0.0 else 0.0
        self.owed = owed if owed > 0.0 else 0.0

    def forget_running(self) -> None:
        """It no longer matters what those are that were begun."""
        self.unconfirmed = self.owed = 0.0

    def learn(self, charge: Charge, used: Used, seconds: float, now: float) -> None:
        """What a call turned out to be."""
        if used.input and charge.input >= LEAST_PROMPT:
            self._ratios.append(used.input / charge.input)
        if charge.max_output:
            self._lengths.append(used.output)
            self._seconds.append(seconds)
        self._unheeded += 1
        if self._unheeded >= self._together or now >= self._heed_at:
            self._heed(now)

    def _heed(self, now: float) -> None:
        """Let the averages follow the replies that were not heeded yet."""
        self._heeded += self._unheeded
        self._learn_ratio(self._ratios)
        self._learn_answers(self._lengths, self._seconds)
        self._ratios, self._lengths, self._seconds, self._unheeded = [], [], [], 0
        if self._heeded >= SEEN:
            self._together, self._heed_at = TOGETHER, now + LATEST

    def _learn_ratio(self, ratios: list[float]) -> None:
        count, known = len(ratios), self.ratio
        if count:
            if max(ratios) > MOST_OFF or min(ratios) < 1 / MOST_OFF:
                ratios = [min(MOST_OFF, max(1 / MOST_OFF, ratio)) for ratio in ratios]
            off = sum([abs(ratio - known) for ratio in ratios]) / known
            self.error += ERROR_SHARE * (1.25 * off - count * self.error)
            self.ratio = known + (sum(ratios) - count * known) / min(self._heeded + 7, MEMORY)

    def _learn_answers(self, lengths: list[float], seconds: list[float]) -> None:
        count = len(lengths)
        if count:
            self._replies += count
            share = 1 / min(self._replies, MEMORY)
            self.written += share * (sum(lengths) - count * self.written)
            self.square += share * (sum(map(mul, lengths, lengths)) - count * self.square)
            self.duration += max(share, 0.02) * (sum(seconds) - count * self.duration)
            self._outputs.extend(lengths)

    def _longest(self) -> float:
        """Tokens that one answer in two hundred exceeds."""
        if self._replies >= self._rare_until:
            count = len(self._outputs)
            self._rare = nlargest(count - int(0.995 * count), self._outputs)[-1]
            self._rare_until = self._replies + RARELY
        return self._rare
