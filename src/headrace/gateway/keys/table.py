"""Holders in the database. Every change gets a revision number, by which other processes notice it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from headrace.errors import NotFoundError
from headrace.gateway.keys.holders import Holder, Kind, of_row
from headrace.gateway.keys.tokens import PREFIX, hash_of
from headrace.runtime.sql_drivers import Connection, several

WHAT: Final = "holders"

Where: TypeAlias = Mapping[str, Any]
"""Columns and the values they must have."""
NOWHERE: Final[Where] = {}


def put(connection: Connection, holder: Holder) -> Holder:
    """Store a holder, new or changed."""
    return _written(connection, holder, next_revision(connection, WHAT))


def change(connection: Connection, kind: Kind, id: str, how: Callable[[Holder], Holder]) -> Holder | None:
    """Change a holder; None if there is none. Concurrent changes wait for each other, and see each other's result."""
    number = next_revision(connection, WHAT)
    holder = get(connection, kind, id)
    return None if holder is None else _written(connection, how(holder), number)


def remove(connection: Connection, holder: Holder, now: float) -> None:
    """Mark it deleted. Its hash is removed at once; its name stays for the ledger, and for other processes to notice."""
    put(connection, msgspec.structs.replace(holder, deleted=True, hash=None, former=None, updated=now))


def _written(connection: Connection, holder: Holder, number: int) -> Holder:
    numbered = msgspec.structs.replace(holder, revision=number)
    row = numbered.row()
    changes = ", ".join([f'"{name}" = :{name}' for name in row])
    if connection.execute(f"UPDATE holders SET {changes} WHERE kind = :kind AND id = :id", **row) == 0:
        connection.insert("holders", list(row), [list(row.values())])
    return numbered


def next_revision(connection: Connection, what: str) -> int:
    """The next revision number. Concurrent changes wait for each other."""
    if connection.execute("UPDATE revisions SET revision = revision + 1 WHERE what = :what", what=what) == 0:
        connection.insert("revisions", ("what", "revision"), [(what, 1)])
    return revision(connection, what)


def revision(connection: Connection, what: str) -> int:
    """The latest revision number."""
    return connection.scalar("SELECT revision FROM revisions WHERE what = :what", what=what) or 0


def changed(connection: Connection, since: int) -> list[tuple[Kind, str, int, bool]]:
    """Kind, id and revision of each holder changed after that revision, and whether it is deleted."""
    found = connection.tuples("SELECT kind, id, revision, deleted FROM holders WHERE revision > :since", since=since)
    return [(Kind(kind), id, number, bool(deleted)) for kind, id, number, deleted in found]


def by_hash(connection: Connection, hash: str) -> Holder | None:
    """The key with this token hash, or with it as its former one."""
    return _one(connection, "(hash = :hash OR former = :hash)", hash=hash)


def get(connection: Connection, kind: Kind, id: str) -> Holder | None:
    """The holder of that kind and id, unless deleted."""
    return _one(connection, "kind = :kind AND id = :id", kind=kind.value, id=id)


def by_name(connection: Connection, kind: Kind, name: str) -> Holder | None:
    """The holder of that kind and name, unless deleted."""
    return _one(connection, "kind = :kind AND name = :name", kind=kind.value, name=name)


def is_taken(connection: Connection, holder: Holder) -> bool:
    """Whether another holder of its kind has its name."""
    same = {"kind": holder.kind.value, "name": holder.name, "id": holder.id}
    return _one(connection, "kind = :kind AND name = :name AND id <> :id", **same) is not None


def named(connection: Connection, name: str) -> Holder:
    """A key by its alias, id, token or token hash. Raises NotFoundError, without repeating what may be a token."""
    if name.startswith(PREFIX):
        found = by_hash(connection, hash_of(name))
    else:
        found = by_name(connection, Kind.KEY, name) or get(connection, Kind.KEY, name) or by_hash(connection, name)
    if found is None:
        raise NotFoundError("there is no such key" if name.startswith(PREFIX) else f"there is no key {name!r}")
    return found


def listed(
    connection: Connection, kind: Kind, where: Where = NOWHERE, *, first: int = 0, most: int | None = None, newest: bool = False
) -> list[Holder]:
    """In order of creation, or newest first."""
    page = {} if most is None else {"most": most, "first": first}
    order = "created DESC, id DESC" if newest else "created, id"
    limit = " LIMIT :most OFFSET :first" if page else ""
    rows = connection.rows(f"SELECT * FROM holders {_where(where)} ORDER BY {order}{limit}", kind=kind.value, **where, **page)
    return [of_row(row) for row in rows]


def having(connection: Connection, kind: Kind, term: Literal["budget_id", "organization"], value: str) -> list[Holder]:
    """The holders of a kind that have this budget or belong to this organization."""
    written = msgspec.json.encode({term: value}).decode()[1:-1]
    said = {"kind": kind.value, "written": f"%{written}%"}  # wildcards in the value can only match more, which the filter below removes
    rows = connection.rows("SELECT * FROM holders WHERE kind = :kind AND NOT deleted AND terms LIKE :written", **said)
    return [holder for holder in map(of_row, rows) if getattr(holder.terms, term) == value]


def count(connection: Connection, kind: Kind, where: Where = NOWHERE) -> int:
    """How many holders of a kind match."""
    return connection.scalar(f"SELECT count(*) FROM holders {_where(where)}", kind=kind.value, **where) or 0


def counts(connection: Connection, kind: Kind, column: Literal["team", "user"]) -> dict[str, int]:
    """The number of holders of a kind, by team or user."""
    asked = f'SELECT "{column}", count(*) FROM holders {_where(NOWHERE)} GROUP BY "{column}"'
    return dict(connection.tuples(asked, kind=kind.value))


def _where(where: Where) -> str:
    """A WHERE clause for the holders of a kind that exist and have these values."""
    return " AND ".join(["WHERE kind = :kind AND NOT deleted", *[f'"{name}" = :{name}' for name in where]])


def spent(connection: Connection, holder: Holder, now: float) -> int:
    """Nano-dollars in the current period of its budget, or ever if it has no period."""
    began = holder.terms.period_at(now)[0]
    return spent_in(connection, holder.kind, holder.id, began)


def spent_in(connection: Connection, kind: Kind, id: str, began: float) -> int:
    """Nano-dollars in the period that began then."""
    asked = "SELECT cost FROM spending WHERE kind = :kind AND id = :id AND began = :began"
    return connection.scalar(asked, kind=kind.value, id=id, began=began) or 0


def hashes(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The hash of each of these keys that still has one."""
    marks, given = several("id", ids)
    found = connection.tuples(f"SELECT id, hash FROM holders WHERE kind = :kind AND id IN {marks}", kind=Kind.KEY.value, **given)
    return {id: hash for id, hash in found if hash}


def sealing(connection: Connection) -> str:
    """The secret that seals are made with."""
    value: str = connection.scalar("SELECT value FROM secrets WHERE name = 'seal'")
    return value


def forget_deleted(connection: Connection, before: float) -> None:
    """Delete the rows of holders that were deleted long enough ago for every process to know."""
    connection.execute("DELETE FROM holders WHERE deleted AND updated < :before", before=before)


def _one(connection: Connection, where: str, **given: Any) -> Holder | None:
    rows = connection.rows(f"SELECT * FROM holders WHERE NOT deleted AND {where}", **given)
    return of_row(rows[0]) if rows else None
