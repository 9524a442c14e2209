"""A database behind two threads: one writes, one reads. SQLite by default, PostgreSQL by its address; SQLAlchemy Core, no objects mapped.

Threads, not asyncio drivers: SQLite has no other way (aiosqlite is a thread too), and what is done here is batched and never on a
call's way. The command line uses the same methods without an event loop. Reasons: docs/decisions/0016-keys-and-ledger.md.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from headrace.errors import ConfigurationError
from headrace.runtime.sql_tables import HEAD, metadata, secrets

T = TypeVar("T")

_PATIENCE: Final = 10.0
"""Seconds to wait for another process's lock, or for a connection."""
_MIGRATING: Final = 0x68656164
"""PostgreSQL's advisory lock under which one process at a time migrates."""
_PRISMA: Final = frozenset({"schema", "connection_limit", "pool_timeout", "pgbouncer", "socket_timeout", "statement_cache_size"})
"""Words in addresses made for LiteLLM's database client that PostgreSQL's own does not know."""


def address(given: str) -> URL:
    """A database's address as people write it. Raises ConfigurationError that never repeats it: it may hold a password."""
    try:
        url = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", given.strip()))
    except ArgumentError:
        raise ConfigurationError("the database's address must be like postgresql://user:password@host/name or sqlite:///file") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"the database must be SQLite or PostgreSQL, got an address of {url.get_backend_name()!r}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigurationError("SQLite needs a file: sqlite:///headrace.db")
    return url.difference_update_query(_PRISMA)


class Database:
    """Opened and brought to the newest schema."""

    def __init__(self, given: str) -> None:
        """given: its address. Raises ConfigurationError that says what to do, where it cannot be opened."""
        self._url = url = address(given)
        self.sqlite = url.get_backend_name() == "sqlite"
        self._engine = _engine(url)
        self._reading = self._engine.execution_options(reads=True)
        self._writer, self._reader = (ThreadPoolExecutor(1, thread_name_prefix=f"headrace-sql-{name}") for name in ("writes", "reads"))
        try:
            self._migrate()
        except BaseException as error:
            self.close()
            if not isinstance(error, DBAPIError):
                raise
            raise ConfigurationError(f"the database {self} cannot be opened: {_first_line(error)}") from None

    def __repr__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, in the thread of whoever asks."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """The same beside whatever is being written."""
        with self._reading.begin() as connection:
            yield connection

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, in a transaction of its own; one at a time."""
        return await self._aside(self._writer, self._engine, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The same beside whatever is being written."""
        return await self._aside(self._reader, self._reading, work)

    async def _aside(self, pool: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], T]) -> T:
        def job() -> T:
            with engine.begin() as connection:
                return work(connection)

        # A caller who goes away leaves the transaction to its end.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, job))

    def close(self) -> None:
        """Finish what was begun, and let go of the database."""
        for pool in (self._writer, self._reader):
            pool.shutdown(wait=True)
        self._engine.dispose()

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            if not self.sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATING})
            version = _version(connection)
            if version is None and _empty(connection):
                create(connection)
            elif version != HEAD:
                upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def _empty(connection: Connection) -> bool:
    """Whether it has no table of ours."""
    return not any(connection.dialect.has_table(connection, table.name) for table in metadata.sorted_tables)


def create(connection: Connection) -> None:
    """The tables as they are now: what the migrations come to, without the 9 MB that a process holds once it has loaded alembic."""
    metadata.create_all(connection)
    connection.execute(secrets.insert(), {"name": "seal", "value": token_urlsafe(32)})
    versions = "version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS alembic_version ({versions})"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def upgrade(connection: Connection) -> None:
    """From an older schema to the newest, step by step. Raises ConfigurationError."""
    from alembic import command  # late: only where there is something to migrate
    from alembic.config import Config  # late as well
    from alembic.util import CommandError  # late as well

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "sql_migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise ConfigurationError(f"the database's schema is {_version(connection)!r}, of a newer headrace: update this one") from None


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            Path(str(url.database)).expanduser().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            engine = create_engine(url, connect_args={"timeout": _PATIENCE, "check_same_thread": False})
            event.listen(engine, "connect", _on_connect)
            event.listen(engine, "begin", _on_begin)
            return engine
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": int(_PATIENCE)})
    except (ModuleNotFoundError, NoSuchModuleError):
        raise ConfigurationError('PostgreSQL needs one more package: pip install "headrace[postgres]"') from None
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}: set HEADRACE_STATE or DATABASE_URL") from None


def _on_connect(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_on_begin` says
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    # A reader that turns writer halfway would fail at once where another writes; one that says so waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if not connection.get_execution_options().get("reads") else "BEGIN")


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
