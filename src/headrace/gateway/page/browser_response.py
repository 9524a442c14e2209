"""Responses to a browser, with security headers."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""No content from other origins, no inline scripts or styles, no framing."""

SAFE: Final = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)


class BrowserResponse(Struct, frozen=True):
    """A response to a browser."""

    status: int
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = SAFE
