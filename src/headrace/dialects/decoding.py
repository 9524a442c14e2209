"""A provider's JSON, also where it is not quite JSON."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

import msgspec

strict: Final = msgspec.json.Decoder().decode
"""The value of what is JSON."""


def decode(data: bytes | str) -> Any:
    """The value. Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError.

    Half an emoji (providers cut texts in UTF-16) is U+FFFD; NaN, Infinity and numbers that no float holds (logprobs of servers in
    Python) are null.
    """
    try:
        return strict(data)
    except msgspec.DecodeError:
        return _forgiving(data)


def _forgiving(data: bytes | str) -> Any:
    import json  # late: nearly every provider writes JSON

    text = data if isinstance(data, str) else data.decode()
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except ValueError:
        return strict(data)  # it says what is wrong
    return strict(json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _finite(number: str) -> float | None:
    return value if isfinite(value := float(number)) else None
