"""What a provider's response headers say about one limit."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

UnitName: TypeAlias = Literal["requests", "tokens", "input", "output"]


class QuotaView(Struct, frozen=True):
    """What the headers of one response say about one limit, at the moment the request arrived there."""

    unit: UnitName
    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    """Seconds until the limit is fully available again (for a bucket: full, not merely open)."""
    window: float | None = None
    """Seconds of the limit's window, if the headers state it."""
