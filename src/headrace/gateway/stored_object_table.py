"""Ownership of objects stored by providers, in the database. Written only when an object is created."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.gateway.ledger import order_table
from headrace.gateway.ledger.batch_bills import SOONEST
from headrace.gateway.orders import Order
from headrace.gateway.stored_objects import ObjectRef, StoredObject
from headrace.runtime.sql import Database
from headrace.runtime.sql_drivers import Connection, DatabaseError, several

log: Final = logging.getLogger("headrace.gateway")

EVERY: Final = 3600.0
"""Seconds between two clean-ups."""
LONGEST: Final[Mapping[str, float]] = {"interactions": 60 * 86_400.0}
"""Seconds that a provider keeps things of a kind, at most. Google keeps interactions for 55 days
(ai.google.dev/gemini-api/docs/interactions, from memory)."""
PAID: Final = "paid"
"""The kind of a response's payment; no provider has a collection of that name."""
_SAME: Final = "deployment = :deployment AND kind = :kind AND id = :id"


class StoredObjectTable:
    """The gateway's `StoredObjects`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Delete what no provider keeps any longer, until cancelled."""
        while True:
            try:
                await self.clean(time.time())
            except DatabaseError as error:
                log.warning("old owners are not deleted: the database does not answer (%s)", error)
            await asyncio.sleep(EVERY)

    async def clean(self, now: float) -> None:
        def work(connection: Connection) -> None:
            for kind, seconds in LONGEST.items():
                connection.execute("DELETE FROM kept WHERE kind = :kind AND created < :before", kind=kind, before=now - seconds)

        await self._database.write(work)

    async def note(self, one: StoredObject) -> None:
        row = {
            **_key(one.deployment, one.thing),
            "owner": one.owner,
            "created": one.created,
            "said": msgspec.json.encode(one.said).decode(),
        }

        def work(connection: Connection) -> None:
            connection.execute(f"DELETE FROM kept WHERE {_SAME}", **_key(one.deployment, one.thing))
            connection.insert("kept", list(row), [list(row.values())])

        try:
            await self._database.write(work)
        except DatabaseError as error:  # the response with the new id must reach the caller all the same
            log.error("the owner of %s %s could not be recorded: the database does not respond (%s)", one.thing.kind, one.thing.id, error)

    async def find(self, things: Sequence[ObjectRef]) -> list[StoredObject]:
        marks, given = several("id", {thing.id for thing in things})
        wanted = frozenset(things)
        return [one for one in await self._read(f"id IN {marks}", **given) if one.thing in wanted] if things else []

    async def owned(self, owner: str, kind: str) -> list[StoredObject]:
        return await self._read("owner = :owner AND kind = :kind", owner=owner, kind=kind)

    async def forget(self, deployment: str, thing: ObjectRef) -> None:
        await self._database.write(lambda connection: connection.execute(f"DELETE FROM kept WHERE {_SAME}", **_key(deployment, thing)))

    async def claim(self, deployment: str, response: str) -> bool:
        new = {**_key(deployment, ObjectRef(PAID, response)), "created": time.time()}

        def work(connection: Connection) -> bool:
            if order_table.is_there(connection, deployment, response):
                return False  # it is billed when it is done, whoever requests it
            asked = (
                "INSERT INTO kept (deployment, kind, id, owner, created, said) VALUES (:deployment, :kind, :id, '', :created, '{}') "
                "ON CONFLICT (deployment, kind, id) DO NOTHING"
            )
            return connection.execute(asked, **new) > 0

        try:
            return await self._database.write(work)
        except DatabaseError as error:  # as above
            log.error("response %s may be charged twice: the database does not respond (%s)", response, error)
            return True

    async def release(self, deployment: str, response: str) -> None:
        try:
            await self.forget(deployment, ObjectRef(PAID, response))
        except DatabaseError as error:  # as above
            log.error("response %s may not be charged: the database does not respond (%s)", response, error)

    async def ordered(self, order: Order) -> None:
        try:
            await self._database.write(lambda connection: order_table.add(connection, order, order.began + SOONEST))
        except DatabaseError as error:  # as above
            log.error("%s of deployment %s will not be billed: the database does not respond (%s)", order.id, order.deployment, error)

    async def done(self, deployment: str, batch: str) -> bool:
        now = time.time()
        return await self._database.write(lambda connection: order_table.hasten(connection, deployment, batch, now))

    async def _read(self, which: str, **given: Any) -> list[StoredObject]:
        asked = f"SELECT * FROM kept WHERE {which} ORDER BY created DESC, id"
        return await self._database.read(lambda connection: [_of_row(row) for row in connection.rows(asked, **given)])


def _key(deployment: str, thing: ObjectRef) -> dict[str, str]:
    return {"deployment": deployment, "kind": thing.kind, "id": thing.id}


def _of_row(row: Mapping[str, Any]) -> StoredObject:
    said = msgspec.json.decode(row["said"])
    return StoredObject(ObjectRef(row["kind"], row["id"]), row["deployment"], row["owner"], row["created"], said)
