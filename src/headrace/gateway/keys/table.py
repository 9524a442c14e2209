"""Holders in the database. Every change has a number, so that other processes see that there is something new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import Connection, Select, delete, func, insert, or_, select, update

from headrace.errors import NotFoundError
from headrace.gateway.keys.holders import Holder, Kind, of_row
from headrace.gateway.keys.tokens import PREFIX, hash_of
from headrace.runtime.sql_tables import holders, revisions, secrets, spending

WHAT: Final = "holders"

Where: TypeAlias = Mapping[str, Any]
"""Columns and what they must be."""
NOWHERE: Final[Where] = {}


def put(connection: Connection, holder: Holder) -> Holder:
    """Keep a holder, new or changed."""
    return _written(connection, holder, next_revision(connection, WHAT))


def change(connection: Connection, kind: Kind, id: str, how: Callable[[Holder], Holder]) -> Holder | None:
    """Change a holder; None where there is none. Who changes one at the same time waits, and sees what was changed."""
    number = next_revision(connection, WHAT)
    holder = get(connection, kind, id)
    return None if holder is None else _written(connection, how(holder), number)


def remove(connection: Connection, holder: Holder, now: float) -> None:
    """Its hash goes at once. Its name stays for the ledger, and so that other processes learn of it."""
    put(connection, msgspec.structs.replace(holder, deleted=True, hash=None, former=None, updated=now))


def _written(connection: Connection, holder: Holder, number: int) -> Holder:
    numbered = msgspec.structs.replace(holder, revision=number)
    same = (holders.c.kind == holder.kind.value) & (holders.c.id == holder.id)
    row = numbered.row()
    if connection.execute(update(holders).where(same).values(row)).rowcount == 0:
        connection.execute(insert(holders).values(row))
    return numbered


def next_revision(connection: Connection, what: str) -> int:
    """One after the other: who changes something waits for whoever was before."""
    up = update(revisions).where(revisions.c.what == what).values(revision=revisions.c.revision + 1)
    if connection.execute(up).rowcount == 0:
        connection.execute(insert(revisions).values(what=what, revision=1))
    return revision(connection, what)


def revision(connection: Connection, what: str) -> int:
    return connection.scalar(select(revisions.c.revision).where(revisions.c.what == what)) or 0


def changed(connection: Connection, since: int) -> list[tuple[Kind, str, int]]:
    """Kind, id and revision of whoever changed after that revision."""
    found = connection.execute(select(holders.c.kind, holders.c.id, holders.c.revision).where(holders.c.revision > since))
    return [(Kind(kind), id, number) for kind, id, number in found]


def by_hash(connection: Connection, hash: str) -> Holder | None:
    return _one(connection, _all().where(or_(holders.c.hash == hash, holders.c.former == hash)))


def get(connection: Connection, kind: Kind, id: str) -> Holder | None:
    return _one(connection, _all().where(holders.c.kind == kind.value, holders.c.id == id))


def by_name(connection: Connection, kind: Kind, name: str) -> Holder | None:
    return _one(connection, _all().where(holders.c.kind == kind.value, holders.c.name == name))


def is_taken(connection: Connection, holder: Holder) -> bool:
    """Whether another of its kind has its name."""
    same = (holders.c.kind == holder.kind.value, holders.c.name == holder.name, holders.c.id != holder.id)
    return _one(connection, _all().where(*same)) is not None


def named(connection: Connection, name: str) -> Holder:
    """A key by its alias, its id, its token or that token's hash. Raises NotFoundError, which repeats nothing that may be a token."""
    if name.startswith(PREFIX):
        found = by_hash(connection, hash_of(name))
    else:
        found = by_name(connection, Kind.KEY, name) or get(connection, Kind.KEY, name) or by_hash(connection, name)
    if found is None:
        raise NotFoundError("there is no such key" if name.startswith(PREFIX) else f"there is no key {name!r}")
    return found


def listed(connection: Connection, kind: Kind, where: Where = NOWHERE, *, first: int = 0, most: int | None = None) -> list[Holder]:
    """In the order of their making."""
    chosen = _all().where(holders.c.kind == kind.value, *[holders.c[name] == value for name, value in where.items()])
    rows = connection.execute(chosen.order_by(holders.c.created, holders.c.id).offset(first).limit(most))
    return [of_row(dict(row)) for row in rows.mappings()]


def count(connection: Connection, kind: Kind, where: Where = NOWHERE) -> int:
    chosen = [holders.c.kind == kind.value, ~holders.c.deleted, *[holders.c[name] == value for name, value in where.items()]]
    return connection.scalar(select(func.count()).select_from(holders).where(*chosen)) or 0


def spent(connection: Connection, holder: Holder, now: float) -> int:
    """Nano-dollars in the present period of its budget, ever where it has none."""
    began = holder.terms.period_at(now)[0]
    whose = (spending.c.kind == holder.kind.value, spending.c.id == holder.id, spending.c.began == began)
    return connection.scalar(select(spending.c.cost).where(*whose)) or 0


def hashes(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The hash of each key that still has one."""
    found = connection.execute(select(holders.c.id, holders.c.hash).where(holders.c.kind == Kind.KEY.value, holders.c.id.in_(list(ids))))
    return {id: hash for id, hash in found if hash}


def sealing(connection: Connection) -> str:
    """The secret of which seals are made."""
    value: str = connection.execute(select(secrets.c.value).where(secrets.c.name == "seal")).scalar_one()
    return value


def forget_deleted(connection: Connection, before: float) -> None:
    """Drop what was deleted long enough ago for everybody to know."""
    connection.execute(delete(holders).where(holders.c.deleted, holders.c.updated < before))


def _all() -> Select[Any]:
    return select(holders).where(~holders.c.deleted)


def _one(connection: Connection, chosen: Select[Any]) -> Holder | None:
    row = connection.execute(chosen).mappings().first()
    return None if row is None else of_row(dict(row))
