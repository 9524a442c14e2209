"""Responses that their provider makes in the background: ordered by one request, billed when they are done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

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
    caller = here.caller
    order = Order(
        deployment=found[0], id=found[1], kind=RESPONSE, began=time.time(), key=caller.key, name=caller.name, team=caller.team,
        user=caller.user, tags=tuple(entry.told("tags") or ()), customer=entry.told("customer") or "",
    )  # fmt: skip
    await here.belongings.ordered(order)


async def note_end(here: Here, deployment: str, id: str, made: Any) -> None:
    """Somebody has seen it: one that is over is billed next."""
    if _fields(made).get("status") not in WORKING:
        await here.belongings.done(deployment, id)


async def check_billed(here: Here, deployment: str, id: str) -> bool:
    """True. Raises a refusal where it is about to be deleted, and nobody would know any more what it came to."""
    if await here.belongings.done(deployment, id):
        message = "the response is not billed yet: delete it in a few seconds, or cancel it before"
        raise error_of(Failure(Kind.BAD_REQUEST, message, status=409, retryable=True, retry_after=5.0))
    return True


def _fields(made: Any) -> Mapping[str, Any]:
    """What an answer says: read already, or bytes as they came, which are JSON as far as the Router went."""
    if isinstance(made, BinaryResponse):
        made = msgspec.json.decode(made.content)
    return made if isinstance(made, Mapping | JsonObject) else EMPTY  # type: ignore[return-value]
