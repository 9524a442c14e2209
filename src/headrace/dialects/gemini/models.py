"""What a model's name says about its capabilities."""

from __future__ import annotations

import re
from typing import Final

_VERSION: Final = re.compile(r"gemini-(?:\w+-)??(\d+)(?:\.(\d+))?")

LATEST: Final = (99, 0)
"""The version of names without a number: `gemini-flash-latest` and deployments with custom names."""


def version(model: str) -> tuple[int, int]:
    found = _VERSION.search(model)
    return LATEST if found is None else (int(found[1]), int(found[2] or 0))


def path(model: str) -> str:
    """The model's path in the URL."""
    return model if "/" in model else f"models/{model}"
