"""What holds for all calls together, and for each customer who has no terms of its own.

How much that is, is each process's own configuration to say. In which periods it is summed stands in the database: all processes count
alike, and a period goes on over restarts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind, Terms
from headrace.runtime.sql_drivers import Connection

ALL: Final = "all"
CUSTOMERS: Final = "customers"
"""Of whom it holds; what is summed, with the length of its periods behind it, is a holder of the gateway's kind."""


def id_of(whose: str, terms: Terms) -> str:
    return whose if terms.budget_duration is None else f"{whose}/{terms.budget_duration}"


def keep(connection: Connection, whose: str, terms: Terms, now: float) -> Holder:
    """The holder with these terms. Its first period began when a process first had one of that length."""
    id = id_of(whose, terms)
    known = _found(connection, id, terms)
    if known is None:
        table.next_revision(connection, table.WHAT)  # who does the same at the same time waits
        made = Holder(kind=Kind.GATEWAY, id=id, terms=replace(terms, budget_since=now), created=now, updated=now)
        known = _found(connection, id, terms) or table.put(connection, made)
    return replace(known, terms=replace(terms, budget_since=known.terms.budget_since))


def _found(connection: Connection, id: str, terms: Terms) -> Holder | None:
    found = table.get(connection, Kind.GATEWAY, id)
    return found if found is not None and found.terms.budget_duration == terms.budget_duration else None


def summed(connection: Connection) -> Iterator[tuple[bool, str, Terms]]:
    """What is summed, by whatever process: whether for each customer by itself, as what, and in which periods."""
    for holder in table.listed(connection, Kind.GATEWAY):
        yield holder.id.partition("/")[0] == CUSTOMERS, holder.id, holder.terms
