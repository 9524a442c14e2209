"""The limits on all calls together, and on each end user who has no limits of its own.

Each process takes the amounts from its own configuration. The budget periods are stored in the database, so that all
processes count alike and a period continues over restarts.
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
"""Whom a budget covers.

What is counted is a holder of kind `gateway` whose id is this with the length of its periods appended.
"""


def id_of(whose: str, terms: Terms) -> str:
    """The id of the holder for a budget with this period."""
    return whose if terms.budget_duration is None else f"{whose}/{terms.budget_duration}"


def keep(connection: Connection, whose: str, terms: Terms, now: float) -> Holder:
    """The holder with these terms. Its first period began when a process first used one of that length."""
    id = id_of(whose, terms)
    known = _found(connection, id, terms)
    if known is None:
        table.next_revision(connection, table.WHAT)  # concurrent writers wait here
        made = Holder(kind=Kind.GATEWAY, id=id, terms=replace(terms, budget_since=now), created=now, updated=now)
        known = _found(connection, id, terms) or table.put(connection, made)
    return replace(known, terms=replace(terms, budget_since=known.terms.budget_since))


def _found(connection: Connection, id: str, terms: Terms) -> Holder | None:
    found = table.get(connection, Kind.GATEWAY, id)
    return found if found is not None and found.terms.budget_duration == terms.budget_duration else None


def summed(connection: Connection) -> Iterator[tuple[bool, str, Terms]]:
    """The budgets that any process counts: whether for each end user separately, the holder's id, and its terms."""
    for holder in table.listed(connection, Kind.GATEWAY):
        yield holder.id.partition("/")[0] == CUSTOMERS, holder.id, holder.terms
