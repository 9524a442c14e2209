"""Moments as providers write them, and as OpenAI does: seconds since 1970."""

from __future__ import annotations

from datetime import datetime

from headrace.types import Json


def epoch(moment: Json) -> int | None:
    """Seconds since 1970 of a moment in RFC 3339; None for what is none."""
    try:
        return int(datetime.fromisoformat(moment).timestamp()) if isinstance(moment, str) else None
    except (ValueError, OverflowError):
        return None
