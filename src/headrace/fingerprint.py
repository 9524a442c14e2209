"""Identifiers derived from secrets: stable across processes, not reversible."""

from __future__ import annotations


def fingerprint(*parts: str) -> str:
    """SHA-256 of the parts, cut to 20 hexadecimal digits."""
    import hashlib  # late: it loads OpenSSL

    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:20]
