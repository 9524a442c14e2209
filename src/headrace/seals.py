"""Seals: HMACs that bind an id to the caller it was issued to, without a table of owners."""

from __future__ import annotations

from base64 import urlsafe_b64encode


def seal_of(seal: str, *said: str) -> str:
    """The HMAC of `said` under `seal`, URL-safe base64; empty without a seal. Cannot be forged without knowing the seal."""
    if not seal:
        return ""
    import hmac  # late: it loads OpenSSL, and few Routers use seals

    return urlsafe_b64encode(hmac.digest(seal.encode(), "\0".join(said).encode(), "sha256")[:18]).decode()


def opens(seal: str, mark: str, *said: str) -> bool:
    """Whether an id with this mark was issued under the seal. Without a seal, every id is accepted."""
    if not seal:
        return True
    import hmac  # late: see above

    return hmac.compare_digest(mark.encode(), seal_of(seal, *said).encode())
