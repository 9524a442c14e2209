"""Queries of the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

from headrace.calls import EMPTY
from headrace.runtime.sql_drivers import Connection

DAY: Final = 86_400

Condition: TypeAlias = tuple[str, dict[str, Any]]
"""A condition in SQL, and its parameters by name."""


class Query(NamedTuple):
    """A statement with its parameters."""

    sql: str
    given: dict[str, Any]

    def rows(self, connection: Connection) -> list[dict[str, Any]]:
        return connection.rows(self.sql, **self.given)

    def scalar(self, connection: Connection) -> Any:
        return connection.scalar(self.sql, **self.given)


def query(what: str, where: Sequence[Condition], more: str = "", **given: Any) -> Query:
    """Selects the calls that meet all conditions. what: the columns. more: SQL after the conditions."""
    conditions = " AND ".join([sql for sql, _ in where]) or "TRUE"
    for _, said in where:
        given |= said
    return Query(f"SELECT {what} FROM calls WHERE {conditions} {more}", given)


def day_of(moment: str, sqlite: bool) -> str:
    """SQL for the UTC day number since 1970.

    SQLite's CAST truncates where PostgreSQL's rounds, and not every SQLite has floor().
    """
    days = f"{moment} / {DAY}.0"
    return f"CAST({days if sqlite else f'floor({days})'} AS INTEGER)"


def used_in(name: str, sqlite: bool) -> str:
    """SQL for a call's usage of one class, 0 if there is none."""
    found = f"json_extract(usage, '$.{name}')" if sqlite else f"CAST(CAST(usage AS json)->>'{name}' AS BIGINT)"
    return f"coalesce({found}, 0)"


def sums(by: Sequence[str], where: Sequence[Condition], more: Mapping[str, str] = EMPTY) -> Query:
    """`calls`, `cost` (nano-dollars), `input`, `output` and `tokens` of each group.

    by: columns, or `expression AS name`. more: integer expressions to add up, by the names of their sums.
    """
    # PostgreSQL's sum of integers is a decimal.
    added = {"cost": "cost", "input": "input", "output": "output", "tokens": "input + output", **more}
    told = [f"CAST(coalesce(sum({what}), 0) AS BIGINT) AS {name}" for name, what in added.items()]
    groups = ", ".join([str(number + 1) for number in range(len(by))])
    return query(", ".join([*by, "count(*) AS calls", *told]), where, f"GROUP BY {groups}")


def between(since: float | None, until: float | None) -> list[Condition]:
    """Calls that began at `since` or later and before `until`, both in Unix seconds."""
    found: list[Condition] = [] if since is None else [("began >= :since", {"since": since})]
    return found if until is None else [*found, ("began < :until", {"until": until})]


def during(first: str, last: str, provider: str | None = None) -> list[Condition]:
    """Calls of the UTC days from `first` to `last`, to one provider or to all."""
    ends = [datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() for day in (first, last)]
    found = between(ends[0], ends[1] + DAY)
    return found if provider is None else [*found, ("provider = :provider", {"provider": provider})]
