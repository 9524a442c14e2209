"""Models in the admin API: list and describe them, and add deployments at run time, for all processes and across restarts."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import shape
from headrace.counted import counted_here
from headrace.errors import BadRequestError, ConfigurationError
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, not_found, page_of
from headrace.gateway.admin.forms import check_names, mapping, text
from headrace.gateway.keys.table import next_revision, revision
from headrace.routing.groups import facts_of, group_info
from headrace.routing.masking import HIDDEN, secret
from headrace.routing.plan import Deployment
from headrace.runtime.sql_drivers import Connection, DatabaseError

log: Final = logging.getLogger("headrace.gateway")

LOOK: Final = 2.0
"""Seconds between checks for changes by other processes."""
WHAT: Final = "deployments"
ENTRY: Final = ("model_name", "litellm_params", "model_info")
COLUMNS: Final = ("id", "entry", "deleted", "revision")
FROM_ENVIRONMENT: Final = "os.environ/"


def checked(body: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a `model_list`. Raises BadRequestError.

    A secret must be given as the name of an environment variable, as the database is no place for secrets.
    """
    check_names(body, ENTRY)
    params = mapping("litellm_params", body.get("litellm_params"))
    for name, value in params.items():
        if secret(name) and isinstance(value, str) and not value.startswith(FROM_ENVIRONMENT):
            raise BadRequestError(f"litellm_params.{name} must name an environment variable of the gateway: {FROM_ENVIRONMENT}NAME")
        if name in HIDDEN and value:
            raise BadRequestError(f"litellm_params.{name} cannot be stored in the database: set it in the gateway's configuration")
    info = mapping("model_info", body.get("model_info") or {})
    name = text("model_name", body.get("model_name"))
    return {"model_name": name, "litellm_params": params, "model_info": {**info, "id": str(info.get("id") or uuid.uuid4())}}


class ModelHandlers:
    """Handlers of `/model/…`, and the deployments that were added at run time."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._revision = 0
        self._entries: dict[str, dict[str, Any]] = {}
        """Deployments stored in the database, by id."""

    def routes(self) -> dict[str, Route]:
        info = Route(("GET",), "anyone", self.info)
        return {
            "/model/new": Route(("POST",), "admin", self.new),
            "/model/update": Route(("POST",), "admin", self.update),
            "/model/delete": Route(("POST",), "admin", self.delete),
            "/model/info": info,
            "/v1/model/info": info,
            "/v2/model/info": Route(("GET",), "anyone", self.pages),
            "/model/{}/update": Route(("PATCH", "POST"), "admin", self.update),
            "/utils/token_counter": Route(("POST",), "anyone", self.count),
            "/utils/supported_openai_params": Route(("GET",), "anyone", self.parameters),
            "/model_group/info": Route(("GET",), "anyone", self.groups),
        }

    # ---- changes

    async def new(self, request: AdminRequest) -> Any:
        """Add a deployment, for all processes and across restarts."""
        entry = checked(request.body)
        id = entry["model_info"]["id"]
        if id in self._context.router.get_model_ids():
            raise BadRequestError(f"model_info.id {id!r} is taken")
        await self._put(id, entry)
        return self._row(id, entry)

    async def update(self, request: AdminRequest) -> Any:
        """Change a deployment; omitted fields stay."""
        info = mapping("model_info", request.body.get("model_info") or {})
        id = self._kept(request.part or info.get("id") or request.body.get("model_id"))
        before = self._entries[id]
        entry = checked({
            "model_name": request.body.get("model_name") or before["model_name"],
            "litellm_params": {**before["litellm_params"], **(request.body.get("litellm_params") or {})},
            "model_info": {**before["model_info"], **info, "id": id},
        })  # fmt: skip
        await self._put(id, entry)
        return self._row(id, entry)

    async def delete(self, request: AdminRequest) -> Any:
        """Delete a deployment that was added at run time."""
        id = self._kept(request.body.get("id"))
        await self._context.database.write(lambda connection: _written(connection, id, self._entries[id], deleted=True))
        self._drop(id)
        return {"message": f"Model: {id} deleted successfully"}

    def _kept(self, id: Any) -> str:
        named = text("id", id)
        if named in self._entries:
            return named
        if named in self._context.router.get_model_ids():
            raise BadRequestError(f"deployment {named!r} is defined in the gateway's configuration: change it there")
        raise not_found(f"deployment {named!r}")

    async def _put(self, id: str, entry: dict[str, Any]) -> None:
        """Add it to the Router first, so that an entry that does not work is not stored."""
        try:
            self._context.router.upsert_deployment(entry)
        except ConfigurationError as error:
            raise BadRequestError(error.failure.message) from None
        self._entries[id] = entry
        await self._context.database.write(lambda connection: _written(connection, id, entry))

    def _drop(self, id: str) -> None:
        self._context.router.delete_deployment(id)
        self._entries.pop(id, None)

    def _row(self, id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {"model_id": id, **entry, "litellm_params": shown(entry["litellm_params"])}

    # ---- changes by other processes

    async def watch(self) -> None:
        """Follow changes by other processes until cancelled.

        Deployments that a reloaded configuration removed are added again.
        """
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self.refresh()
            except DatabaseError as error:
                log.warning("cannot check for changed models: the database does not respond (%s)", error)

    async def refresh(self) -> None:
        """Apply changes by other processes once."""
        since = self._revision
        if await self._context.database.read(lambda connection: revision(connection, WHAT)) != since:
            for id, entry, deleted, number in await self._context.database.read(lambda connection: _changed(connection, since)):
                self._revision = max(self._revision, number)
                self._heed(id, msgspec.json.decode(entry), deleted)
        there = frozenset(self._context.router.get_model_ids())
        for id, entry in [(id, entry) for id, entry in self._entries.items() if id not in there]:
            self._heed(id, entry, False)

    def _heed(self, id: str, entry: dict[str, Any], deleted: bool) -> None:
        if deleted:
            self._drop(id)
            return
        self._entries[id] = entry
        try:
            self._context.router.upsert_deployment(entry)
        except ConfigurationError as error:
            log.error("deployment %s from the database cannot be used: %s", id, error)

    # ---- reading

    async def info(self, request: AdminRequest) -> Any:
        """The deployments. litellm_model_id: only this one."""
        wanted = request.query.get("litellm_model_id")
        found = [one for one in self._seen(request) if not wanted or one.id == wanted]
        if wanted and not found:
            raise not_found(f"deployment {wanted!r}")
        return {"data": [self._described(one) for one in found]}

    async def pages(self, request: AdminRequest) -> Any:
        """The deployments page by page; `search` filters by name, `model` selects one model group."""
        said = request.query
        page = page_of(said, 50, "size")
        found = [one for one in self._seen(request) if said.get("search", "") in one.group and said.get("model", one.group) == one.group]
        told = {"total_count": len(found), "current_page": page.number, "total_pages": page.pages(len(found)), "size": page.size}
        return {"data": [self._described(one) for one in found[page.first : page.first + page.size]], **told}

    def _seen(self, request: AdminRequest) -> list[Deployment]:
        router = self._context.router
        found = [one for id in router.get_model_ids() if (one := router.get_deployment(id)) is not None]
        return [one for one in found if request.sees_all or request.caller.may_call(one.group)]

    def _described(self, deployment: Deployment) -> dict[str, Any]:
        info = {"db_model": deployment.id in self._entries, **facts_of(deployment), **deployment.model_info}
        return {"model_name": deployment.group, "litellm_params": shown(deployment.litellm_params), "model_info": info}

    async def groups(self, request: AdminRequest) -> Any:
        """The model groups that the caller may see, with their facts and limits."""
        wanted = request.query.get("model_group")
        groups: dict[str, list[Deployment]] = {}
        for deployment in self._seen(request):
            groups.setdefault(deployment.group, []).append(deployment)
        return {"data": [group_info(name, members).model_dump() for name, members in groups.items() if not wanted or name == wanted]}

    async def count(self, request: AdminRequest) -> Any:
        """The number of tokens of a `prompt` or of `messages` (and `tools`), counted locally without calling a provider."""
        body = request.body
        name, prompt, messages, tools = text("model", body.get("model")), body.get("prompt"), body.get("messages"), body.get("tools")
        if prompt is None and messages is None:
            raise BadRequestError("prompt or messages is required: a string, or a list of messages in OpenAI's format")
        for field, given in (("messages", messages), ("tools", tools)):
            if given is not None and not (isinstance(given, list) and all(isinstance(one, dict) for one in given)):
                raise BadRequestError(f"{field} must be a list of objects, got {shape(given)}")
        said = [{"role": "user", "content": text("prompt", prompt)}] if messages is None else messages
        deployment = self._context.behind(request, name)
        return counted_here(name, name if deployment is None else deployment.model, said, {"tools": tools}).model_dump()

    async def parameters(self, request: AdminRequest) -> Any:
        """The OpenAI parameters that the provider of a `model` supports, as far as known."""
        from headrace.models.parameters import get_supported_openai_params  # late: rarely requested

        name = text("model", request.query.get("model"))
        deployment = self._context.behind(request, name)
        whose = None if deployment is None else deployment.litellm_params.get("custom_llm_provider")
        found = get_supported_openai_params(name if deployment is None else deployment.model, whose)
        if found is None:
            raise BadRequestError(f"model must be one that is served here, or name its provider ('openai/gpt-4o'), got {name!r}")
        return {"supported_openai_params": found}


def shown(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without secrets."""
    return {name: value for name, value in params.items() if not secret(name)}


def _written(connection: Connection, id: str, entry: Mapping[str, Any], *, deleted: bool = False) -> None:
    row = (id, msgspec.json.encode(entry).decode(), deleted, next_revision(connection, WHAT))
    changes = ", ".join([f"{name} = excluded.{name}" for name in COLUMNS[1:]])
    connection.insert("deployments", COLUMNS, [row], f"ON CONFLICT (id) DO UPDATE SET {changes}")


def _changed(connection: Connection, since: int) -> list[Any]:
    return connection.tuples(f"SELECT {', '.join(COLUMNS)} FROM deployments WHERE revision > :since ORDER BY revision", since=since)
