"""Plausible sentences from a small vocabulary: one long sequence of tokens, of which responses are slices."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

LENGTH: Final = 20_000
"""Tokens in the sequence."""

THINGS: Final = (
    "wheel", "channel", "gate", "miller", "valley", "stream", "ledger", "engine", "harbour", "signal", "bridge", "archive",
    "meadow", "turbine", "compass", "letter", "orchard", "pump", "village", "sluice", "reservoir", "meter", "workshop", "lantern",
)  # fmt: skip
QUALITIES: Final = (
    "quiet", "steady", "narrow", "early", "patient", "bright", "old", "careful", "shallow", "northern", "plain", "sudden", "level",
)  # fmt: skip
DEEDS: Final = (
    "turns", "carries", "measures", "waits for", "feeds", "divides", "answers", "follows", "holds back", "remembers", "balances",
)  # fmt: skip
WAYS: Final = ("slowly", "twice a day", "without haste", "in good order", "at full load", "before noon", "as agreed", "again")
OPENINGS: Final = ("In spring", "At night", "Upstream", "By then", "On paper", "After the rain", "In short", "As a rule")
LINKS: Final = ("and", "while", "because", "so that", "although", "until")


def _clause(rng: random.Random) -> str:
    noun = f"the {rng.choice(QUALITIES)} {rng.choice(THINGS)}" if rng.random() < 0.4 else f"the {rng.choice(THINGS)}"
    way = f" {rng.choice(WAYS)}" if rng.random() < 0.5 else ""
    return f"{noun} {rng.choice(DEEDS)} the {rng.choice(THINGS)}{way}"


def _sentence(rng: random.Random) -> list[str]:
    text = _clause(rng)
    if rng.random() < 0.3:
        text = f"{rng.choice(OPENINGS)}, {text}"
    if rng.random() < 0.4:
        text = f"{text} {rng.choice(LINKS)} {_clause(rng)}"
    words = (text[0].upper() + text[1:]).split()
    return [*_tokens(words), "."]


def _tokens(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        yield " " + word.rstrip(",")
        if word.endswith(","):
            yield ","


class River:
    """`LENGTH` tokens of sentences, generated once, so that responses are cheap slices."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.tokens: list[str] = []
        self.starts: list[int] = []
        """Indices at which sentences start."""
        while len(self.tokens) < LENGTH:
            self.starts.append(len(self.tokens))
            self.tokens += _sentence(rng)
        self.size = len(self.tokens)
        self.ends = [*self.starts[1:], self.size]

    def natural(self, rng: random.Random, tokens: int) -> list[str]:
        """About `tokens` tokens of whole sentences."""
        start = self._start(rng)
        laps, reach = divmod(start + max(1, tokens), self.size)
        end = self.ends[bisect_left(self.ends, reach)] if reach else 0
        return self._slice(start, laps * self.size + end - start)

    def exactly(self, rng: random.Random, tokens: int) -> list[str]:
        return self._slice(self._start(rng), tokens)

    def words(self, rng: random.Random, count: int) -> str:
        return " ".join(rng.choice(THINGS) for _ in range(count))

    def _start(self, rng: random.Random) -> int:
        return self.starts[int(rng.random() * len(self.starts))]

    def _slice(self, start: int, count: int) -> list[str]:
        pieces = self.tokens[start : start + count]
        while len(pieces) < count:
            pieces += self.tokens[: count - len(pieces)]
        if pieces:
            pieces[0] = pieces[0].lstrip()
        return pieces


@cache
def river(seed: int) -> River:
    return River(seed)
