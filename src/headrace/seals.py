"""Seals: an id that is given out to one caller is good for that caller alone, and no table has to remember whose it is."""

from __future__ import annotations

from base64 import urlsafe_b64encode


def seal_of(seal: str, *said: str) -> str:
    """What goes into an id beside what it says; empty without a seal. Nobody makes it who does not know the seal."""
    if not seal:
        return ""
    import hmac  # late: it brings OpenSSL, and few Routers seal anything

    return urlsafe_b64encode(hmac.digest(seal.encode(), "\0".join(said).encode(), "sha256")[:18]).decode()


def opens(seal: str, mark: str, *said: str) -> bool:
    """Whether an id with that mark was given out under the seal. Without a seal every id is open."""
    if not seal:
        return True
    import hmac  # late as well

    return hmac.compare_digest(mark.encode(), seal_of(seal, *said).encode())
