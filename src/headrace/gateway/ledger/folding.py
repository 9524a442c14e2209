"""Journals into the database.

Rows and the position reached are written in one transaction, so no row is lost or written twice.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from headrace.gateway.callers import is_named
from headrace.gateway.keys import global_limits
from headrace.gateway.keys.holders import Kind, Terms, budget_id, member_id
from headrace.gateway.ledger import rows
from headrace.gateway.ledger.journal import lines, orphans, unframed
from headrace.gateway.records import Record
from headrace.runtime.sql import Database
from headrace.runtime.sql_drivers import Connection, several

Period = tuple[Kind, str, float]
"""A holder with a budget, and the start of the budget's period."""

log: Final = logging.getLogger("headrace.gateway")

BATCH: Final = 2 << 20
"""Bytes of a journal in one transaction."""
SLICE: Final = 64 << 10
"""Bytes of a journal in memory at a time: as records and rows they take seven times as much."""
_decode_terms: Final = msgspec.json.Decoder(Terms).decode


class Folded(Struct, frozen=True):
    """The result of one step."""

    more: bool
    """Whether there was anything to write."""
    rows: int = 0
    broken: int = 0
    """Incomplete lines."""
    spent: Mapping[Period, int] = {}
    """Nano-dollars."""
    reached: int = 0
    """Bytes of the journal that are in the database by now."""


def fold(connection: Connection, path: Path) -> Folded:
    """Write the next lines of a journal to the database."""
    reached = connection.scalar("SELECT position FROM journals WHERE name = :name", name=path.name) or 0
    count, broken, spent, position = 0, 0, Counter[Period](), reached
    while position - reached < BATCH:
        found, after = lines(path, position, SLICE)
        if after == position:
            break
        position = after
        records = [record for record in map(unframed, found) if record is not None]
        count, broken = count + len(records), broken + len(found) - len(records)
        spent.update(keep(connection, records))
    if position == reached:
        return Folded(False)
    connection.insert(
        "journals", ("name", "position"), [(path.name, position)], "ON CONFLICT (name) DO UPDATE SET position = excluded.position"
    )
    return Folded(True, count, broken, spent, position)


def adopt(database: Database, folder: Path) -> int:
    """Write the journals of processes that have ended to the database; returns how many rows."""
    count = 0
    for path in orphans(folder):
        while (step := _step(database, path)).more:
            count += step.rows
            tell(path, step)
        with database.transaction() as connection:
            drop(connection, path)
    return count


def _step(database: Database, path: Path) -> Folded:
    with database.transaction() as connection:
        return fold(connection, path)


def tell(path: Path, step: Folded) -> None:
    """Log what was wrong with a journal."""
    if step.broken:
        log.warning("%s: skipped %d incomplete lines, of calls whose response was never completed", path.name, step.broken)


def drop(connection: Connection, path: Path) -> None:
    """Delete a finished journal. The file goes first: a file without its position in the table would be read again."""
    path.unlink(missing_ok=True)
    connection.execute("DELETE FROM journals WHERE name = :name", name=path.name)


def keep(connection: Connection, records: Sequence[Record]) -> Mapping[Period, int]:
    """Write records to the ledger and add up their cost by holder."""
    if not records:
        return {}
    rows.insert(connection, records)
    spent = _spent(connection, records)
    now = time.time()
    # Sorted, so that two processes lock rows in the same order and cannot deadlock.
    sums = [
        (kind.value, id, began, spent[kind, id, began], now)
        for kind, id, began in sorted(spent, key=lambda period: (period[0].value, period[1], period[2]))
    ]
    if sums:
        connection.insert("spending", ("kind", "id", "began", "cost", "touched"), sums, _ADDED)
    return spent


_ADDED: Final = (
    "ON CONFLICT (kind, id, began) DO UPDATE SET cost = spending.cost + excluded.cost, touched = excluded.touched"
)  # fmt: skip


_Caller = tuple[str, str, str, str, tuple[str, ...]]
"""Key, team, user, end user and tags of a call."""
_KINDS: Final = (Kind.KEY, Kind.TEAM, Kind.USER, Kind.CUSTOMER)
_CALLED: Final = (Kind.CUSTOMER, Kind.TAG)
"""The kinds whose names callers choose, so that there may be no such holder."""


def _holders(caller: _Caller) -> list[tuple[Kind, str]]:
    *people, tags = caller
    found = [(kind, str(id)) for kind, id in zip(_KINDS, people, strict=True) if id]
    return [*found, *[(Kind.TAG, tag) for tag in dict.fromkeys(tags)]] if tags else found


def organization_of(key: str, team: str, user: str, terms: Mapping[tuple[Kind, str], Terms]) -> str:
    """The organization above a key, else above its team, else above its user; "" for none."""
    people = ((Kind.KEY, key), (Kind.TEAM, team), (Kind.USER, user))
    return next((id for holder in people if holder in terms and (id := terms[holder].organization)), "")


def _organization(caller: _Caller, terms: Mapping[tuple[Kind, str], Terms]) -> list[tuple[Kind, str]]:
    key, team, user, _, _ = caller
    id = organization_of(key, team, user, terms)
    return [(Kind.ORGANIZATION, id)] if id else []


def _spent(connection: Connection, records: Sequence[Record]) -> dict[Period, int]:
    """Money by holder and period: the period in which the call began, whose budget admitted it."""
    paid: dict[_Caller, list[Record]] = defaultdict(list)
    for record in records:
        if record.cost:
            paid[record.key, record.team, record.user, record.customer, record.tags].append(record)
    terms = terms_of(connection, {holder for caller in paid for holder in _holders(caller)})
    above = {caller: _organization(caller, terms) for caller in paid}
    terms |= terms_of(connection, {holder for holders in above.values() for holder in holders})
    spent: dict[Period, int] = defaultdict(int)
    for each, id, summed in global_limits.summed(connection) if paid else ():
        for (_, _, _, customer, _), theirs in paid.items():
            whose = (Kind.CUSTOMER, customer) if each else (Kind.GATEWAY, id)
            for began, cost in _by_period(theirs, summed.period_at).items() if customer or not each else ():
                spent[*whose, began] += cost
    for caller, theirs in paid.items():
        for kind, id in (*_holders(caller), *above[caller]):
            own = terms.get((kind, id))
            if own is None and kind in _CALLED:
                continue
            if own is None or not (own.budget_duration or own.budget_since):
                spent[kind, id, 0.0] += sum([record.cost or 0 for record in theirs])
            else:
                for began, cost in _by_period(theirs, own.period_at).items():
                    spent[kind, id, began] += cost
            if kind is Kind.TEAM and own is not None and caller[2] and (within := own.within(caller[2]).allowance) is not None:
                for began, cost in _by_period(theirs, within.period_at).items():
                    spent[Kind.MEMBER, member_id(id, caller[2]), began] += cost
            for name, allowance in own.model_budgets.items() if own is not None else ():
                named = [record for record in theirs if is_named(name, record.model, record.group)]
                for began, cost in _by_period(named, allowance.period_at).items():
                    spent[Kind.MODEL, budget_id(kind, id, name), began] += cost
    return dict(spent)


def _by_period(records: Iterable[Record], period_at: Callable[[float], tuple[float, float]]) -> dict[float, int]:
    """Money by start of the period. Consecutive calls are mostly in the same one, so it is computed again only when it ends."""
    spent: dict[float, int] = defaultdict(int)
    began, ends = math.inf, -math.inf
    for record in records:
        if not began <= record.began < ends:
            began, ends = period_at(record.began)
        spent[began] += record.cost or 0
    return spent


def terms_of(connection: Connection, whose: Iterable[tuple[Kind, str]]) -> dict[tuple[Kind, str], Terms]:
    """The terms of those that exist or existed."""
    ids = defaultdict(set)
    for kind, id in whose:
        ids[kind].add(id)
    found = {}
    for kind, those in ids.items():
        marks, given = several("id", sorted(those))
        held = connection.tuples(f"SELECT id, terms FROM holders WHERE kind = :kind AND id IN {marks}", kind=kind.value, **given)
        found.update({(kind, id): _decode_terms(terms) for id, terms in held})
    return found
