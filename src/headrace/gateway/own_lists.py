"""Files and batches of one owner: recorded when they are created, listed without those of others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from headrace.calls import Operation, shape
from headrace.errors import BadRequestError, HeadraceError
from headrace.gateway.callers import Role
from headrace.gateway.context import AggregatedResponse, RequestContext
from headrace.gateway.orders import order_of
from headrace.gateway.requests import IncomingRequest
from headrace.gateway.stored_objects import ObjectRef, StoredObject
from headrace.kept import BATCH, BATCHES
from headrace.objects import JsonObject

log: Final = logging.getLogger("headrace.gateway")

MOST: Final[Mapping[str, int]] = {"files": 10_000, "batches": 100}
"""Most items per page (platform.openai.com/docs/api-reference, from memory)."""
USUAL: Final[Mapping[str, int]] = {"files": 10_000, "batches": 20}

OVER: Final = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
"""Final statuses of a batch."""

Marked = Callable[[Any, str], Any]
"""(a result, its deployment) → the result with the gateway's ids."""


async def note(here: RequestContext, kind: str, deployment: str, said: Any) -> None:
    """Record the owner of an object. An administrator's objects have no owner and need no record."""
    fields = said.model_dump() if isinstance(said, JsonObject) else said
    id = fields.get("id") if isinstance(fields, Mapping) else None
    if here.caller.role is Role.ADMIN or not isinstance(id, str) or not id:
        return
    created = fields.get("created_at")
    moment = float(created) if isinstance(created, int | float) else time.time()
    await here.stored_objects.note(StoredObject(ObjectRef(kind, id), deployment, here.caller.owner, moment, fields))


async def note_order(here: RequestContext, deployment: str, said: Any) -> None:
    """As `note`, for a batch; also registers it for billing, an administrator's too."""
    await note(here, "batches", deployment, said)
    if (order := order_of(here.caller, here.router.get_deployment(deployment), said.model_dump())) is not None:
        await here.stored_objects.ordered(order)


async def note_end(here: RequestContext, deployment: str, id: str, said: Any) -> None:
    """A caller has seen a batch: if it is over, it is billed next."""
    if said.status in OVER:
        await here.stored_objects.done(deployment, id)


async def forget(here: RequestContext, kind: str, deployment: str, id: str, said: Any) -> None:
    """Remove the record of a deleted object."""
    await here.stored_objects.forget(deployment, ObjectRef(kind, id))


def own_list(
    here: RequestContext, asked: IncomingRequest, where: Operation, after: tuple[str, str] | None, marked: Marked
) -> AggregatedResponse:
    """The objects of the caller's owner, newest first unless `order` says otherwise.

    after: the deployment and the provider's own id.
    """
    return AggregatedResponse(partial(_listed, here, asked.query, where, after, marked))


async def _listed(here: RequestContext, query: Mapping[str, str], where: Operation, after: tuple[str, str] | None, marked: Marked) -> Any:
    kind = where.name
    found = await here.stored_objects.owned(here.caller.owner, kind)
    if query.get("order") == "asc":
        found.reverse()
    if purpose := query.get("purpose"):
        found = [one for one in found if one.said.get("purpose") == purpose]
    if after is not None:
        places = [(one.deployment, one.thing.id) for one in found]
        found = found[places.index(after) + 1 :] if after in places else []
    most = _limit(query, kind)
    page, more = found[:most], len(found) > most
    if where is BATCHES:
        page = await _as_they_stand(here, page)
    data = [marked(one.said, one.deployment) for one in page]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": more}


def _limit(query: Mapping[str, str], kind: str) -> int:
    said = query.get("limit", str(USUAL[kind]))
    if not said.isdecimal() or not 1 <= int(said) <= MOST[kind]:
        raise BadRequestError(f"limit must be a whole number from 1 to {MOST[kind]}, got {shape(said)}")
    return int(said)


async def _as_they_stand(here: RequestContext, page: Sequence[StoredObject]) -> list[StoredObject]:
    """The batches with their current state from their providers; those that are over need no query."""
    return list(await asyncio.gather(*[_as_it_stands(here, one) for one in page]))


async def _as_it_stands(here: RequestContext, one: StoredObject) -> StoredObject:
    if one.said.get("status") in OVER:
        return one
    try:
        made = await here.router.acall(
            BATCH, "-", None, stream=False, options=here.caller.options(), place={"id": one.thing.id}, deployment=one.deployment
        )
    except HeadraceError as error:
        log.info("batch %s could not be refreshed and is listed as last known: %s", one.thing.id, error.failure.kind.value)
        return one
    await note(here, one.thing.kind, one.deployment, made)
    return StoredObject(one.thing, one.deployment, one.owner, one.created, made.model_dump())
