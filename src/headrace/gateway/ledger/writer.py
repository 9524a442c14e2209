"""The ledger of one process: its journal, and the task that writes it to the database."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headrace.errors import ConfigurationError
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Kind
from headrace.gateway.ledger import folding
from headrace.gateway.ledger.folding import Period
from headrace.gateway.ledger.journal import Journal
from headrace.gateway.records import Record
from headrace.runtime.sql import Database
from headrace.runtime.sql_drivers import Connection, DatabaseError

log: Final = logging.getLogger("headrace.gateway")

EVERY: Final = 1.0
"""Seconds between writes to the database."""
LONGEST: Final = 16 << 20
"""Bytes after which a new journal is started."""
LOOK: Final = 2.0
"""Seconds between checks of what other processes spent."""
LATE: Final = 10.0
"""Tolerated clock skew between two machines in seconds."""
WAIT: Final = 1.0
"""Seconds to wait after a failure."""
CLEAN: Final = 3600.0
"""Seconds between deletions of old rows."""
CLEANED: Final = 5000
"""Rows deleted in one transaction."""


class LedgerWriter:
    """A `Ledger` over a folder of journals and a database.

    `run` writes to the database until cancelled; `close` writes the rest.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        keep: float | None = None,
        keep_content: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """keep: seconds for which calls are kept; None to keep them forever. keep_content: the same for their content.

        Raises ConfigurationError if the folder is not writable.
        """
        self._database = database
        self._folder = folder
        self._keep = keep
        self._keep_content = keep_content
        self._clock = clock
        self._folding = asyncio.Lock()
        self._adopted = False
        """Whether the journals of earlier processes are in the database."""
        self._reached = 0
        """Bytes of the journal that are known to be in the database."""
        self._unwritten: list[Record] = []
        """Records that could not be written to disk: they go directly to the database."""
        self._seen: dict[Period, int] = {}
        """What is known to be spent in the watched periods."""
        self.on_spent_elsewhere: Callable[[Period, int], None] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._journal = Journal(folder)
        except OSError as error:
            raise ConfigurationError(
                f"the ledger's journal cannot be written: {error.filename}: {error.strerror}: set HEADRACE_STATE to a writable folder"
            ) from None

    def append(self, record: Record, decision: Mapping[str, Any] | None = None) -> None:
        """Record a call, in about 10 µs and without awaiting. Once this returns, the record survives the end of the process."""
        try:
            self._journal.append(record)
        except OSError as error:
            log.error("cannot write to the ledger's journal (%s): calls are kept in memory until they are in the database", error)
            self._unwritten.append(record)

    def extend(self, records: Sequence[Record]) -> None:
        """Record several calls in one write."""
        try:
            self._journal.extend(records)
        except OSError:
            for record in records[self._journal.kept :]:
                self.append(record)

    # ---- to the database

    async def run(self) -> None:
        """Write to the database, check what other processes spent, delete what is too old; until cancelled."""
        look = clean = -CLEAN
        while True:
            now = time.monotonic()
            try:
                await self.fold()
                if now - look >= LOOK:
                    look = now
                    await self.look()
                if now - clean >= CLEAN:
                    clean = now
                    await self.clean()
            except DatabaseError as error:
                log.warning("cannot write the ledger to the database (%s): calls stay in the journal", error)
                await asyncio.sleep(WAIT)
            except Exception:
                log.exception("cannot write the ledger to the database: internal error in the gateway: calls stay in the journal")
                await asyncio.sleep(WAIT)
            await asyncio.sleep(EVERY)

    async def adopt(self) -> int:
        """Write the journals of processes that have ended to the database; returns how many rows."""
        async with self._folding:
            return await self._adopt()

    async def _adopt(self) -> int:
        rows = await asyncio.to_thread(folding.adopt, self._database, self._folder)
        self._adopted = True
        return rows

    async def fold(self) -> None:
        """Write whatever was appended until now to the database; first, once, the journals of processes that have ended."""
        async with self._folding:
            await self._fold()

    async def _fold(self) -> None:
        if not self._adopted:
            await self._adopt()
        if self._unwritten:
            records = list(self._unwritten)
            self._know(await self._database.write(lambda connection: folding.keep(connection, records)))
            del self._unwritten[: len(records)]
        if (size := self._journal.size) > self._reached:
            await self._fold_all(self._journal.path, size)
            self._reached = size
        if self._reached >= LONGEST:
            old, self._journal, self._reached = self._journal, Journal(self._folder), 0
            await self._fold_all(old.path)
            old.close()
            await self._drop(old.path)

    async def _fold_all(self, path: Path, until: float = math.inf) -> None:
        """Write the first `until` bytes of a journal.

        What is appended meanwhile is left for the next time: row by row, each transaction would cost more than its
        rows.
        """
        while (step := await self._database.write(lambda connection: folding.fold(connection, path))).more:
            self._know(step.spent)
            folding.tell(path, step)
            if step.reached >= until:
                return

    async def _drop(self, path: Path) -> None:
        await self._database.write(lambda connection: folding.drop(connection, path))

    # ---- spending

    async def spent(self, period: Period) -> int:
        """Nano-dollars spent in a period by all processes. What others add from now on is reported to `on_spent_elsewhere`."""
        async with self._folding:
            await self._fold()
            self._seen[period] = await self._database.read(lambda connection: table.spent_in(connection, *period))
            return self._seen[period]

    def unwatch(self, period: Period) -> None:
        """Stop watching a period."""
        self._seen.pop(period, None)

    def _know(self, spent: Mapping[Period, int]) -> None:
        """Count this process's own spending, now that it is in the database, so that it is not taken for that of others."""
        for period, cost in spent.items():
            if period in self._seen:
                self._seen[period] += cost

    async def look(self) -> None:
        """Find what other processes have spent since the last check."""
        if not self._seen:
            return
        async with self._folding:
            recent, since = "SELECT kind, id, began, cost FROM spending WHERE touched >= :since", self._clock() - LOOK - LATE
            rows = await self._database.read(lambda connection: connection.tuples(recent, since=since))
            for kind, id, began, cost in rows:
                period = (Kind(kind), id, began)
                more = cost - self._seen.get(period, cost)
                if more > 0:
                    if self.on_spent_elsewhere is not None:
                        self.on_spent_elsewhere(period, more)
                    self._seen[period] = cost

    # ---- retention

    async def clean(self) -> int:
        """Delete calls and content that are past their retention, in small batches; returns how many calls."""
        now, deleted = self._clock(), 0
        if self._keep_content is not None:
            before_content = now - self._keep_content
            while await self._database.write(lambda connection: forget_content(connection, before_content)):
                pass
        if self._keep is not None:
            before = now - self._keep
            while gone := await self._database.write(lambda connection: forget(connection, before)):
                deleted += gone
        return deleted

    async def close(self) -> None:
        """Write the rest and remove the journal. If the database is unreachable, the journal stays for the next start."""
        try:
            await self.fold()
            while self._journal.size > self._reached:  # appended meanwhile
                await self.fold()
        except DatabaseError as error:
            log.warning("the rest of the ledger stays in its journal until the next start (%s)", error)
            self._journal.close()
            return
        self._journal.close()
        await self._drop(self._journal.path)


def forget(connection: Connection, before: float, most: int = CLEANED) -> int:
    """Delete the oldest calls that began before that time; returns how many. What was spent stays known."""
    old = "SELECT number FROM calls WHERE began < :before ORDER BY began LIMIT :most"
    return connection.execute(f"DELETE FROM calls WHERE number IN ({old})", before=before, most=most)


def forget_content(connection: Connection, before: float, most: int = CLEANED) -> int:
    """Delete the content of the oldest calls that began before that time; returns how many calls had some. The calls stay."""
    old = "SELECT number FROM calls WHERE began < :before AND content IS NOT NULL ORDER BY began LIMIT :most"
    return connection.execute(f"UPDATE calls SET content = NULL WHERE number IN ({old})", before=before, most=most)
