"""Questions to the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, cast, func, select

from headrace.runtime.sql_tables import calls

DAY: Final = 86_400


def day_of(moment: ColumnElement[float], sqlite: bool) -> ColumnElement[int]:
    """The number of the UTC day since 1970. SQLite cuts off where others round, and has no floor everywhere."""
    days = moment / float(DAY)
    return cast(days if sqlite else func.floor(days), Integer)


def sums(by: Sequence[Any], where: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """`calls`, `cost` (nano-dollars), `input`, `output` and `tokens` of each group."""
    # PostgreSQL's sum of whole numbers is a decimal one.
    cost, input, output = (cast(func.coalesce(func.sum(calls.c[name]), 0), BigInteger) for name in ("cost", "input", "output"))
    return (
        select(
            *by,
            func.count().label("calls"),
            cost.label("cost"),
            input.label("input"),
            output.label("output"),
            (input + output).label("tokens"),
        )
        .where(*where)
        .group_by(*by)
    )


def between(since: float | None, until: float | None) -> list[ColumnElement[bool]]:
    """Calls that began at `since` or later, and before `until`; seconds since 1970."""
    found = [] if since is None else [calls.c.began >= since]
    return found if until is None else [*found, calls.c.began < until]


def during(first: str, last: str, provider: str | None = None) -> list[ColumnElement[bool]]:
    """Calls of the UTC days from the first to the last, to one provider or to all."""
    ends = [datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() for day in (first, last)]
    found = between(ends[0], ends[1] + DAY)
    return found if provider is None else [*found, calls.c.provider == provider]
