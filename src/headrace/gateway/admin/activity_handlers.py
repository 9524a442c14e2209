"""Daily activity in the admin API: calls and spending of users, teams, end users and tags, in LiteLLM's format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.errors import BadRequestError
from headrace.gateway.admin.asked_calls import Calls, Row, date_of
from headrace.gateway.admin.context import AdminContext, AdminRequest, Answering, Route, number_of
from headrace.gateway.admin.forms import dollars
from headrace.gateway.ledger.reading import Condition
from headrace.gateway.records import Outcome
from headrace.runtime.sql_drivers import several

MOST: Final = 1_000
"""Days per page."""

_ORGANIZATION: Final = "organization"
"""Not a column: the organization is that of the key, team or user as of now."""

_ROOMS: Final[Mapping[str, tuple[str, str]]] = {
    "user": ("user", "user_id"), "team": ("team", "team_ids"), "customer": ("customer", "end_user_ids"), "tag": ("tags", "tags"),
    "organization": (_ORGANIZATION, "organization_ids"),
}  # fmt: skip
"""By resource: the column that identifies it, and the query parameter that selects some of them."""


_ASKED: Final = """coalesce(nullif("group", ''), model) AS asked"""
"""A call's model group, or the requested model if it matched no group."""


class _Sum(Struct, eq=False):
    """Totals of a number of calls."""

    cost: int = 0
    """Nano-dollars."""
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    calls: int = 0
    answered: int = 0
    milliseconds: int = 0

    def add(self, row: Row) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + row[name])

    def told(self) -> dict[str, Any]:
        return {
            "spend": dollars(self.cost),
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "cache_read_input_tokens": self.cached,
            "cache_creation_input_tokens": self.cache_write,
            "total_tokens": self.input + self.output,
            "api_requests": self.calls,
            "successful_requests": self.answered,
            "failed_requests": self.calls - self.answered,
            "total_response_time_ms": self.milliseconds,
        }


class ActivityHandlers:
    """Handlers of daily activity."""

    def __init__(self, context: AdminContext) -> None:
        self._calls = Calls(context)

    def routes(self) -> dict[str, Route]:
        return {
            **{f"/{room}/daily/activity": Route(("GET",), "anyone", self._daily(*_ROOMS[room])) for room in _ROOMS},
            "/global/activity/model": Route(("GET",), "look", self.models),
        }

    def _daily(self, column: str, named: str) -> Answering:
        async def daily(request: AdminRequest) -> Any:
            """Activity per day from `start_date` to `end_date`: totals, and breakdowns by model, provider, key and entity."""
            return await self._days(request, column, named)

        return daily

    async def _days(self, request: AdminRequest, column: str, named: str) -> Any:
        for name in ("start_date", "end_date"):
            if not request.query.get(name):
                raise BadRequestError(f"{name} must be a day like 2026-11-28")
        page, size = number_of(request.query, "page", 1), min(MOST, number_of(request.query, "page_size", 50))
        rows = await self._rows(request, column, named)
        keys = await self._calls.hashes(rows)
        days: dict[int, list[Row]] = {}
        for row in rows:
            days.setdefault(row["day"], []).append(row)
        last = sorted(days, reverse=True)
        pages = max(1, math.ceil(len(last) / size))
        return {
            "results": [
                {"date": date_of(day), "metrics": _sum(days[day]).told(), "breakdown": _parts(days[day], column, keys)}
                for day in last[(page - 1) * size : page * size]
            ],
            "metadata": {
                **{f"total_{name.removeprefix('total_')}": value for name, value in _sum(rows).told().items()},
                "page": page, "total_pages": pages, "has_more": page < pages,
            },
        }  # fmt: skip

    async def _rows(self, request: AdminRequest, column: str, named: str) -> list[Row]:
        where = await self._calls.where(request)
        names = [name for name in request.query.get(named, "").split(",") if name]
        if column == "tags":
            where.append(("tags <> '[]'", {}))
        elif names and column != _ORGANIZATION:
            where.append(_among(column, names))
        told = "user" if column == _ORGANIZATION else column
        by = [self._calls.day, f'"{told}" AS whose', "key", "name", "team", "served", _ASKED, "provider", "path"]
        more = {
            "answered": f"CASE WHEN outcome = '{Outcome.ANSWERED.value}' THEN 1 ELSE 0 END",
            "milliseconds": "CAST(round((ended - began) * 1000) AS BIGINT)",
            "cached": self._calls.used("cached"),
            "cache_write": f"{self._calls.used('cache_write')} + {self._calls.used('cache_write_hour')}",
        }
        rows = await self._calls.grouped(by, where, more)
        if column == _ORGANIZATION:
            rows = await self._calls.by_organization(rows)
            return [row for row in rows if row["whose"] and (not names or row["whose"] in names)]
        return [row for row in rows if not names or _tags(row) & set(names)] if column == "tags" else rows

    async def models(self, request: AdminRequest) -> Any:
        """Calls and tokens of each model group, per day."""
        rows = await self._calls.grouped([self._calls.day, _ASKED], await self._calls.where(request, days=30))
        groups: dict[str, list[Row]] = {}
        for row in sorted(rows, key=lambda row: row["day"]):
            groups.setdefault(row["asked"], []).append(row)
        return [
            {
                "model": group,
                "daily_data": [{"date": date_of(row["day"]), "api_requests": row["calls"], "total_tokens": row["tokens"]} for row in days],
                "sum_api_requests": sum(row["calls"] for row in days),
                "sum_total_tokens": sum(row["tokens"] for row in days),
            }
            for group, days in sorted(groups.items())
        ]


def _among(column: str, names: list[str]) -> Condition:
    marks, given = several("whose", names)
    return f'"{column}" IN {marks}', given


def _tags(row: Row) -> set[str]:
    return set(msgspec.json.decode(row["whose"], type=list[str]))


def _sum(rows: Iterable[Row]) -> _Sum:
    found = _Sum()
    for row in rows:
        found.add(row)
    return found


_PARTS: Final[Mapping[str, str]] = {"models": "served", "model_groups": "asked", "providers": "provider", "endpoints": "path"}


def _parts(rows: list[Row], column: str, keys: Mapping[str, str]) -> dict[str, Any]:
    whose = _whose_tag if column == "tags" else _whose
    parts = {name: _by(rows, partial(_named, part), keys) for name, part in _PARTS.items()}
    return {**parts, "mcp_servers": {}, "entities": _by(rows, whose, keys), "api_keys": _by_key(rows, keys)}


def _named(part: str, row: Row) -> Iterable[str]:
    return (row[part],)


def _whose(row: Row) -> Iterable[str]:
    return (row["whose"],)


def _whose_tag(row: Row) -> Iterable[str]:
    return _tags(row)


def _by(rows: list[Row], names: Any, keys: Mapping[str, str]) -> dict[str, Any]:
    """The rows grouped by the names that `names` returns for them, each group with its share by key."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        for name in names(row):
            if name:
                found.setdefault(name, []).append(row)
    return {
        name: {"metrics": _sum(own).told(), "metadata": {}, "api_key_breakdown": _by_key(own, keys)} for name, own in sorted(found.items())
    }


def _by_key(rows: list[Row], keys: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["key"]:
            found.setdefault(keys.get(row["key"], row["key"]), []).append(row)
    return {
        hash: {"metrics": _sum(own).told(), "metadata": {"key_alias": own[-1]["name"] or None, "team_id": own[-1]["team"] or None}}
        for hash, own in found.items()
    }
