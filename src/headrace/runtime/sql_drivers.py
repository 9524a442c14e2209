"""The differences between SQLite and PostgreSQL: connections, parameter markers, errors."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from headrace.calls import EMPTY
from headrace.errors import ConfigurationError
from headrace.runtime.sql_address import Address

_PATIENCE: Final = 10.0
"""Seconds to wait for another process's lock, or for a connection."""
_BATCH: Final = 5_000
"""Rows per fetch when PostgreSQL streams a large result."""


class DatabaseError(Exception):
    """A failed database operation, with the first line of the driver's message."""


class TakenError(DatabaseError):
    """A uniqueness constraint was violated."""


def several(name: str, values: Iterable[Any]) -> tuple[str, dict[str, Any]]:
    """A parameter list for `IN`, and its named parameters."""
    given = {f"{name}{number}": value for number, value in enumerate(values)}
    return f"({', '.join([f':{one}' for one in given])})", given


class Driver(Protocol):
    """One database's DB-API module. Its connections run in autocommit mode."""

    begin_writing: str
    begin_reading: str
    taken: type[Exception]
    """The module's exception for a uniqueness violation."""
    error: type[Exception]
    """The base class of the module's exceptions."""

    def connect(self) -> Any:
        """A new connection. Raises ConfigurationError if the driver or a directory is missing."""
        ...

    def answers(self, raw: Any) -> bool:
        """Whether an idle connection still works."""
        ...

    def discard(self, raw: Any) -> None:
        """Close a connection, whatever its state."""
        ...

    def run(self, raw: Any, sql: str, given: Any = ()) -> Any:
        """Execute a statement and return its cursor. `given`: parameters by name or by position, as in the statement."""
        ...

    def run_many(self, raw: Any, sql: str, rows: Sequence[Any]) -> None: ...
    def look_through(self, raw: Any, sql: str, given: Any) -> Iterator[Any]:
        """The rows of a large result, a few in memory at a time; the first item is the column names."""
        ...


@contextmanager
def translating(driver: Driver) -> Iterator[None]:
    """A context that translates the driver's exceptions to DatabaseError and TakenError."""
    try:
        yield
    except driver.taken as error:
        raise TakenError(_first_line(error)) from error
    except driver.error as error:
        raise DatabaseError(_first_line(error)) from error


class Connection:
    """A transaction. Statements name parameters as `:name` on both databases."""

    __slots__ = ("_driver", "_raw")

    def __init__(self, driver: Driver, raw: Any) -> None:
        self._driver = driver
        self._raw = raw

    @property
    def sqlite(self) -> bool:
        return isinstance(self._driver, Sqlite)

    def execute(self, sql: str, **given: Any) -> int:
        """Execute a statement and return the number of affected rows."""
        count: int = self._driver.run(self._raw, sql, given).rowcount
        return count

    def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], more: str = "", fixed: Mapping[str, str] = EMPTY
    ) -> None:
        """Insert rows in one statement. `more`: SQL to append, such as ON CONFLICT. `fixed`: further columns with their
        SQL expressions."""
        names, marks = ", ".join(f'"{name}"' for name in (*columns, *fixed)), ", ".join([*("?" * len(columns)), *fixed.values()])
        self._driver.run_many(self._raw, f"INSERT INTO {table} ({names}) VALUES ({marks}) {more}", rows)

    def tuples(self, sql: str, **given: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._driver.run(self._raw, sql, given).fetchall()
        return found

    def rows(self, sql: str, **given: Any) -> list[dict[str, Any]]:
        """Rows as dicts by column name."""
        cursor = self._driver.run(self._raw, sql, given)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def look_through(self, sql: str, **given: Any) -> Iterator[dict[str, Any]]:
        """Rows of a large result, a few in memory at a time."""
        found = self._driver.look_through(self._raw, sql, given)
        names = next(found)
        for row in found:
            yield dict(zip(names, row, strict=True))

    def scalar(self, sql: str, **given: Any) -> Any:
        """The first column of the first row; None if there is none."""
        row = self._driver.run(self._raw, sql, given).fetchone()
        return None if row is None else row[0]


def driver_of(at: Address) -> Driver:
    """The driver for an address. Raises ConfigurationError if a package or directory is missing."""
    return Sqlite(at.target) if at.sqlite else Postgres(at.target)


class Sqlite:
    # A read transaction that upgrades to a write fails at once while another writes; one that starts as a write waits.
    begin_writing, begin_reading = "BEGIN IMMEDIATE", "BEGIN"
    taken: type[Exception] = sqlite3.IntegrityError
    error: type[Exception] = sqlite3.Error

    def __init__(self, file: str) -> None:
        self._path = Path(file).expanduser()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"the directory {error.filename}, which holds the keys and the ledger, cannot be created ({error.strerror}): "
                "create it, or choose another with HEADRACE_STATE or DATABASE_URL"
            ) from None

    def connect(self) -> Any:
        raw = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            # Half a megabyte of pages for each connection in place of two: appends touch few, and the kernel caches the rest.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-512"):
                raw.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:  # not a database, or not writable
            raw.close()
            raise
        return raw

    def answers(self, raw: Any) -> bool:
        return True

    def discard(self, raw: Any) -> None:
        raw.close()

    def run(self, raw: Any, sql: str, given: Any = ()) -> Any:
        return raw.execute(sql, given)

    def run_many(self, raw: Any, sql: str, rows: Sequence[Any]) -> None:
        raw.executemany(sql, rows)

    def look_through(self, raw: Any, sql: str, given: Any) -> Iterator[Any]:
        cursor = raw.execute(sql, given)
        yield [column[0] for column in cursor.description]
        yield from cursor


class Postgres:
    begin_writing, begin_reading = "BEGIN", "BEGIN"

    def __init__(self, target: str) -> None:
        try:
            import psycopg  # late: an optional package
        except ImportError:
            raise ConfigurationError('PostgreSQL needs one more package: pip install "headrace[postgres]"') from None
        self._psycopg = psycopg
        self._target = target
        self.taken: type[Exception] = psycopg.IntegrityError
        self.error: type[Exception] = psycopg.Error

    def connect(self) -> Any:
        return self._psycopg.connect(autocommit=True, **{"connect_timeout": int(_PATIENCE), **_words(self._target)})

    def answers(self, raw: Any) -> bool:
        try:
            raw.execute("SELECT 1")
        except self._psycopg.Error:
            return False
        return True

    def discard(self, raw: Any) -> None:
        with suppress(self._psycopg.Error):
            raw.close()

    def run(self, raw: Any, sql: str, given: Any = ()) -> Any:
        return raw.execute(_marked(sql), given or None)

    def run_many(self, raw: Any, sql: str, rows: Sequence[Any]) -> None:
        with raw.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)

    def look_through(self, raw: Any, sql: str, given: Any) -> Iterator[Any]:
        with raw.cursor(name="headrace") as cursor:
            cursor.itersize = _BATCH
            cursor.execute(_marked(sql), given or None)
            yield [column[0] for column in cursor.description]
            yield from cursor


def _words(target: str) -> dict[str, Any]:
    """A URL as connection parameters. Passed whole, an error in it would be reported together with the password."""
    parts = urlsplit(target)
    who, _, where = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    places = [_PLACE.fullmatch(place) for place in where.split(",")]
    hosts = [place["host"].strip("[]") if place else "" for place in places]
    ports = [place["port"] or "" if place else "" for place in places]
    found = {
        "user": unquote(user), "password": unquote(password), "host": ",".join(map(unquote, hosts)), "port": ",".join(ports),
        "dbname": unquote(parts.path.removeprefix("/")),
    }  # fmt: skip
    return {**{name: value for name, value in found.items() if value.strip(",")}, **dict(parse_qsl(parts.query))}


_PLACE: Final = re.compile(r"(?P<host>\[[^]]*\]|[^:]*)(:(?P<port>\d+))?")


@lru_cache(maxsize=256)
def _marked(sql: str) -> str:
    """A statement with psycopg's parameter markers: `%(name)s` for `:name`, `%s` for `?`."""
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", sql).replace("?", "%s")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
