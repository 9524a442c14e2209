"""The tables: who holds keys, what was spent, which calls there were. Money in nano-dollars, moments in seconds since 1970."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, Table, Text

HEAD: Final = "0002"
"""The newest migration; a test holds it equal to Alembic's."""

metadata: Final = MetaData()

NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows only by a column that it calls INTEGER."""

holders: Final = Table(
    "holders",
    metadata,
    Column("kind", Text, primary_key=True),  # key, team or user
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, default=""),
    Column("hash", Text, unique=True),  # of a key: SHA-256 of the token, in hex
    Column("former", Text),  # the hash before the last rotation, good until `former_until`
    Column("former_until", Float),
    Column("hint", Text, nullable=False, default=""),  # what may be shown of the token
    Column("team", Text, nullable=False, default=""),
    Column("user", Text, nullable=False, default=""),
    Column("blocked", Boolean, nullable=False, default=False),
    Column("expires", Float),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Column("terms", Text, nullable=False),  # JSON: `headrace.gateway.holders.Terms`
    Column("deleted", Boolean, nullable=False, default=False),
    Column("revision", BigInteger, nullable=False),
    Index("holders_revision", "revision"),
    Index("holders_former", "former"),
    Index("holders_team", "team"),
    Index("holders_user", "user"),
)

revisions: Final = Table(
    "revisions",
    metadata,
    Column("what", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
"""Counts the changes of a table, so that others who keep it in memory see that there is something new."""

deployments: Final = Table(
    "deployments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("entry", Text, nullable=False),  # JSON: an entry of a model_list
    Column("deleted", Boolean, nullable=False, default=False),
    Column("revision", BigInteger, nullable=False),
)

secrets: Final = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""What every process must know and nobody else: made once, with the table."""

spending: Final = Table(
    "spending",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("began", Float, primary_key=True),  # of the budget's period; 0 where there is none
    Column("cost", BigInteger, nullable=False),
    Column("touched", Float, nullable=False),
    Index("spending_touched", "touched"),
)

calls: Final = Table(
    "calls",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("began", Float, nullable=False),
    Column("ended", Float, nullable=False),
    Column("first", Float),
    Column("key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("tags", Text, nullable=False),  # JSON: a list
    Column("path", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("served", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("input", BigInteger, nullable=False),  # tokens of the prompt, all classes
    Column("output", BigInteger, nullable=False),  # tokens of the answer, all classes
    Column("usage", Text, nullable=False),  # JSON: every class of which something was used
    Column("cost", BigInteger),
    Column("waited", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("session", Text, nullable=False),
    Column("metadata", Text, nullable=False),  # JSON
    Column("content", Text),  # JSON, where the configuration asks for it
    Index("calls_id", "id"),
    Index("calls_began", "began"),
)

journals: Final = Table(
    "journals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),  # bytes of it that stand in `calls`
)
