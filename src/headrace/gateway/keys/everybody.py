"""What all calls together may spend: a holder of its own in the database, so that every process and the ledger know it."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind, Terms
from headrace.runtime.sql_drivers import Connection

ALL: Final = "all"
"""Its id."""


def find(connection: Connection) -> Holder | None:
    return table.get(connection, Kind.GATEWAY, ALL)


def keep(connection: Connection, terms: Terms, now: float) -> bool:
    """Bring the database to what a configuration says; whether anything changed. A period goes on over restarts, and begins anew only
    where its length is another.
    """
    if _same(find(connection), terms):
        return False
    table.next_revision(connection, table.WHAT)  # who does the same at the same time waits
    before = find(connection)
    if _same(before, terms):
        return False
    if terms.budget is None:
        assert before is not None
        table.remove(connection, before, now)
        return True
    same = before is not None and before.terms.budget_duration == terms.budget_duration
    since = before.terms.budget_since if before is not None and same else now
    made = now if before is None else before.created
    held = replace(terms, budget_since=since)
    table.put(connection, Holder(kind=Kind.GATEWAY, id=ALL, name="all calls", terms=held, created=made, updated=now))
    return True


def _same(known: Holder | None, terms: Terms) -> bool:
    had = Terms() if known is None else known.terms
    return (had.budget, had.budget_duration) == (terms.budget, terms.budget_duration)
