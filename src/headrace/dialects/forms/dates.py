"""Moments as providers write them, and as OpenAI does: seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.types import Json


def epoch(moment: Json) -> int | None:
    """Seconds since 1970 of a moment in RFC 3339, or of a day's beginning in UTC; None for what is none."""
    try:
        told = datetime.fromisoformat(moment) if isinstance(moment, str) else None
        return None if told is None else int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
