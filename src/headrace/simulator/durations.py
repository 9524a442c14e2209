"""Durations in Go's format, which OpenAI, Groq and others use in rate limit headers."""

from __future__ import annotations

import math


def go_duration(seconds: float) -> str:
    """A duration such as "0s", "120ms", "8.64s", "2m59.56s", "10h17m5.7s". Rounded up to a millisecond, so that waiting
    that long suffices."""
    milliseconds = math.ceil(seconds * 1000 - 1e-6)
    if milliseconds <= 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
