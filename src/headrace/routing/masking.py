"""Which parameters of a deployment are secret, and how they are displayed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

SECRET: Final = re.compile(r"api_key|secret|password|credential|private_key|(access|session|ad|auth|bearer)_token$|^token$", re.I)
"""Names of parameters whose values are never displayed."""
HIDDEN: Final = frozenset({"headers", "extra_headers"})


def secret(name: str) -> bool:
    return name in HIDDEN or SECRET.search(name) is not None


def masked(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with `***` for every secret."""
    return {name: "***" if secret(name) and value else value for name, value in params.items()}
