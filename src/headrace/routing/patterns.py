"""Groups whose name contains `*`: which names match, and what each star matched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


def stars_of(pattern: str, name: str) -> tuple[str, ...] | None:
    """What each `*` of a pattern matched in `name`, never empty; None if it does not match."""
    found = _expression(pattern).fullmatch(name)
    return None if found is None else found.groups()


def filled(model: str, stars: Sequence[str]) -> str:
    """`model` with its own stars replaced in order; the last match is repeated for any further ones."""
    left = list(stars)
    return re.sub(r"\*", lambda _: left.pop(0) if len(left) > 1 else left[0], model)


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(map(re.escape, pattern.split("*"))), re.DOTALL)
