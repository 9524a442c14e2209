"""Tokens of virtual keys: generated here, shown once, stored only as a hash."""

from __future__ import annotations

import secrets
from functools import lru_cache
from hashlib import sha256
from typing import Final

PREFIX: Final = "sk-"
SHORTEST: Final = 16
"""Fewest characters of a token that a user chooses."""


def new_token() -> str:
    """A token with 256 bits of entropy: enough that a plain hash protects it, however fast hashes are computed."""
    return PREFIX + secrets.token_urlsafe(32)


@lru_cache(maxsize=4096)
def hash_of(token: str) -> str:
    """What is stored of a token, and the key to look it up. Comparing hashes leaks nothing about the token through timing."""
    return sha256(token.encode()).hexdigest()


def hint_of(token: str) -> str:
    """The part of a token that may be shown."""
    return f"{PREFIX}...{token[-4:]}"
