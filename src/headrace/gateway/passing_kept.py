"""Objects stored by providers, addressed at `/{provider}/…` by the providers' own ids.

Callers reach their own objects, administrators all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headrace.errors import Failure, Kind, error_of
from headrace.framing import SseReader
from headrace.gateway import background
from headrace.gateway.callers import Role
from headrace.gateway.context import RequestContext
from headrace.gateway.orders import INTERACTION, order_of
from headrace.gateway.owned import is_theirs, not_here
from headrace.gateway.records import Entry
from headrace.gateway.requests import refusal
from headrace.gateway.stored_objects import ObjectRef, StoredObject, bare
from headrace.streams import AsyncStream

INTERACTIONS: Final = "interactions"
"""Google's interactions: responses made at once, streamed or in the background, which later ones may continue."""
COLLECTIONS: Final = frozenset({"files", "batches", "responses", "conversations", "cachedcontents", INTERACTIONS})
"""Their names in paths, in lower case."""

_ORDER: Final = ":batchgeneratecontent"
"""The end of Google's paths that create a batch."""


class ResponseInspection(Struct, frozen=True):
    """What is read of a response: the created object, a list to be filtered by owner, or a deletion."""

    how: Literal["made", "listed", "gone"]
    kind: str
    id: str = ""
    later: bool = False
    """Whether it is made in the background, and paid for when it is done."""


class ObjectRoute(Struct, frozen=True):
    """How a request about a stored object is handled."""

    home: str = ""
    """The deployment whose account stores it; "" if unknown."""
    looking: ResponseInspection | None = None
    pays: bool = True
    """Whether the request pays for the usage in its response."""


async def way_of(here: RequestContext, method: str, path: str) -> ObjectRoute:
    """How a request for this path is handled.

    Raises a refusal for objects of another owner, for what only an administrator may do, and for what is not billed
    yet.
    """
    things, kind = kept_in(path)
    home = ""
    if things:
        known = await here.stored_objects.find(things)
        for thing in things:
            mine = next((one for one in known if one.thing == thing and is_theirs(here, one)), None)
            if mine is None and here.caller.role is not Role.ADMIN:
                raise not_here(thing)
            home = mine.deployment if mine is not None else home
    if kind:
        return ObjectRoute(home, _looking(here, method, kind))
    if method == "DELETE" and len(things) == 1 and home:
        await background.check_billed(here, home, things[0].id)
        return ObjectRoute(home, ResponseInspection("gone", things[0].kind, things[0].id), pays=False)
    return ObjectRoute(home, pays=not things)


def _looking(here: RequestContext, method: str, kind: str) -> ResponseInspection | None:
    """What to read of a response for a whole collection."""
    if kind == INTERACTIONS and method == "POST":  # an administrator's are billed too
        return ResponseInspection("made", kind)
    if here.caller.role is Role.ADMIN or (kind == "responses" and method == "POST"):  # the response may be a stream
        return None
    if method == "POST":
        return ResponseInspection("made", kind)
    if method == "GET" and kind != "responses":
        return ResponseInspection("listed", kind)
    raise refusal(
        403, Kind.PERMISSION, f"the provider's {kind} cannot be listed, as they include those of other callers: request your own by id"
    )


def made_later(way: ObjectRoute, body: Mapping[str, Any]) -> ObjectRoute:
    """`way` for a body that asks for background work: it is billed as an order, not by this request."""
    if way.looking is None or way.looking.kind != INTERACTIONS or not body.get("background"):
        return way
    return ObjectRoute(way.home, replace(way.looking, later=True), pays=False)


def kept_in(path: str) -> tuple[list[ObjectRef], str]:
    """The stored objects that a path names, and the collection it ends with, or ""."""
    where = unquote(path.partition("?")[0])
    segments = [segment for segment in where.split("/") if segment]
    names = [segment.lower() for segment in segments]
    if where.lower().endswith(_ORDER):
        return [], "batches"
    things = [
        ObjectRef(name, segments[at + 1].partition(":")[0]) for at, name in enumerate(names[:-1]) if name in COLLECTIONS
    ]  # Google's verbs follow an id, after a colon
    return things, names[-1] if names and names[-1] in COLLECTIONS else ""


# ---- responses
# --------------------------------------------------------------------------------------------------------------------

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


async def looked_at(
    here: RequestContext, entry: Entry, deployment: str, looking: ResponseInspection | None, stream: AsyncStream[bytes]
) -> bytes:
    """The whole response as its caller may see it; the objects in it are recorded.

    Raises a refusal for a list that cannot be parsed.
    """
    content = b"".join([piece async for piece in stream])
    if looking is None:
        return content
    if looking.how == "gone":
        await here.stored_objects.forget(deployment, ObjectRef(looking.kind, looking.id))
        return content
    if (said := _object(content)) is None:
        message = f"the provider's response about {looking.kind} cannot be read, so their owners are unknown"
        raise error_of(Failure(Kind.SERVER, message, status=502))
    if looking.how == "made":
        if looking.kind == INTERACTIONS:
            await _note_interaction(here, entry, deployment, looking, said)
        else:
            await _note(here, deployment, looking.kind, said)
        return content
    return msgspec.json.encode(await _own_of(here, looking.kind, said))


class Streamed:
    """A streamed interaction: it is recorded from the first event with its id, before that event is sent."""

    def __init__(self, here: RequestContext, entry: Entry, deployment: str, looking: ResponseInspection) -> None:
        self._here = here
        self._entry = entry
        self._deployment = deployment
        self._looking = looking
        self._reader: SseReader | None = SseReader()

    async def see(self, piece: bytes) -> None:
        """Look for the interaction's id in a piece of the stream."""
        for frame in () if self._reader is None else self._reader.feed(piece):
            said = (_object(frame.data) or {}).get("interaction")
            if isinstance(said, Mapping) and _id_of(said):
                self._reader = None
                await _note_interaction(self._here, self._entry, self._deployment, self._looking, said)
                return


async def _note_interaction(
    here: RequestContext, entry: Entry, deployment: str, looking: ResponseInspection, said: Mapping[str, Any]
) -> None:
    """Record an interaction's owner, its account and who pays. None of its content is stored."""
    if not (id := _id_of(said)):
        return
    owner = here.caller.owner if here.caller.seal else ""
    await here.stored_objects.note(StoredObject(ObjectRef(INTERACTIONS, id), deployment, owner, time.time()))
    if looking.later:
        await background.order(here, entry, INTERACTION, deployment, id)


async def _note(here: RequestContext, deployment: str, kind: str, said: Mapping[str, Any]) -> None:
    inner = said.get("file")  # Google's response to an upload
    said = inner if isinstance(inner, Mapping) else said
    if id := _id_of(said):
        await here.stored_objects.note(StoredObject(ObjectRef(kind, id), deployment, here.caller.owner, time.time(), {"id": id, **said}))
    if kind == "batches" and (order := order_of(here.caller, here.router.get_deployment(deployment), said)) is not None:
        await here.stored_objects.ordered(order)


async def _own_of(here: RequestContext, kind: str, said: dict[str, Any]) -> dict[str, Any]:
    """A list without the objects of other owners."""
    own = {one.thing.id for one in await here.stored_objects.owned(here.caller.owner, kind)}
    return {
        name: [item for item in value if isinstance(item, Mapping) and _id_of(item) in own] if isinstance(value, list) else value
        for name, value in said.items()
    }


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _id_of(said: Mapping[str, Any]) -> str:
    """OpenAI's and Anthropic's `id`, or Google's `name` without its collection."""
    found = said.get("id") or said.get("name")
    return bare(found) if isinstance(found, str) else ""
