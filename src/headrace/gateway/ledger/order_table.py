"""Batches and background responses waiting to be billed, in the database. Safe for several processes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.gateway.ledger import folding
from headrace.gateway.orders import Order
from headrace.gateway.records import Record
from headrace.runtime.sql_drivers import Connection

MOST: Final = 20
"""Most orders claimed in one round."""
_SAME: Final = "deployment = :deployment AND id = :id"
_COLUMNS: Final = Order.__struct_fields__


def add(connection: Connection, order: Order, look: float) -> None:
    """Register an order for billing. look: when it is polled first, in Unix seconds."""
    row = {name: getattr(order, name) for name in _COLUMNS} | {"tags": msgspec.json.encode(order.tags).decode()}
    columns = [*row, "look", "billed"]
    connection.insert("batches", columns, [[*row.values(), look, False]], "ON CONFLICT (deployment, id) DO NOTHING")


def hasten(connection: Connection, deployment: str, id: str, now: float) -> bool:
    """Poll a batch next, since it was seen to be done. False if it is billed already or unknown."""
    waits = f"UPDATE batches SET look = :now WHERE {_SAME} AND NOT billed"
    return connection.execute(waits, now=now, deployment=deployment, id=id) > 0


def is_there(connection: Connection, deployment: str, id: str) -> bool:
    """Whether it is registered for billing."""
    return bool(connection.scalar(f"SELECT count(*) FROM batches WHERE {_SAME}", deployment=deployment, id=id))


def any_due(connection: Connection, now: float) -> bool:
    """Whether any is due to be polled."""
    return bool(connection.scalar("SELECT count(*) FROM batches WHERE NOT billed AND look <= :now", now=now))


def claim(connection: Connection, now: float, until: float) -> list[Order]:
    """Claim the batches that are due, for this process alone until then."""
    due = connection.rows("SELECT * FROM batches WHERE NOT billed AND look <= :now ORDER BY look LIMIT :most", now=now, most=MOST)
    mine = "UPDATE batches SET look = :until WHERE NOT billed AND look = :look AND " + _SAME
    return [_of_row(row) for row in due if connection.execute(mine, until=until, look=row["look"], **_key(row))]


def put_off(connection: Connection, order: Order, until: float, look: float) -> None:
    """Poll it again at `look`. until: the end of its claim; if it was hastened since, that stays."""
    mine = f"UPDATE batches SET look = :look WHERE look = :until AND {_SAME}"
    connection.execute(mine, look=look, until=until, deployment=order.deployment, id=order.id)


def bill(connection: Connection, order: Order, records: Sequence[Record]) -> bool:
    """Write its records to the ledger and mark it billed. False if another process has billed it.

    It is one transaction, so that it is billed once even if the process is killed.
    """
    done = f"UPDATE batches SET billed = :billed WHERE {_SAME} AND NOT billed"
    if connection.execute(done, billed=True, deployment=order.deployment, id=order.id) == 0:
        return False
    folding.keep(connection, records)
    return True


def _key(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"deployment": row["deployment"], "id": row["id"]}


def _of_row(row: Mapping[str, Any]) -> Order:
    said = {name: row[name] for name in _COLUMNS}
    return Order(**{**said, "tags": tuple(msgspec.json.decode(row["tags"]))})
