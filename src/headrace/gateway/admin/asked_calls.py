"""Ledger queries of the admin API: limited to what the caller may see, and grouped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from headrace.calls import EMPTY
from headrace.errors import BadRequestError
from headrace.gateway.admin.context import AdminContext, AdminRequest
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Kind
from headrace.gateway.keys.tokens import PREFIX, hash_of
from headrace.gateway.ledger.folding import organization_of, terms_of
from headrace.gateway.ledger.reading import DAY, Condition, Query, between, day_of, sums, used_in
from headrace.gateway.records import Outcome
from headrace.limits.limit import NANO

Row = Mapping[str, Any]


class Calls:
    """The ledger queries of the admin API's handlers."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    @property
    def day(self) -> str:
        """SQL for the UTC day of a call, named `day`."""
        return f"{day_of('began', self._context.database.sqlite)} AS day"

    async def rows(self, chosen: Query) -> list[Row]:
        """The result of a query, including all calls recorded so far."""
        await self._context.ledger.fold()
        rows: Sequence[Row] = await self._context.database.read(chosen.rows)
        return list(rows)

    async def scalar(self, chosen: Query) -> int:
        """The single number that a query returns, 0 for null."""
        await self._context.ledger.fold()
        return int(await self._context.database.read(chosen.scalar) or 0)

    def used(self, name: str) -> str:
        """SQL for a call's usage of one class."""
        return used_in(name, self._context.database.sqlite)

    async def grouped(self, by: Sequence[str], where: Sequence[Condition], more: Mapping[str, str] = EMPTY) -> list[Row]:
        """Rows as from `ledger.reading.sums`."""
        return await self.rows(sums(by, where, more))

    async def hashes(self, rows: Sequence[Row]) -> dict[str, str]:
        """The token hashes of the rows' keys, by key id."""
        ids = {row["key"] for row in rows if row["key"]}
        return await self._context.database.read(lambda connection: table.hashes(connection, ids)) if ids else {}

    async def by_organization(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with `whose` changed from a user to the current organization of the call's key, team or user; "" for none."""
        kinds = {"key": Kind.KEY, "team": Kind.TEAM, "whose": Kind.USER}
        people = {(kind, row[name]) for row in rows for name, kind in kinds.items() if row[name]}
        terms = await self._context.database.read(lambda connection: terms_of(connection, people))
        return [{**row, "whose": organization_of(row["key"], row["team"], row["whose"], terms)} for row in rows]

    async def where(self, request: AdminRequest, days: int | None = None) -> list[Condition]:
        """The conditions of the query string and of what the caller may see.

        days: the default length if there is no start date.
        """
        said, where = request.query, list[Condition]()
        if not request.sees_all:
            own = "user" if request.caller.user else "key"
            where.append((f'"{own}" = :own', {"own": getattr(request.caller, own)}))
        if named := said.get("api_key"):
            hash = hash_of(named) if named.startswith(PREFIX) else named
            key = await self._context.database.read(lambda connection: table.by_hash(connection, hash))
            where.append(("key = :named", {"named": named if key is None else key.id}))
        where += [(f'"{column}" = :{name}', {name: said[name]}) for name, column in _COLUMNS.items() if said.get(name)]
        where += [
            (f"coalesce(cost, 0) {sign} :{name}", {name: round(amount_of(name, said[name]) * NANO)})
            for name, sign in (("min_spend", ">="), ("max_spend", "<="))
            if said.get(name)
        ]
        if status := said.get("status_filter"):
            if status not in ("success", "failure"):
                raise BadRequestError(f"status_filter must be success or failure, got {status!r}")
            where.append((f"outcome {'=' if status == 'success' else '<>'} :answered", {"answered": Outcome.ANSWERED.value}))
        first = at(said["start_date"], "start_date") if said.get("start_date") else None
        if first is None and days is not None:
            first = self._context.clock() - days * DAY
        return where + between(first, at(said["end_date"], "end_date", end=True) if said.get("end_date") else None)


_COLUMNS: Final = {
    "user_id": "user", "internal_user_id": "user", "team_id": "team", "request_id": "id", "end_user": "customer",
    "customer_id": "customer", "model": "model", "model_id": "deployment", "model_group": "group", "key_alias": "name",
    "session_id": "session",
}  # fmt: skip
"""Query parameters, and the columns that they filter."""


def amount_of(name: str, value: str) -> float:
    """Dollars from a query string. Raises BadRequestError."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not abs(found) < 1e9:
        raise BadRequestError(f"{name} must be a number of dollars, got {value!r}")
    return found


def date_of(day: int) -> str:
    """The date in ISO 8601, from a UTC day number since 1970."""
    return datetime.fromtimestamp(int(day) * DAY, UTC).date().isoformat()


def at(value: str, name: str, *, end: bool = False) -> float:
    """A time in Unix seconds from ISO 8601 or a day like `2026-11-28`; end: the end of that day. Raises BadRequestError."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise BadRequestError(f"{name} must be a day like 2026-11-28, got {value!r}") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return (found + timedelta(days=1) if end and len(value) == len("2026-11-28") else found).timestamp()
