"""Tags in the admin API: labels of calls (`metadata.tags`, or those of their key), with their own models, limits and budgets."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headrace.errors import BadRequestError
from headrace.gateway.admin.asked_calls import Calls
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, not_found
from headrace.gateway.admin.forms import BUDGET, check_names, tag_shape, text, texts
from headrace.gateway.admin.people_handlers import People
from headrace.gateway.keys import table
from headrace.gateway.keys.holders import Holder, Kind
from headrace.runtime.sql_drivers import Connection

TAG: Final = ("name", "description", "models", "budget_id", *BUDGET, "model_rpm_limit", "model_tpm_limit", "spend")


class TagHandlers:
    """Handlers of `/tag/…`."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._calls = Calls(context)
        self._tags = People(context, Kind.TAG, "name", "description", tag_shape)

    def routes(self) -> dict[str, Route]:
        return {
            "/tag/new": Route(("POST",), "admin", self.new),
            "/tag/update": Route(("POST",), "admin", self.update),
            "/tag/delete": Route(("POST",), "admin", self.delete),
            "/tag/info": Route(("POST",), "look", self.info),
            "/tag/list": Route(("GET",), "look", self.page),
        }

    async def new(self, request: AdminRequest) -> Any:
        """Create a tag. Calls with it are under its limits and budget and may only use its `models`, whichever key makes them."""
        check_names(request.body, TAG)
        if not request.body.get("name"):
            raise BadRequestError("name is required: the tag that calls carry")
        return await self._told(await self._tags.make(request.body), "made")

    async def update(self, request: AdminRequest) -> Any:
        """Change a tag; omitted fields stay."""
        how = request.body
        check_names(how, TAG)
        return await self._told(await self._tags.change(how.get("name"), lambda tag: self._tags.changed(tag, how)), "changed")

    async def _told(self, tag: Holder, what: str) -> dict[str, Any]:
        return {"message": f"tag {tag.id!r} is {what}", "tag": await self._context.shown(tag, tag_shape)}

    async def delete(self, request: AdminRequest) -> Any:
        """Delete a tag. Calls may still carry it, but it no longer limits them."""
        name, now = text("name", request.body.get("name")), self._context.clock()

        def work(connection: Connection) -> Holder | None:
            tag = table.get(connection, Kind.TAG, name)
            if tag is not None:
                table.remove(connection, tag, now)
            return tag

        await self._context.change(work, f"tag {name!r}")
        return {"message": f"tag {name!r} is deleted"}

    async def info(self, request: AdminRequest) -> Any:
        """The named tags."""
        names = texts("names", request.body.get("names"))
        found = {one.id: one for one in await self._tags.all() if one.id in names}
        if missing := [name for name in names if name not in found]:
            raise not_found(f"tag {missing[0]!r}")
        return {one["name"]: one for one in await self._context.all_shown(list(found.values()), tag_shape)}

    async def page(self, request: AdminRequest) -> Any:
        """The tags created here, then those that calls in the requested period carried besides."""
        made = await self._context.all_shown(await self._tags.all(), tag_shape)
        rows = await self._calls.grouped(["tags"], [*await self._calls.where(request), ("tags <> '[]'", {})])
        used = {tag for row in rows for tag in msgspec.json.decode(row["tags"])} - {one["name"] for one in made}
        return [*made, *[{"name": tag, "description": None, "models": None} for tag in sorted(used)]]
