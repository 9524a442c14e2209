"""Timestamps in providers' formats, converted to epoch seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.types import Json


def epoch(moment: Json) -> int | None:
    """Epoch seconds of an RFC 3339 timestamp, or of the start of a date in UTC; None for anything else."""
    try:
        told = datetime.fromisoformat(moment) if isinstance(moment, str) else None
        return None if told is None else int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
