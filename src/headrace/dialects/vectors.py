"""Embeddings in the encoding the caller asked for."""

from __future__ import annotations

import base64
import struct
from typing import Final

from headrace.dialects.fields import bad
from headrace.errors import BadRequestError
from headrace.types import Json

PACKED: Final = "base64"
"""The `encoding_format` for base64 of little-endian float32."""


def vector(values: Json, at: str, *, packed: bool) -> tuple[float, ...] | str:
    """The numbers, or base64 if `packed`. Raises BadRequestError for anything but a list of numbers."""
    if not isinstance(values, list):
        raise bad(at, "a list of numbers", values)
    if not packed:
        return tuple(values)
    try:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except (struct.error, OverflowError):
        raise BadRequestError(f"{at} must be numbers that fit float32") from None
