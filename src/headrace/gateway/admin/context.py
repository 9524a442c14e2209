"""Shared by the handlers of the admin API: the holders' table, spending, and notification of changes."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from headrace.api import Router
from headrace.errors import BadRequestError, HeadraceError
from headrace.errors import Kind as Failing
from headrace.gateway.callers import Caller
from headrace.gateway.default_terms import NOTHING_SAID
from headrace.gateway.keys.holders import Holder, Kind
from headrace.gateway.keys.keyring import Keyring
from headrace.gateway.ledger.writer import LedgerWriter
from headrace.gateway.requests import refusal
from headrace.routing.plan import Deployment
from headrace.runtime.sql import Database
from headrace.runtime.sql_drivers import Connection, several

Need: TypeAlias = Literal["admin", "look", "anyone"]
"""Who may call: administrators; those who may see everything; anyone, limited to what is their own."""


class AdminRequest(Struct, frozen=True, eq=False):
    """A request to the admin API."""

    caller: Caller
    body: Mapping[str, Any]
    query: Mapping[str, str]
    part: str = ""
    """The variable part of the path."""

    @property
    def sees_all(self) -> bool:
        return self.caller.role.sees_all

    @property
    def said(self) -> Mapping[str, Any]:
        """The body, or the query string if there is none."""
        return self.body or self.query


Answering: TypeAlias = Callable[[AdminRequest], Awaitable[Any]]


class Route(Struct, frozen=True, eq=False):
    """A route of the admin API: its methods, who may call it, and its handler."""

    methods: tuple[str, ...]
    need: Need
    answer: Answering


def blocking(answer: Callable[[AdminRequest, bool], Awaitable[Any]]) -> dict[str, Route]:
    """The routes `block` and `unblock` of a resource."""

    def way(blocked: bool) -> Route:
        async def asked(request: AdminRequest) -> Any:
            return await answer(request, blocked)

        return Route(("POST",), "admin", asked)

    return {"block": way(True), "unblock": way(False)}


class AdminContext:
    """What the handlers of the admin API share: database, Router, key cache and ledger."""

    def __init__(
        self, database: Database, router: Router, keys: Keyring, ledger: LedgerWriter, clock: Callable[[], float] = time.time
    ) -> None:
        self.database = database
        self.router = router
        self.keys = keys
        self.ledger = ledger
        self.clock = clock
        self.default_terms = NOTHING_SAID

    async def change(self, work: Callable[[Connection], Holder | None], missing: str) -> Holder:
        """Run `work` in a transaction and drop the holder from this process's cache.

        Raises a refusal with status 404 if `work` returns None.
        """
        holder = await self.database.write(work)
        if holder is None:
            raise not_found(missing)
        self.keys.forget(holder.kind, holder.id)
        return holder

    async def spent(self, holders: Iterable[Holder]) -> dict[tuple[Kind, str], int]:
        """Nano-dollars that each has spent in the current period of its budget, or ever if it has no period."""
        await self.ledger.fold()
        now = self.clock()
        periods = {(one.kind.value, one.id, one.terms.period_at(now)[0]): (one.kind, one.id) for one in holders}
        if not periods:
            return {}
        rows = await self.database.read(lambda connection: _spent(connection, periods))
        found = {periods[kind, id, began]: cost for kind, id, began, cost in rows if (kind, id, began) in periods}
        return {whose: found.get(whose, 0) for whose in periods.values()}

    async def shown(self, holder: Holder, shape: Callable[[Holder, int, float], dict[str, Any]]) -> dict[str, Any]:
        """A holder in the format that `shape` renders."""
        return (await self.all_shown([holder], shape))[0]

    async def all_shown(self, holders: list[Holder], shape: Callable[[Holder, int, float], dict[str, Any]]) -> list[dict[str, Any]]:
        """Holders in the format that `shape` renders from a holder, its spend in nano-dollars and the time."""
        spent = await self.spent(holders)
        return [shape(holder, spent[holder.kind, holder.id], self.clock()) for holder in holders]

    def behind(self, request: AdminRequest, name: str) -> Deployment | None:
        """The deployment behind a model name, if the caller may see it."""
        found = self.router.get_deployment_by_model_group_name(request.caller.meant(name))
        return found if found is not None and (request.sees_all or request.caller.may_call(name, found.group)) else None

    async def page(
        self, holders: Sequence[Holder], shape: Callable[[Holder, int, float], dict[str, Any]], query: Mapping[str, str], page: Page
    ) -> list[dict[str, Any]]:
        """One page of the holders, sorted by `sort_by` and `sort_order`, else in the given order."""
        if not query.get("sort_by"):
            return await self.all_shown(list(holders[page.first : page.first + page.size]), shape)
        return arranged(await self.all_shown(list(holders), shape), query)[page.first : page.first + page.size]


class Page(Struct, frozen=True):
    """One page of a list."""

    number: int
    size: int

    @property
    def first(self) -> int:
        return (self.number - 1) * self.size

    def pages(self, total: int) -> int:
        """How many pages there are of `total` items."""
        return math.ceil(total / self.size)


MOST: Final = 100
"""Items per page."""


def page_of(query: Mapping[str, str], usual: int, size: str = "page_size") -> Page:
    """The page that a query asks for. usual: items per page if the parameter `size` is missing. Raises BadRequestError."""
    return Page(number_of(query, "page", 1), min(MOST, number_of(query, size, usual)))


def number_of(query: Mapping[str, str], name: str, default: int) -> int:
    """A positive integer from a query string. Raises BadRequestError."""
    value = query.get(name, str(default))
    if not value.isdecimal() or int(value) < 1:
        raise BadRequestError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def arranged(shown: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Sorted by the field `sort_by`; items without a value come last. Raises BadRequestError."""
    name, order = query["sort_by"], query.get("sort_order", "asc")
    if order not in ("asc", "desc"):
        raise BadRequestError(f"sort_order must be asc or desc, got {order!r}")
    if any(not isinstance(one.get(name, []), str | int | float | None) for one in shown):
        raise BadRequestError(f"sort_by must be a field that has an order, such as created_at or spend, got {name!r}")
    having = [one for one in shown if one[name] is not None]
    return [*sorted(having, key=lambda one: one[name], reverse=order == "desc"), *[one for one in shown if one[name] is None]]


def holds(text: str, *names: str) -> bool:
    """Whether one of the names contains the text, ignoring case."""
    return any(text.lower() in name.lower() for name in names)


def _spent(connection: Connection, periods: Iterable[tuple[str, str, float]]) -> list[tuple[Any, ...]]:
    """Kind, id, start and nano-dollars of these periods, and of others of the same holders."""
    ids, rows = sorted({id for _, id, _ in periods}), []
    for first in range(0, len(ids), AT_ONCE):
        marks, given = several("id", ids[first : first + AT_ONCE])
        rows += connection.tuples(f"SELECT kind, id, began, cost FROM spending WHERE id IN {marks}", **given)
    return rows


AT_ONCE: Final = 5_000
"""Parameters of one statement; SQLite allows 32,766."""


def not_found(what: str, code: str = "not_found") -> HeadraceError:
    """code: the error's code for programs, which would otherwise read it as an unknown model."""
    return refusal(404, Failing.NOT_FOUND, f"there is no {what}", code=code)


def forbidden(message: str) -> HeadraceError:
    """A refusal with status 403."""
    return refusal(403, Failing.PERMISSION, message)
