"""What a model's name tells of what it takes."""

from __future__ import annotations

import re
from typing import Final

_VERSION: Final = re.compile(r"gemini-(?:\w+-)??(\d+)(?:\.(\d+))?")

LATEST: Final = (99, 0)
"""Of names without a number, `gemini-flash-latest` and whatever is deployed under a name of its own."""


def version(model: str) -> tuple[int, int]:
    found = _VERSION.search(model)
    return LATEST if found is None else (int(found[1]), int(found[2] or 0))


def path(model: str) -> str:
    """The model as it stands in an address."""
    return model if "/" in model else f"models/{model}"
