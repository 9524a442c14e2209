"""An answer to a browser, with what keeps the page to itself."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inside the HTML, in nobody's frame."""

SAFE: Final = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)


class Shown(Struct, frozen=True):
    """An answer to a browser."""

    status: int
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = SAFE
