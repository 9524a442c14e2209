"""A provider's own word on one limit, as its headers gave it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

UnitName: TypeAlias = Literal["requests", "tokens", "input", "output"]


class QuotaView(Struct, frozen=True):
    """What the headers of one reply said about one limit. It describes the moment the request arrived there."""

    unit: UnitName
    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    """Seconds until the limit is whole again (of a bucket: full, not merely open)."""
    window: float | None = None
    """Seconds the limit counts over, where the headers say so."""
