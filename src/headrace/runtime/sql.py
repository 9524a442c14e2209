"""A database behind two threads: one writes, one reads. SQLite by default, PostgreSQL by its address; SQL as text over Python's DB-API.

Threads, not asyncio drivers: SQLite has no other way (aiosqlite is a thread too), and what is done here is batched and never on a
call's way. The command line uses the same methods without an event loop. Reasons: docs/decisions/0016-keys-and-ledger.md.
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
    True: "Let this user write there, or name another file by DATABASE_URL, another folder by HEADRACE_STATE",
    False: "Start it, or correct DATABASE_URL or general_settings.database_url",
}
"""What to do where a database cannot be opened: SQLite's, and PostgreSQL."""

_MIGRATING: Final = 0x68656164
"""PostgreSQL's advisory lock under which one process at a time migrates."""


class Database:
    """Opened and brought to the newest schema."""

    def __init__(self, given: str) -> None:
        """given: its address. Raises ConfigurationError that says what to do, where it cannot be opened."""
        self._address: Address = address(given)
        self.sqlite = self._address.sqlite
        self._driver: Driver = driver_of(self._address)
        self._idle: list[Any] = []
        """Connections that wait for their next transaction."""
        self._writer, self._reader = (ThreadPoolExecutor(1, thread_name_prefix=f"headrace-sql-{name}") for name in ("writes", "reads"))
        try:
            with self.transaction() as connection:
                if not self.sqlite:
                    connection.execute("SELECT pg_advisory_xact_lock(:lock)", lock=_MIGRATING)
                upgrade(connection)
        except BaseException as error:
            self.close()
            if isinstance(error, SchemaError):
                raise ConfigurationError(f"the database's schema is {error.version!r}, of a newer headrace: update this one") from None
            if not isinstance(error, DatabaseError):
                raise
            raise ConfigurationError(f"the database {self} cannot be opened: {error}. {_REMEDY[self.sqlite]}") from None

    def __repr__(self) -> str:
        return str(self._address)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, in the thread of whoever asks. Raises DatabaseError; its kind TakenError where something must be there once."""
        with self._begun(self._driver.begin_writing) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """The same beside whatever is being written."""
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
                with suppress(driver.error):  # closing does what a failed ROLLBACK did not
                    driver.run(raw, "ROLLBACK")
                driver.discard(raw)
                raise
            self._idle.append(raw)

    def _taken(self) -> Any:
        """A connection that answers: one that was used before, or another."""
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                raw = self._idle.pop()
                if self._driver.answers(raw):
                    return raw
                self._driver.discard(raw)
        return self._driver.connect()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, in a transaction of its own; one at a time."""
        return await self._aside(self._writer, self._driver.begin_writing, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The same beside whatever is being written."""
        return await self._aside(self._reader, self._driver.begin_reading, work)

    async def _aside(self, pool: ThreadPoolExecutor, begin: str, work: Callable[[Connection], T]) -> T:
        def job() -> T:
            with self._begun(begin) as connection:
                return work(connection)

        # A caller who goes away leaves the transaction to its end.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, job))

    def close(self) -> None:
        """Finish what was begun, and let go of the database."""
        for pool in (self._writer, self._reader):
            pool.shutdown(wait=True)
        while self._idle:
            self._driver.discard(self._idle.pop())
