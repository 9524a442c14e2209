"""Decodes a provider's JSON, tolerating some invalid JSON."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

import msgspec

strict: Final = msgspec.json.Decoder().decode
"""Decodes valid JSON only."""


def decode(data: bytes | str) -> Any:
    """The decoded value. Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError.

    A lone surrogate (some providers split text between UTF-16 units) becomes U+FFFD. NaN, Infinity and numbers beyond
    float's range (logprobs from Python servers) become None.
    """
    try:
        return strict(data)
    except msgspec.DecodeError:
        return _forgiving(data)


def _forgiving(data: bytes | str) -> Any:
    import json  # late: nearly every provider sends valid JSON

    text = data if isinstance(data, str) else data.decode()
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except ValueError:
        return strict(data)  # raises an error that says what is wrong
    return strict(json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _finite(number: str) -> float | None:
    return value if isfinite(value := float(number)) else None
