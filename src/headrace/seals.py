"""Seals: an id that is given out to one caller is good for that caller alone, and no table has to remember whose it is."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode


def seal_of(seal: str, *said: str) -> str:
    """What goes into an id beside what it says; empty without a seal. Nobody makes it who does not know the seal."""
    if not seal:
        return ""
    return urlsafe_b64encode(hmac.digest(seal.encode(), "\0".join(said).encode(), "sha256")[:18]).decode()


def opens(seal: str, mark: str, *said: str) -> bool:
    """Whether an id with that mark was given out under the seal. Without a seal every id is open."""
    return not seal or hmac.compare_digest(mark.encode(), seal_of(seal, *said).encode())
