"""Learned sizes of calls: how the provider counts estimated prompts, how much is written, and for how long."""

from __future__ import annotations

import math
from collections import deque
from heapq import nlargest
from operator import mul
from typing import Final

from headrace.limits.limit import Charge, Used

MEMORY: Final = 256
"""Responses over which averages run."""
SEEN: Final = 32
"""Responses after which averages are used."""
TOGETHER: Final = 16
"""Responses that are processed together once averages are used: each changes them so little that the delay does not
matter."""
LATEST: Final = 2.0
"""Seconds for which a response may stay unprocessed."""
RARELY: Final = 64
"""Responses after which the longest outputs are determined again."""
SIGMAS: Final = 3.5
LANDING_SIGMAS: Final = 3.0
ERROR_SHARE: Final = 0.02
"""Weight of one response in the mean error, which should fall slowly because it guards against something rare."""
MOST_OFF: Final = 4.0
"""Factor by which one prompt's count may change the ratio: beyond it, something else was counted as well."""
LEAST_PROMPT: Final = 16
"""Smallest prompt in tokens that is used to learn how prompts are counted: most of a shorter one is overhead."""
GUESSED_ERROR: Final = 0.15
"""Mean relative error of an estimated prompt before any response has shown it."""


class Sizes:
    """Running averages over the calls of one account, and what is uncertain about those in flight."""

    __slots__ = (
        "_heed_at", "_heeded", "_lengths", "_outputs", "_rare", "_rare_until", "_ratios", "_replies", "_seconds", "_together", "_unheeded",
        "duration", "error", "owed", "ratio", "square", "unconfirmed", "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ratio = 1.0
        """Tokens that the provider counts for each estimated prompt token."""
        self.error = GUESSED_ERROR
        """Relative spread of that ratio."""
        self.unconfirmed = 0.0
        """Sum of the squares of prompts whose true count is not known yet."""
        self.owed = 0.0
        """Tokens that calls in flight are expected to write still."""
        self.written = 0.0
        """Mean output in tokens."""
        self.square = 0.0
        """Mean square of the output."""
        self.duration = 5.0
        """Mean seconds from reservation to settlement."""
        self._replies = 0
        self._outputs: deque[float] = deque(maxlen=2 * MEMORY)
        self._rare, self._rare_until = 0.0, SEEN
        """Output that one response in two hundred exceeds, and the number of responses until which that is valid."""
        self._ratios: list[float] = []
        self._lengths: list[float] = []
        self._seconds: list[float] = []
        """Of unprocessed responses."""
        self._heeded = self._unheeded = 0
        self._together, self._heed_at = 1, math.inf
        """The number of unprocessed responses, and the moment, at which they are processed."""

    def expected(self, charge: Charge) -> float:
        """Tokens that a call is expected to write."""
        if charge.expected_output is not None:
            return min(charge.expected_output, charge.max_output)
        if self._replies < SEEN:
            return charge.max_output / 3
        return self.written if self.written < charge.max_output or not charge.stated else charge.max_output

    def most(self, guess: float) -> float:
        """Output tokens of a call without a limit, exceeded by one in two hundred; `guess` until enough calls were seen."""
        replies = self._replies
        return guess if replies < SEEN else self._rare if replies < self._rare_until else self._longest()

    def doubt(self, input: float) -> float:
        """Tokens by which unconfirmed prompts, including one of `input` tokens, may together exceed their estimates."""
        return SIGMAS * self.error * math.sqrt(self.unconfirmed + input * input)

    def landing(self, running: int, delay: float) -> float:
        """Tokens that calls in flight have written or will write while a request travels, and that are not reported
        yet.

        delay: seconds from a response's end until we know of it, and from our sending to the arrival.
        """
        if not running:
            return 0.0
        ending = running * min(1.0, 2 * delay / max(self.duration, 0.1))
        if self._replies < SEEN:
            return self.owed * ending / running
        return self.owed * ending / running + LANDING_SIGMAS * math.sqrt(ending * self.square) + min(1.0, ending) * self._longest()

    def begin(self, charge: Charge, input: float) -> float:
        """Record an admitted call with its estimated prompt. Returns the tokens that it is expected to write."""
        output = self.expected(charge)
        self.unconfirmed += input * input
        self.owed += output
        return output

    def end(self, input: float, output: float) -> None:
        """The counterpart of `begin`, with its argument and result."""
        unconfirmed, owed = self.unconfirmed - input * input, self.owed - output
        self.unconfirmed = unconfirmed if unconfirmed > 0.0 else 0.0
        self.owed = owed if owed > 0.0 else 0.0

    def forget_running(self) -> None:
        """Drop the estimates of calls in flight, once no limit needs them."""
        self.unconfirmed = self.owed = 0.0

    def learn(self, charge: Charge, used: Used, seconds: float, now: float) -> None:
        """Record what a call really used."""
        if used.input and charge.input >= LEAST_PROMPT:
            self._ratios.append(used.input / charge.input)
        if charge.max_output:
            self._lengths.append(used.output)
            self._seconds.append(seconds)
        self._unheeded += 1
        if self._unheeded >= self._together or now >= self._heed_at:
            self._heed(now)

    def _heed(self, now: float) -> None:
        """Update the averages with the unprocessed responses."""
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
        """Output tokens that one response in two hundred exceeds."""
        if self._replies >= self._rare_until:
            count = len(self._outputs)
            self._rare = nlargest(count - int(0.995 * count), self._outputs)[-1]
            self._rare_until = self._replies + RARELY
        return self._rare
