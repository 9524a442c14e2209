"""Groups whose name has a `*`: which names fit, and what stands for each star."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


def stars_of(pattern: str, name: str) -> tuple[str, ...] | None:
    """What stands for each `*` of a pattern in a name that fits it, none of it empty; None for a name that does not fit."""
    found = _expression(pattern).fullmatch(name)
    return None if found is None else found.groups()


def filled(model: str, stars: Sequence[str]) -> str:
    """A model's name with its own stars replaced, one after the other; one that nothing is left for is given the last of them."""
    left = list(stars)
    return re.sub(r"\*", lambda _: left.pop(0) if len(left) > 1 else left[0], model)


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(map(re.escape, pattern.split("*"))), re.DOTALL)
