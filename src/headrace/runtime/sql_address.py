"""Parses database URLs."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from headrace.errors import ConfigurationError

_PRISMA: Final = frozenset({"schema", "connection_limit", "pool_timeout", "pgbouncer", "socket_timeout", "statement_cache_size"})
"""Query parameters for Prisma, LiteLLM's database client, which PostgreSQL's own client does not know."""
_POSTGRES: Final = re.compile(r"postgres(ql)?(\+\w+)?")


class Address(Struct, frozen=True):
    """A database's address. `str` masks the password."""

    sqlite: bool
    target: str
    """SQLite's file path, or PostgreSQL's URL, which may contain a password."""

    def __str__(self) -> str:
        if self.sqlite:
            return f"sqlite:///{self.target}"
        parts = urlsplit(self.target)
        if parts.password is None:
            return self.target
        return urlunsplit(parts._replace(netloc=f"{quote(parts.username or '')}:***@{parts.netloc.rpartition('@')[2]}"))

    def __repr__(self) -> str:
        return f"<Address {self}>"


def address(given: str) -> Address:
    """Parse a database URL. Raises ConfigurationError, which never repeats it because it may contain a password."""
    scheme, colon, rest = given.strip().partition("://")
    if not colon or not scheme:
        raise ConfigurationError("the database's address must be like postgresql://user:password@host/name or sqlite:///file")
    if scheme in ("sqlite", "sqlite+pysqlite"):
        file = rest.partition("?")[0].removeprefix("/")
        if file in ("", ":memory:"):
            raise ConfigurationError("SQLite needs a file: sqlite:///headrace.db")
        return Address(True, file)
    if not _POSTGRES.fullmatch(scheme):
        raise ConfigurationError(f"the database must be SQLite or PostgreSQL, got an address of {scheme!r}")
    try:
        parts = urlsplit(f"postgresql://{rest}")
    except ValueError:
        raise ConfigurationError("the database's address must be like postgresql://user:password@host/name") from None
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name not in _PRISMA], quote_via=quote)
    return Address(False, urlunsplit(parts._replace(query=query)))
