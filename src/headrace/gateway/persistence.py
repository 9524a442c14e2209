"""Keys and ledger in a database, for the lifetime of a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from headrace.api import Router
from headrace.gateway.admin.api import AdminApi
from headrace.gateway.default_terms import NOTHING_SAID, DefaultTerms
from headrace.gateway.general import DATABASE
from headrace.gateway.keys.identity import Identities
from headrace.gateway.keys.keyring import Keyring
from headrace.gateway.ledger.batch_bills import Batches
from headrace.gateway.ledger.writer import LedgerWriter
from headrace.gateway.stored_object_table import StoredObjectTable
from headrace.runtime.sql import Database

STATE: Final = "HEADRACE_STATE"
FOLDER: Final = ".headrace"


class Where(Struct, frozen=True):
    """Where a gateway stores its state."""

    database: str
    """A database URL; may contain a password."""
    folder: Path
    """Holds the journals, and the SQLite database if no other is configured."""
    keep: float | None = None
    """Seconds for which calls are kept; None to keep them forever."""
    keep_content: float | None = None
    """Seconds for which their content is kept; None for as long as the call."""

    def __repr__(self) -> str:
        return f"<Where in {self.folder}>"


def where(environment: Mapping[str, str], database: str = "", keep: float | None = None, keep_content: float | None = None) -> Where:
    """The configured database, else the environment's `DATABASE_URL`, else an SQLite file in the state folder.

    The state folder is `HEADRACE_STATE`, else `.headrace` in the working directory.
    """
    folder = Path(environment.get(STATE) or FOLDER).expanduser()
    return Where(database or environment.get(DATABASE) or f"sqlite:///{folder / 'headrace.db'}", folder, keep, keep_content)


class PersistentState:
    """The gateway's `State`. Raises ConfigurationError if the database or the journal cannot be opened."""

    def __init__(self, router: Router, at: Where, identities: Identities | None = None, default_terms: DefaultTerms = NOTHING_SAID) -> None:
        """identities: issuers of tokens accepted besides the gateway's own keys."""
        self._default_terms = default_terms
        self._database = Database(at.database)
        self.ledger = LedgerWriter(self._database, at.folder / "journal", keep=at.keep, keep_content=at.keep_content)
        self.stored_objects = StoredObjectTable(self._database)
        self.keys = Keyring(self._database, router, self.ledger.spent, identities=identities, over=self.ledger.unwatch)
        self.ledger.on_spent_elsewhere = self.keys.spent_elsewhere
        self.admin = AdminApi(self._database, router, self.keys, self.ledger)
        self._batches = Batches(self._database, router)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the background tasks: write the ledger, and follow changes.

        The journals of earlier processes come first; calls under a budget wait until those are written.
        """
        await self.admin.start()
        await self.use(self._default_terms)
        running = (self.ledger.run(), self.keys.watch(), self.admin.watch(), self._batches.run(), self.stored_objects.run())
        self._tasks = [asyncio.create_task(work) for work in running]

    async def use(self, default_terms: DefaultTerms) -> None:
        self.admin.use(default_terms)
        await self.keys.stand(default_terms.together, default_terms.customer)

    async def stop(self) -> None:
        """When this returns, everything recorded is in the database."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.ledger.close()
        self._database.close()
