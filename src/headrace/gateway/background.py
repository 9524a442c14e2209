"""Responses that a provider makes in the background: created by one request, billed when they are done."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import EMPTY
from headrace.errors import Failure, Kind, error_of
from headrace.gateway.context import RequestContext
from headrace.gateway.orders import RESPONSE, WORKING, Order
from headrace.gateway.records import Entry
from headrace.objects import BinaryResponse, JsonObject
from headrace.served import read_id


async def note(here: RequestContext, entry: Entry, made: Any) -> None:
    """Record who pays for a background response, if it is still in progress."""
    said = _fields(made)
    found = read_id(str(said.get("id")), here.caller.seal)
    if found is None or said.get("status") not in WORKING:
        return
    await order(here, entry, RESPONSE, *found)


async def order(here: RequestContext, entry: Entry, kind: str, deployment: str, id: str) -> None:
    """Register a background response for billing when it is done. id: the provider's own."""
    caller = here.caller
    order = Order(
        deployment=deployment, id=id, kind=kind, began=time.time(), key=caller.key, name=caller.name, team=caller.team,
        user=caller.user, tags=tuple(entry.told("tags") or ()), customer=entry.told("customer") or "",
    )  # fmt: skip
    await here.stored_objects.ordered(order)


class Streamed:
    """A background response that is streamed as it is made. Its stream pays for it, so later requests for it do not.

    If the client disconnects, the provider still completes it, and the first request for it pays.
    """

    def __init__(self, here: RequestContext) -> None:
        self._here = here
        self._found: tuple[str, str] | None = None
        self._claiming: asyncio.Task[bool] | None = None

    def see(self, piece: bytes) -> bytes:
        """Take the response's id from the first event; returns the piece unchanged."""
        if self._found is None and (said := _ID.search(piece)) is not None:
            self._found = read_id(said[1].decode(), self._here.caller.seal)
            if self._found is not None:
                self._claiming = asyncio.ensure_future(self._here.stored_objects.claim(*self._found))
        return piece

    async def over(self, whole: bool) -> None:
        """The stream has ended; if it was cut short, the next request for the response pays."""
        if self._claiming is not None and self._found is not None and await self._claiming and not whole:
            await self._here.stored_objects.release(*self._found)


_ID: Final = re.compile(rb'"id": ?"(resp_[^"\\]+)"')


async def note_end(here: RequestContext, deployment: str, id: str, made: Any) -> None:
    """A client has seen its status: if it is done, it is billed next."""
    if _fields(made).get("status") not in WORKING:
        await here.stored_objects.done(deployment, id)


async def check_billed(here: RequestContext, deployment: str, id: str) -> bool:
    """Returns True, or raises a refusal if it is not billed yet: once deleted, its cost could not be determined."""
    if await here.stored_objects.done(deployment, id):
        message = "the response is not billed yet: delete it in a few seconds, or cancel it first"
        raise error_of(Failure(Kind.BAD_REQUEST, message, status=409, retryable=True, retry_after=5.0))
    return True


def _fields(made: Any) -> Mapping[str, Any]:
    """The fields of a result: an object, or the bytes of the provider's JSON."""
    if isinstance(made, BinaryResponse):
        made = msgspec.json.decode(made.content)
    return made if isinstance(made, Mapping | JsonObject) else EMPTY  # type: ignore[return-value]
