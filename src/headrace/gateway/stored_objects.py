"""What providers store for the gateway's callers, who owns it, and where a body refers to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from headrace.calls import EMPTY
from headrace.gateway.orders import Order


class ObjectRef(Struct, frozen=True):
    """A stored object, by its name at its provider."""

    kind: str
    """The name of its collection in the provider's paths, in lower case: `files`, `cachedcontents`."""
    id: str


class StoredObject(Struct, frozen=True):
    """A stored object and its owner."""

    thing: ObjectRef
    deployment: str
    """The deployment that created it, whose account holds it."""
    owner: str
    created: float
    """Unix seconds."""
    said: Mapping[str, Any] = EMPTY
    """The provider's latest description of it."""


class StoredObjects(Protocol):
    """Records who owns what. What administrators create has no owner, and is recorded only if its account must be known."""

    async def note(self, one: StoredObject) -> None:
        """Record a stored object."""
        ...

    async def find(self, things: Sequence[ObjectRef]) -> list[StoredObject]:
        """What is known of these objects, in no order; several providers may use the same name."""
        ...

    async def owned(self, owner: str, kind: str) -> list[StoredObject]:
        """All objects of a kind that an owner has, newest first."""
        ...

    async def forget(self, deployment: str, thing: ObjectRef) -> None:
        """Remove the record of a deleted object."""
        ...

    async def ordered(self, order: Order) -> None:
        """Register a batch or a background response for billing."""
        ...

    async def claim(self, deployment: str, response: str) -> bool:
        """Claim the payment of a background response that was not ordered here. False if another call has claimed it."""
        ...

    async def release(self, deployment: str, response: str) -> None:
        """Give the claim back, as there is nothing to pay yet."""
        ...

    async def done(self, deployment: str, batch: str) -> bool:
        """Note that it was seen to be over. Returns whether it waits to be billed."""
        ...


class NoStoredObjects:
    """For a gateway without a database, where everybody is an administrator."""

    async def note(self, one: StoredObject) -> None:
        pass

    async def claim(self, deployment: str, response: str) -> bool:
        return True

    async def release(self, deployment: str, response: str) -> None:
        pass

    async def find(self, things: Sequence[ObjectRef]) -> list[StoredObject]:
        return []

    async def owned(self, owner: str, kind: str) -> list[StoredObject]:
        return []

    async def forget(self, deployment: str, thing: ObjectRef) -> None:
        pass

    async def ordered(self, order: Order) -> None:
        pass

    async def done(self, deployment: str, batch: str) -> bool:
        return False


# ---- references in bodies
# ----------------------------------------------------------------------------------------------------------


class Reference(Struct, frozen=True, eq=False):
    """A place in a body that names a stored object."""

    holder: Any
    at: str | int
    field: str
    thing: ObjectRef

    def become(self, id: str) -> None:
        """Replace the name by the provider's own."""
        self.holder[self.at] = id


NAMES: Final[Mapping[str, str]] = {
    "file_id": "files", "conversation": "conversations", "cachedContent": "cachedcontents", "cached_content": "cachedcontents",
    "fileUri": "files", "file_uri": "files",
}  # fmt: skip
"""Fields that name a stored object, and its kind: those of Chat Completions, Responses, Anthropic's Messages and Gemini."""

PASSED_NAMES: Final[Mapping[str, str]] = {
    **NAMES, "input_file_id": "files", "training_file": "files", "validation_file": "files", "previous_response_id": "responses",
    "previous_interaction_id": "interactions",
}  # fmt: skip
"""The same for requests to a provider's own API, which include what the gateway serves itself elsewhere."""
_LISTS: Final = frozenset({"file_ids", "input_files"})

_URIS: Final = frozenset({"fileUri", "file_uri"})
_KEPT_URI: Final = re.compile(r"(?:.*/v1(?:alpha|beta)?/)?(files/[^/?#:]+)[?#]?.*")

_WITHIN: Final = frozenset({
    "messages", "content", "input", "contents", "parts", "file", "source", "tools", "container", "fileData", "file_data", "output",
    "generateContentRequest", "requests", "params",
})  # fmt: skip
"""Fields that may contain others with references. Arguments and results of a caller's own tools, and schemas, are left out."""

_TOOLS_OWN: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use", "code_execution_output", "bash_code_execution_output"})
"""Types of blocks in which such field names belong to a tool."""


def references(body: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> Iterator[Reference]:
    """Every place of a body, in any dialect, that names a stored object. names: the fields, and the kind each names."""
    for name, value in body.items():
        if name in names:
            yield from _named(body, name, value, names[name])
        elif name in _LISTS and isinstance(value, list):
            for at, id in enumerate(value):
                if isinstance(id, str) and id:
                    yield Reference(value, at, name, ObjectRef("files", id))
        elif name in _WITHIN:
            for inner in value if isinstance(value, list) else (value,):
                if isinstance(inner, dict) and inner.get("type") not in _TOOLS_OWN:
                    yield from references(inner, names)


def _named(body: Any, name: str, value: Any, kind: str) -> Iterator[Reference]:
    if isinstance(value, dict) and kind == "conversations":
        body, name, value, field = value, "id", value.get("id"), name
    else:
        field = name
    if not isinstance(value, str) or not value:
        return
    if field in _URIS:
        found = _KEPT_URI.fullmatch(value)
        if found is None:
            return
        value = found[1]
    yield Reference(body, name, field, ObjectRef(kind, bare(value)))


def bare(name: str) -> str:
    """A provider's own name of an object, without the collections that Google puts before it."""
    return name.rpartition("/")[2]
