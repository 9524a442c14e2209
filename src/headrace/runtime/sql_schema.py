"""The database schema: key holders, spending, calls. Money is in nano-dollars, times in Unix seconds.

Each step migrates a database to the next version, starting from an empty one. A published step is never changed. NUMBER
stands for an auto-incrementing column, which PostgreSQL and SQLite declare differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Final

from headrace.runtime.sql_drivers import Connection

STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "0001": (
        # kind: key, team or user. hash: SHA-256 of a key's token, in hex. former: the hash before the last rotation,
        # valid until
        # `former_until`. hint: the part of the token that may be shown. terms: JSON of
        # `headrace.gateway.keys.holders.Terms`.
        """CREATE TABLE holders (
            kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, hash TEXT UNIQUE, former TEXT, former_until FLOAT, hint TEXT NOT NULL,
            team TEXT NOT NULL, "user" TEXT NOT NULL, blocked BOOLEAN NOT NULL, expires FLOAT, created FLOAT NOT NULL,
            updated FLOAT NOT NULL, terms TEXT NOT NULL, deleted BOOLEAN NOT NULL, revision BIGINT NOT NULL, PRIMARY KEY (kind, id))""",
        "CREATE INDEX holders_revision ON holders (revision)",
        "CREATE INDEX holders_former ON holders (former)",
        "CREATE INDEX holders_team ON holders (team)",
        'CREATE INDEX holders_user ON holders ("user")',
        # Counts changes per table, so that processes with a copy in memory notice them.
        "CREATE TABLE revisions (what TEXT NOT NULL PRIMARY KEY, revision BIGINT NOT NULL)",
        # entry: JSON of an entry of a model_list.
        "CREATE TABLE deployments (id TEXT NOT NULL PRIMARY KEY, entry TEXT NOT NULL, deleted BOOLEAN NOT NULL, revision BIGINT NOT NULL)",
        # began: start of the budget's period; 0 if it has none.
        """CREATE TABLE spending (
            kind TEXT NOT NULL, id TEXT NOT NULL, began FLOAT NOT NULL, cost BIGINT NOT NULL, touched FLOAT NOT NULL,
            PRIMARY KEY (kind, id, began))""",
        "CREATE INDEX spending_touched ON spending (touched)",
        # tags, usage, metadata, content: JSON. input, output: tokens of all classes.
        """CREATE TABLE calls (
            number NUMBER, id TEXT NOT NULL, began FLOAT NOT NULL, ended FLOAT NOT NULL, first FLOAT, key TEXT NOT NULL, name TEXT NOT NULL,
            team TEXT NOT NULL, "user" TEXT NOT NULL, customer TEXT NOT NULL, tags TEXT NOT NULL, path TEXT NOT NULL,
            operation TEXT NOT NULL, model TEXT NOT NULL, "group" TEXT NOT NULL, deployment TEXT NOT NULL, provider TEXT NOT NULL,
            served TEXT NOT NULL, stream BOOLEAN NOT NULL, outcome TEXT NOT NULL, status INTEGER NOT NULL, error TEXT NOT NULL,
            input BIGINT NOT NULL, output BIGINT NOT NULL, usage TEXT NOT NULL, cost BIGINT, waited FLOAT NOT NULL,
            attempts INTEGER NOT NULL, session TEXT NOT NULL, metadata TEXT NOT NULL, content TEXT)""",
        "CREATE INDEX calls_id ON calls (id)",
        "CREATE INDEX calls_began ON calls (began)",
        # position: bytes of the journal already copied to `calls`.
        "CREATE TABLE journals (name TEXT NOT NULL PRIMARY KEY, position BIGINT NOT NULL)",
    ),
    # Secrets shared by all processes and nobody else; created once, with the table.
    "0002": (
        "CREATE TABLE secrets (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
        "INSERT INTO secrets (name, value) VALUES ('seal', :secret)",
    ),
    # Objects that providers store for callers who are not administrators. kind: files, batches, conversations,
    # cachedcontents.
    # id: the provider's own. said: JSON of the provider's latest response about it.
    "0003": (
        """CREATE TABLE kept (
            deployment TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, owner TEXT NOT NULL, created FLOAT NOT NULL, said TEXT NOT NULL,
            PRIMARY KEY (deployment, kind, id))""",
        "CREATE INDEX kept_id ON kept (id)",
        "CREATE INDEX kept_owner ON kept (owner, kind, created)",
    ),
    # Batches created by callers. id: the provider's own. began: creation time. look: when to poll the provider next.
    # billed: whether
    # the cost has been recorded in `calls` and `spending`.
    "0004": (
        """CREATE TABLE batches (
            deployment TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, began FLOAT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
            team TEXT NOT NULL, "user" TEXT NOT NULL, tags TEXT NOT NULL, look FLOAT NOT NULL, billed BOOLEAN NOT NULL,
            PRIMARY KEY (deployment, id))""",
        "CREATE INDEX batches_look ON batches (billed, look)",
    ),
    # Background responses are polled in the same table; customer: the end user they were requested for.
    "0005": ("ALTER TABLE batches ADD COLUMN customer TEXT NOT NULL DEFAULT ''",),
}  # fmt: skip
"""SQL statements by the version they migrate to."""


class SchemaError(Exception):
    """The database has a version unknown to this headrace."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


def upgrade(connection: Connection) -> None:
    """Migrate to the newest version, step by step. Raises SchemaError."""
    version, versions = _version(connection), list(STEPS)
    if version and version not in STEPS:
        raise SchemaError(version)
    for step in versions[versions.index(version) + 1 if version else 0 :]:
        for statement in STEPS[step]:
            _run(connection, statement)
        if version:
            connection.execute("UPDATE alembic_version SET version_num = :step", step=step)
        else:
            connection.execute("INSERT INTO alembic_version (version_num) VALUES (:step)", step=step)
        version = step


def _version(connection: Connection) -> str:
    """The database's version; empty for a new one. The table is named after Alembic, which managed it until November 2026."""
    connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    return connection.scalar("SELECT version_num FROM alembic_version") or ""


def _run(connection: Connection, statement: str) -> None:
    number = "INTEGER NOT NULL PRIMARY KEY" if connection.sqlite else "BIGSERIAL PRIMARY KEY"
    given = {"secret": token_urlsafe(32)} if ":secret" in statement else {}
    connection.execute(statement.replace("number NUMBER", f"number {number}"), **given)
