"""Named budgets in the admin API: limits and dollars assigned to keys, teams, users and customers by `budget_id`."""

from __future__ import annotations

import uuid
from typing import Any, Final

from msgspec.structs import replace

from headrace.errors import BadRequestError
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, not_found
from headrace.gateway.admin.forms import BUDGET, TERMS, budget_shape, check_names, terms_of, text, texts
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind, Terms
from headrace.runtime.sql_drivers import Connection

WORDS: Final = ("budget_id", *BUDGET)
NOTHING: Final = Terms()
_FIELDS: Final = tuple([TERMS[word][0] for word in BUDGET])
_GIVEN: Final = (Kind.KEY, Kind.TEAM, Kind.USER, Kind.CUSTOMER, Kind.ORGANIZATION, Kind.TAG)


def applied(connection: Connection, holder: Holder, now: float, before: Holder | None = None) -> Holder:
    """A holder about to be stored, with the terms of a budget that it newly refers to.

    Raises a refusal if that budget or its organization does not exist.
    """
    above = holder.terms.organization
    if above and (before is None or above != before.terms.organization) and table.get(connection, Kind.ORGANIZATION, above) is None:
        raise not_found(f"organization {above!r}: create it with /organization/new")
    former = "" if before is None else before.terms.budget_id
    if holder.terms.budget_id == former:
        return holder
    return replace(holder, terms=merged(holder.terms, _terms(connection, former), named(connection, holder.terms.budget_id), now))


def merged(terms: Terms, old: Terms, new: Terms, now: float) -> Terms:
    """Terms after their budget changed: unset values and those of the old budget come from the new one; others stay."""
    own = {name: getattr(terms, name) for name in _FIELDS}
    said = {name: value for name, value in own.items() if value not in (getattr(old, name), getattr(NOTHING, name))}
    if "budget" in said:  # dollars and their period belong together
        said["budget_duration"] = terms.budget_duration
    found = replace(terms, **{name: getattr(new, name) for name in _FIELDS} | said)
    if found.budget_duration == terms.budget_duration:
        return found
    return replace(found, budget_since=now if found.budget_duration else 0.0)


def named(connection: Connection, id: str) -> Terms:
    """The terms of a budget. Raises a refusal with status 404."""
    if not id:
        return NOTHING
    found = table.get(connection, Kind.BUDGET, id)
    if found is None:
        raise not_found(f"budget {id!r}: create it with /budget/new")
    return found.terms


def _terms(connection: Connection, id: str) -> Terms:
    """The terms of a budget that may no longer exist."""
    found = table.get(connection, Kind.BUDGET, id) if id else None
    return NOTHING if found is None else found.terms


class BudgetHandlers:
    """Handlers of `/budget/…`."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def routes(self) -> dict[str, Route]:
        return {
            "/budget/new": Route(("POST",), "admin", self.new),
            "/budget/update": Route(("POST",), "admin", self.update),
            "/budget/delete": Route(("POST",), "admin", self.delete),
            "/budget/info": Route(("POST",), "look", self.info),
            "/budget/list": Route(("GET",), "look", self.list),
            "/budget/settings": Route(("GET",), "look", self.settings),
        }

    async def new(self, request: AdminRequest) -> Any:
        """Create a budget. Whoever is assigned its `budget_id` gets its limits, and its dollars for itself."""
        body, now = request.body, self._context.clock()
        check_names(body, WORDS)
        id = text("budget_id", body["budget_id"]) if body.get("budget_id") else str(uuid.uuid4())
        budget = Holder(kind=Kind.BUDGET, id=id, terms=_said(body, NOTHING, now), created=now, updated=now)

        def put(connection: Connection) -> Holder:
            if table.get(connection, Kind.BUDGET, id) is not None:
                raise BadRequestError(f"budget_id {id!r} is taken")
            return table.put(connection, budget)

        return budget_shape(await self._context.change(put, "budget"))

    async def update(self, request: AdminRequest) -> Any:
        """Change a budget for all who have it. Omitted fields stay, and so do values set on one of them alone."""
        check_names(request.body, WORDS)
        id, now = text("budget_id", request.body.get("budget_id")), self._context.clock()

        def work(connection: Connection) -> list[Holder]:
            before = _found(connection, id)
            after = table.put(connection, replace(before, terms=_said(request.body, before.terms, now), updated=now))
            return [after, *_hand_on(connection, id, before.terms, after.terms, now)]

        budget, *_ = await self._changed(work)
        return budget_shape(budget)

    async def delete(self, request: AdminRequest) -> Any:
        """Delete a budget. Whoever had it loses its limits."""
        id, now = text("id", request.body.get("id")), self._context.clock()

        def work(connection: Connection) -> list[Holder]:
            budget = _found(connection, id)
            table.remove(connection, budget, now)
            return [budget, *_hand_on(connection, id, budget.terms, NOTHING, now, name="")]

        budget, *_ = await self._changed(work)
        return budget_shape(budget)

    async def _changed(self, work: Any) -> list[Holder]:
        changed: list[Holder] = await self._context.database.write(work)
        for one in changed:
            self._context.keys.forget(one.kind, one.id)
        return changed

    async def info(self, request: AdminRequest) -> Any:
        """The named budgets."""
        ids = texts("budgets", request.body.get("budgets"))
        if not ids:
            raise BadRequestError("budgets must name at least one budget")
        return [budget_shape(one) for one in await self._all() if one.id in ids]

    async def list(self, request: AdminRequest) -> Any:
        """All budgets."""
        return [budget_shape(one) for one in await self._all()]

    async def settings(self, request: AdminRequest) -> Any:
        """The fields of a budget, with the values of `budget_id`."""
        id = text("budget_id", request.query.get("budget_id"))
        shown = budget_shape(await self._context.database.read(lambda connection: _found(connection, id)))
        return [{"field_name": name, "field_value": shown.get(name), "stored_in_db": True} for name in BUDGET]

    async def _all(self) -> Any:
        return await self._context.database.read(lambda connection: table.listed(connection, Kind.BUDGET))


def _said(body: Any, before: Terms, now: float) -> Terms:
    return replace(terms_of({name: value for name, value in body.items() if name != "budget_id"}, before, now), budget_since=0.0)


def _found(connection: Connection, id: str) -> Holder:
    budget = table.get(connection, Kind.BUDGET, id)
    if budget is None:
        raise not_found(f"budget {id!r}")
    return budget


def _hand_on(connection: Connection, id: str, old: Terms, new: Terms, now: float, name: str | None = None) -> list[Holder]:
    """Apply a budget's new terms to all who have it. name: the budget they have from now on; None for the same."""

    def given(one: Holder) -> Holder:
        terms = replace(merged(one.terms, old, new, now), budget_id=id if name is None else name)
        return table.put(connection, replace(one, terms=terms, updated=now))

    return [given(one) for kind in _GIVEN for one in table.having(connection, kind, "budget_id", id)]
