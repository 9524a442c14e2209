"""Customers in the admin API: the end users that calls name (`user` of a body), with limits and budgets, in LiteLLM's fields."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from headrace.errors import BadRequestError, NotFoundError
from headrace.gateway.admin.asked_calls import Calls
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, blocking, not_found
from headrace.gateway.admin.forms import check_names, customer_shape, text, texts
from headrace.gateway.admin.people_handlers import People
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind, Terms
from headrace.gateway.ledger.reading import query
from headrace.runtime.sql_drivers import Connection

_HELD: Final = (
    "rpm_limit", "tpm_limit", "rpd_limit", "tpd_limit", "max_parallel_requests", "max_budget", "budget_duration", "budget_id", "metadata",
)  # fmt: skip
CUSTOMER: Final = (*_HELD, "user_id", "alias", "blocked", "spend")
"""The fields of a customer: it has no key, so it selects no models."""


class CustomerHandlers:
    """Handlers of `/customer/…` and `/end_user/…`."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._calls = Calls(context)
        self._customers = People(context, Kind.CUSTOMER, "user_id", "alias", customer_shape)

    def routes(self) -> dict[str, Route]:
        ways = {
            "new": Route(("POST",), "admin", self.new),
            "update": Route(("POST",), "admin", self.update),
            "delete": Route(("POST",), "admin", self.delete),
            **blocking(self._blocked),
            "info": Route(("GET",), "look", self.info),
            "list": Route(("GET",), "look", self.page),
        }
        return {f"/{room}/{name}": route for room in ("customer", "end_user") for name, route in ways.items()}

    async def new(self, request: AdminRequest) -> Any:
        """Create a customer with the id that calls give in `user`. A user who is not a customer here has no limits."""
        check_names(request.body, CUSTOMER)
        if not request.body.get("user_id"):
            raise BadRequestError("user_id is required: the id that callers give as `user`")
        return await self._shown(await self._customers.make(request.body))

    async def update(self, request: AdminRequest) -> Any:
        """Change a customer; omitted fields stay."""
        check_names(request.body, CUSTOMER)
        how = request.body
        return await self._shown(await self._customers.change(how.get("user_id"), lambda customer: self._customers.changed(customer, how)))

    async def delete(self, request: AdminRequest) -> Any:
        """Delete customers. Calls may still name them, without limits of their own."""
        ids = texts("user_ids", request.body.get("user_ids"))
        now = self._context.clock()

        def work(connection: Connection) -> list[Holder]:
            found = [table.get(connection, Kind.CUSTOMER, id) for id in ids]
            if None in found:
                raise not_found(f"customer {ids[found.index(None)]!r}")
            gone = [one for one in found if one is not None]
            for one in gone:
                table.remove(connection, one, now)
            return gone

        for one in await self._context.database.write(work):
            self._context.keys.forget(one.kind, one.id)
        return {"deleted_customers": len(ids), "message": f"deleted: {', '.join(ids)}"}

    async def _blocked(self, request: AdminRequest, blocked: bool) -> Any:
        now = self._context.clock()
        ids = texts("user_ids", request.body.get("user_ids"))
        found = [await self._customers.change(id, lambda one: replace(one, blocked=blocked, updated=now)) for id in ids]
        return {"blocked_users" if blocked else "unblocked_users": [await self._shown(one) for one in found]}

    async def info(self, request: AdminRequest) -> Any:
        """A customer that was created here, else one that calls named."""
        id = text("end_user_id", request.query.get("end_user_id") or request.query.get("user_id"))
        try:
            return await self._shown(await self._customers.find(id))
        except NotFoundError:
            asked_for = "count(*) AS calls, sum(cost) AS cost, min(began) AS first, max(began) AS last"
            (row,) = await self._calls.rows(query(asked_for, [("customer = :customer", {"customer": id})]))
            if not row["calls"]:
                raise
        seen = Holder(kind=Kind.CUSTOMER, id=id, terms=Terms(), created=row["first"], updated=row["last"])
        return customer_shape(seen, int(row["cost"] or 0), self._context.clock())

    async def page(self, request: AdminRequest) -> Any:
        """All customers."""
        return await self._context.all_shown(await self._customers.all(), customer_shape)

    async def _shown(self, customer: Holder) -> dict[str, Any]:
        return await self._context.shown(customer, customer_shape)
