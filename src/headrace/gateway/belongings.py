"""What providers keep for the gateway's callers, whose it is, and where a body speaks of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from headrace.calls import EMPTY
from headrace.gateway.orders import Order


class Thing(Struct, frozen=True):
    """What it is called at its provider."""

    kind: str
    """As its collection is called in the provider's paths, in small letters: `files`, `cachedcontents`."""
    id: str


class Belonging(Struct, frozen=True):
    """One thing that a provider keeps for somebody."""

    thing: Thing
    deployment: str
    """The one that it was made by, whose account it lies in."""
    owner: str
    created: float
    """Seconds since 1970."""
    said: Mapping[str, Any] = EMPTY
    """What the provider told of it last."""


class Belongings(Protocol):
    """Remembers whose is what. What administrators make is nobody else's, and noted only where its account has to be known."""

    async def note(self, one: Belonging) -> None: ...

    async def find(self, things: Sequence[Thing]) -> list[Belonging]:
        """What is known of them, in no order: providers may call different things alike."""
        ...

    async def owned(self, owner: str, kind: str) -> list[Belonging]:
        """All of a kind that somebody has, the newest first."""
        ...

    async def forget(self, deployment: str, thing: Thing) -> None: ...

    async def ordered(self, order: Order) -> None:
        """A batch was made, or a response is made in the background, which somebody has to pay for."""
        ...

    async def claim(self, deployment: str, response: str) -> bool:
        """Whether nobody has paid for a response that is made in the background and was not ordered here, or is about to: from now on
        somebody is.
        """
        ...

    async def release(self, deployment: str, response: str) -> None:
        """It came to nothing yet."""
        ...

    async def done(self, deployment: str, batch: str) -> bool:
        """It has been seen to be over. Whether it waits for its bill."""
        ...


class NoBelongings:
    """Of a gateway without a database, where everybody is an administrator."""

    async def note(self, one: Belonging) -> None:
        pass

    async def claim(self, deployment: str, response: str) -> bool:
        return True

    async def release(self, deployment: str, response: str) -> None:
        pass

    async def find(self, things: Sequence[Thing]) -> list[Belonging]:
        return []

    async def owned(self, owner: str, kind: str) -> list[Belonging]:
        return []

    async def forget(self, deployment: str, thing: Thing) -> None:
        pass

    async def ordered(self, order: Order) -> None:
        pass

    async def done(self, deployment: str, batch: str) -> bool:
        return False


# ---- where a body speaks of such things --------------------------------------------------------------------------------------------


class Reference(Struct, frozen=True, eq=False):
    """A place in a body that names something kept."""

    holder: Any
    at: str | int
    field: str
    thing: Thing

    def become(self, id: str) -> None:
        """Name it as its provider does."""
        self.holder[self.at] = id


NAMES: Final[Mapping[str, str]] = {
    "file_id": "files", "conversation": "conversations", "cachedContent": "cachedcontents", "cached_content": "cachedcontents",
    "fileUri": "files", "file_uri": "files",
}  # fmt: skip
"""Fields that name one, and of which kind: of Chat Completions, Responses, Anthropic's Messages and Gemini."""

PASSED_NAMES: Final[Mapping[str, str]] = {
    **NAMES, "input_file_id": "files", "training_file": "files", "validation_file": "files", "previous_response_id": "responses",
    "previous_interaction_id": "interactions",
}  # fmt: skip
"""The same in requests to a provider's own API, where what we answer ourselves elsewhere is the provider's own too."""
_LISTS: Final = frozenset({"file_ids", "input_files"})

_URIS: Final = frozenset({"fileUri", "file_uri"})
_KEPT_URI: Final = re.compile(r"(?:.*/v1(?:alpha|beta)?/)?(files/[^/?#:]+)[?#]?.*")

_WITHIN: Final = frozenset({
    "messages", "content", "input", "contents", "parts", "file", "source", "tools", "container", "fileData", "file_data", "output",
    "generateContentRequest", "requests", "params",
})  # fmt: skip
"""Fields that hold others which do. What a caller's own tools are given or answer, and what stands in a schema, is none of it."""

_TOOLS_OWN: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use", "code_execution_output", "bash_code_execution_output"})
"""Types of blocks in which such names are those of a tool."""


def references(body: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> Iterator[Reference]:
    """Every place of a body that names something kept, in the words of whatever dialect. names: fields, and what kind they name."""
    for name, value in body.items():
        if name in names:
            yield from _named(body, name, value, names[name])
        elif name in _LISTS and isinstance(value, list):
            for at, id in enumerate(value):
                if isinstance(id, str) and id:
                    yield Reference(value, at, name, Thing("files", id))
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
    yield Reference(body, name, field, Thing(kind, bare(value)))


def bare(name: str) -> str:
    """A provider's own name of something, without the collections that Google puts before it."""
    return name.rpartition("/")[2]
