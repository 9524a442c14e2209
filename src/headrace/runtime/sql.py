"""A database served by two threads: a writer and a reader. SQLite by default, PostgreSQL by its URL; SQL text over
Python's DB-API.

Threads, not asyncio drivers: SQLite has no alternative (aiosqlite is a thread too), and the work is batched and never
on a call's hot path. The command line uses the same methods without an event loop. Reasons:
docs/decisions/0016-keys-and-ledger.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from headrace.errors import ConfigurationError
from headrace.runtime.sql_address import Address, address
from headrace.runtime.sql_drivers import Connection, DatabaseError, Driver, driver_of, translating
from headrace.runtime.sql_schema import SchemaError, upgrade

T = TypeVar("T")

_REMEDY: Final = {
    True: "Give this user write access, or choose another file with DATABASE_URL or another directory with HEADRACE_STATE",
    False: "Start it, or correct DATABASE_URL or general_settings.database_url",
}
"""Advice if a database cannot be opened: SQLite (True) or PostgreSQL (False)."""

_MIGRATING: Final = 0x68656164
"""PostgreSQL advisory lock, held while one process migrates."""


class Database:
    """An open database with the current schema."""

    def __init__(self, given: str) -> None:
        """`given`: the database's URL. Raises ConfigurationError with advice if it cannot be opened."""
        self._address: Address = address(given)
        self.sqlite = self._address.sqlite
        self._driver: Driver = driver_of(self._address)
        self._idle: list[Any] = []
        """Idle connections, kept for the next transaction."""
        self._writer, self._reader = (ThreadPoolExecutor(1, thread_name_prefix=f"headrace-sql-{name}") for name in ("writes", "reads"))
        try:
            with self.transaction() as connection:
                if not self.sqlite:
                    connection.execute("SELECT pg_advisory_xact_lock(:lock)", lock=_MIGRATING)
                upgrade(connection)
        except BaseException as error:
            self.close()
            if isinstance(error, SchemaError):
                raise ConfigurationError(f"the database has the schema {error.version!r} of a newer headrace: update headrace") from None
            if not isinstance(error, DatabaseError):
                raise
            raise ConfigurationError(f"the database {self} cannot be opened: {error}. {_REMEDY[self.sqlite]}") from None

    def __repr__(self) -> str:
        return str(self._address)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A read-write transaction in the calling thread. Raises DatabaseError, or its subclass TakenError for a uniqueness violation."""
        with self._begun(self._driver.begin_writing) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read transaction in the calling thread, concurrent with writes."""
        with self._begun(self._driver.begin_reading) as connection:
            yield connection

    @contextmanager
    def _begun(self, begin: str) -> Iterator[Connection]:
        driver = self._driver
        with translating(driver):
            raw = self._taken()
            try:
                driver.run(raw, begin)
                yield Connection(driver, raw)
                driver.run(raw, "COMMIT")
            except BaseException:
                with suppress(driver.error):  # closing the connection undoes what a failed ROLLBACK did not
                    driver.run(raw, "ROLLBACK")
                driver.discard(raw)
                raise
            self._idle.append(raw)

    def _taken(self) -> Any:
        """A working connection: an idle one, or a new one."""
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                raw = self._idle.pop()
                if self._driver.answers(raw):
                    return raw
                self._driver.discard(raw)
        return self._driver.connect()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, run in a write transaction of its own, one at a time."""
        return await self._aside(self._writer, self._driver.begin_writing, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, run in a read transaction, concurrent with writes."""
        return await self._aside(self._reader, self._driver.begin_reading, work)

    async def _aside(self, pool: ThreadPoolExecutor, begin: str, work: Callable[[Connection], T]) -> T:
        def job() -> T:
            with self._begun(begin) as connection:
                return work(connection)

        # If the caller is cancelled, the transaction still completes.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, job))

    def close(self) -> None:
        """Finish pending transactions and close the database."""
        for pool in (self._writer, self._reader):
            pool.shutdown(wait=True)
        while self._idle:
            self._driver.discard(self._idle.pop())
