"""What calls turn out to be: how a provider counts a prompt that we can only estimate, how much is written, for how long."""

from __future__ import annotations

import math
from collections import deque
from heapq import nlargest
from typing import Final

from headrace.limits.limit import Charge, Used

MEMORY: Final = 256
"""Replies over which averages run."""
SHARE: Final = 1 / MEMORY
SEEN: Final = 32
"""Replies after which averages are believed."""
SIGMAS: Final = 3.5
LANDING_SIGMAS: Final = 4.0
ERROR_SHARE: Final = 0.02
"""What one reply counts in the mean error: it is to fall slowly, since what it guards against is rare."""
LEAST_PROMPT: Final = 16
"""Tokens of a prompt that says something of how prompts are counted: of a shorter one most is what surrounds it."""
GUESSED_ERROR: Final = 0.15
"""Mean relative error of an estimated prompt before any reply has shown it."""


class Sizes:
    """Running averages over the calls of one account, and what is in doubt about those still running."""

    __slots__ = ("_outputs", "_rare", "_replies", "duration", "error", "owed", "ratio", "square", "unconfirmed", "written")

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
        self._rare = 0.0

    def expected(self, charge: Charge) -> float:
        """Tokens a call will probably write."""
        if charge.expected_output is not None:
            return min(charge.expected_output, charge.max_output)
        if self._replies < SEEN:
            return charge.max_output / 3
        return self.written if self.written < charge.max_output or not charge.stated else charge.max_output

    def most(self, guess: float) -> float:
        """Tokens that a call without a bound will write at most, but for one in two hundred; a guess until calls have shown it."""
        return guess if self._replies < SEEN else self._rare

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
        return self.owed * ending / running + LANDING_SIGMAS * math.sqrt(ending * self.square) + min(1.0, ending) * self._rare

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

    def learn(self, charge: Charge, used: Used, seconds: float) -> None:
        """What a call turned out to be."""
        estimated, counted = charge.input, used.input
        if estimated >= LEAST_PROMPT and counted:
            self.learn_prompt(estimated, counted)
        if charge.max_output:
            self.learn_output(used.output, seconds)

    def learn_prompt(self, estimated: float, counted: float) -> None:
        ratio, known, replies = counted / estimated, self.ratio, self._replies + 8
        if ratio > 4.0 or ratio < 0.25:
            ratio = 4.0 if ratio > 4.0 else 0.25
        off = ratio / known - 1
        self.error += ERROR_SHARE * ((off if off > 0.0 else -off) * 1.25 - self.error)
        self.ratio = known + (ratio - known) / (replies if replies < MEMORY else MEMORY)

    def learn_output(self, output: float, seconds: float) -> None:
        replies = self._replies = self._replies + 1
        share = 1 / replies if replies < MEMORY else SHARE
        self.written += share * (output - self.written)
        self.square += share * (output * output - self.square)
        self.duration += (share if share > 0.02 else 0.02) * ((seconds if seconds > 0.0 else 0.0) - self.duration)
        self._outputs.append(output)
        if replies % 64 == SEEN:
            count = len(self._outputs)
            self._rare = nlargest(count - int(0.995 * count), self._outputs)[-1]
