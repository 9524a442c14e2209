"""Responses that their provider makes in the background: ordered by one request, billed when they are done."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import EMPTY
from headrace.errors import Failure, Kind, error_of
from headrace.gateway.asking import Here
from headrace.gateway.orders import RESPONSE, WORKING, Order
from headrace.gateway.records import Entry
from headrace.objects import BinaryResponse, JsonObject
from headrace.served import read_id


async def note(here: Here, entry: Entry, made: Any) -> None:
    """Remember who has to pay for it."""
    said = _fields(made)
    found = read_id(str(said.get("id")), here.caller.seal)
    if found is None or said.get("status") not in WORKING:
        return
    await order(here, entry, RESPONSE, *found)


async def order(here: Here, entry: Entry, kind: str, deployment: str, id: str) -> None:
    """It is paid for when it is done. id: its provider's own."""
    caller = here.caller
    order = Order(
        deployment=deployment, id=id, kind=kind, began=time.time(), key=caller.key, name=caller.name, team=caller.team,
        user=caller.user, tags=tuple(entry.told("tags") or ()), customer=entry.told("customer") or "",
    )  # fmt: skip
    await here.belongings.ordered(order)


class Streamed:
    """One that is told as it is made: its stream pays for it, and who asks for it later pays no more. One that is left in the middle is
    made to its end all the same, and the first who asks for it pays.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self._found: tuple[str, str] | None = None
        self._claiming: asyncio.Task[bool] | None = None

    def see(self, piece: bytes) -> bytes:
        """A piece of the stream, as it is. The first event tells the response's id."""
        if self._found is None and (said := _ID.search(piece)) is not None:
            self._found = read_id(said[1].decode(), self._here.caller.seal)
            if self._found is not None:
                self._claiming = asyncio.ensure_future(self._here.belongings.claim(*self._found))
        return piece

    async def over(self, whole: bool) -> None:
        if self._claiming is not None and self._found is not None and await self._claiming and not whole:
            await self._here.belongings.release(*self._found)


_ID: Final = re.compile(rb'"id": ?"(resp_[^"\\]+)"')


async def note_end(here: Here, deployment: str, id: str, made: Any) -> None:
    """Somebody has seen it: one that is over is billed next."""
    if _fields(made).get("status") not in WORKING:
        await here.belongings.done(deployment, id)


async def check_billed(here: Here, deployment: str, id: str) -> bool:
    """True. Raises a refusal where it is about to be deleted, and nobody would know any more what it came to."""
    if await here.belongings.done(deployment, id):
        message = "it is not billed yet: delete it in a few seconds, or cancel it before"
        raise error_of(Failure(Kind.BAD_REQUEST, message, status=409, retryable=True, retry_after=5.0))
    return True


def _fields(made: Any) -> Mapping[str, Any]:
    """What an answer says: read already, or bytes as they came, which are JSON as far as the Router went."""
    if isinstance(made, BinaryResponse):
        made = msgspec.json.decode(made.content)
    return made if isinstance(made, Mapping | JsonObject) else EMPTY  # type: ignore[return-value]
