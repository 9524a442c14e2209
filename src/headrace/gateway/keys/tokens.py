"""The tokens themselves: made here, shown once, kept as a hash alone."""

from __future__ import annotations

import secrets
from functools import lru_cache
from hashlib import sha256
from typing import Final

PREFIX: Final = "sk-"
SHORTEST: Final = 16
"""Characters of a token that somebody chose."""


def new_token() -> str:
    """256 bits of chance: long enough for a plain hash to keep it, however fast hashes are computed."""
    return PREFIX + secrets.token_urlsafe(32)


@lru_cache(maxsize=4096)
def hash_of(token: str) -> str:
    """What is kept of a token, and what it is found by. Comparing hashes tells a guesser nothing of the token, in whatever time."""
    return sha256(token.encode()).hexdigest()


def hint_of(token: str) -> str:
    """What may be shown of it."""
    return f"{PREFIX}...{token[-4:]}"
