"""The content of calls for the ledger, if enabled: in the caller's format, secrets masked, shortened."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from headrace.calls import Call
from headrace.errors import HeadraceError
from headrace.framing import SseReader
from headrace.layers.guardrails import Finding, apart, masked
from headrace.layers.secret_forms import COMMON, HOUSES
from headrace.objects import JsonObject

log: Final = logging.getLogger("headrace.gateway")

HEARD: Final = 2 << 20
"""Bytes of a stream that are read: its events are many times longer than their content."""

LARGEST: Final = 16 << 20
"""Bytes of the largest whole response that is read."""


class Content:
    """What one call sends, and the response to its caller."""

    __slots__ = ("_asked", "_heard", "_kind", "_most", "_size")

    def __init__(self, most: int) -> None:
        """most: characters that are kept of the request, and as many of the response."""
        self._most = most
        self._asked: Any = None
        self._heard: list[bytes] = []
        self._size = 0
        self._kind = ""

    def ask(self, question: Any) -> None:
        """Set the body of the call; None removes it, as a rule may refuse to forward it."""
        self._asked = question

    def hear(self, piece: bytes, kind: str) -> None:
        """Take a part of the response, of content type `kind`."""
        self._kind = kind
        if self._size < HEARD:
            self._heard.append(piece)
        self._size += len(piece)

    def written(self) -> dict[str, Any]:
        """`request` and `response`, as far as present; empty if they cannot be read, as recording must never fail a call."""
        try:
            said = {"request": self._asked, "response": self._answer() if self._heard else None}
            return {name: shortened(value, self._most) for name, value in said.items() if value is not None}
        except Exception as error:  # its message might repeat the content
            log.error("the content of a call could not be recorded: %s", type(error).__name__)
            return {}

    def _answer(self) -> Any:
        data = b"".join(self._heard)
        if self._kind.startswith("text/event-stream"):
            return told(data)
        if self._kind.endswith("/x-ndjson"):
            return [read(line) for line in data.splitlines() if line.strip()]
        if self._kind.startswith("text/"):
            return data.decode("utf-8", "replace")
        said = read(data) if "json" in self._kind and len(data) <= LARGEST else None
        return f"<{self._size} bytes of {self._kind or 'something'}>" if said is None or isinstance(said, str) else said


def question_of(call: Call) -> Any:
    """A call's body with its model, as it is about to be sent."""
    request = call.body.get("request")
    if call.operation.name == "passed":
        return read(getattr(request, "body", b""))
    return {"model": call.model, **call.body, **({call.operation.prompt: call.prompt} if call.operation.prompt else {})}


def read(content: bytes) -> Any:
    """A body in a provider's own format: its JSON, else a note with its length."""
    try:
        return msgspec.json.decode(content) if content else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"<{len(content)} bytes>"


# ---- a stream as a whole response
# ------------------------------------------------------------------------------------------------


def told(stream: bytes) -> Any:
    """The whole response that a stream amounts to, in the same dialect; for an unknown dialect the events themselves."""
    reader = SseReader()
    events = [event for frame in [*reader.feed(stream), *reader.close()] if isinstance(event := read(frame.data), dict)]
    dialect = next(filter(None, map(_dialect_of, events)), None)
    if dialect is None:
        return events if len(events) != 1 else events[0]
    try:
        return _whole(dialect, events)
    except (HeadraceError, KeyError, TypeError, ValueError, AttributeError):
        return events


def _dialect_of(event: Mapping[str, Any]) -> str | None:
    kind = str(event.get("type") or "")
    if "choices" in event:
        return "openai_chat"
    if "candidates" in event:
        return "gemini"
    if kind.startswith(("message_", "content_block_")):
        return "anthropic_messages"
    return "openai_responses" if kind.startswith("response.") else "openai_events" if kind.endswith((".done", ".completed")) else None


def _whole(dialect: str, events: Sequence[dict[str, Any]]) -> Any:
    if dialect == "openai_events":
        return events[-1]
    if dialect == "openai_chat":
        from headrace.rebuild import stream_chunk_builder  # late: only for calls whose content is kept

        return stream_chunk_builder(events)
    from headrace.dialects import load  # late as well
    from headrace.dialects.base import Target  # late as well
    from headrace.dialects.collect import collect  # late as well
    from headrace.types import ChatRequest  # late as well
    from headrace.wire import Frame  # late as well

    spoken = load(dialect)
    reader = spoken.read_stream(ChatRequest(model="", messages=()), Target("", ""))
    frames = [Frame(msgspec.json.encode(event), event.get("type")) for event in events]
    return spoken.write_response(collect([said for frame in frames for said in reader.feed(frame)]))


# ---- masking and shortening
# ------------------------------------------------------------------------------------------------------

HIDDEN: Final = "<SECRET>"
_NAMES: Final = frozenset({
    "api_key", "apikey", "password", "passwd", "secret", "client_secret", "authorization", "access_token", "refresh_token", "private_key",
})  # fmt: skip
"""Fields that only hold secrets."""
_BASE64: Final = re.compile(r"(?:data:[\w.+/;=-]{0,100};base64,)?[A-Za-z0-9+/_-]{1024}")
_BESIDE: Final = 8
"""Characters that a number counts as."""
_LONGEST: Final = 4096
"""Characters of the longest secret: a text is searched that far beyond what is kept of it."""


def shortened(value: Any, most: int) -> Any:
    """`value` as JSON with at most `most` characters of texts and numbers, secrets masked, and binary data replaced by a note."""
    return _shortened(value, [most])


def _shortened(value: Any, room: list[int]) -> Any:
    match value:
        case str():
            return _text(value, room)
        case None | bool() | int() | float():
            room[0] -= _BESIDE
            return value
        case msgspec.Raw():
            return _shortened(read(bytes(value)), room)
        case Mapping():
            return _fields(value, room)
        case JsonObject():
            return _fields(value.__dict__, room)
        case list():
            return _items(value, room)
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case tuple() if value and isinstance(value[0], str):  # a file of a form
            return f"<{value[0]}>"
    return f"<{getattr(value, 'name', None) or type(value).__name__}>"


def _fields(value: Mapping[str, Any], room: list[int]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, inner in value.items():
        if room[0] <= 0:
            kept["…"] = f"{len(value) - len(kept)} more"
            break
        room[0] -= len(name)
        kept[name] = HIDDEN if name.lower() in _NAMES and isinstance(inner, str) else _shortened(inner, room)
    return kept


def _items(value: Sequence[Any], room: list[int]) -> list[Any]:
    kept: list[Any] = []
    for inner in value:
        if room[0] <= 0:
            return [*kept, f"… {len(value) - len(kept)} more"]
        kept.append(_shortened(inner, room))
    return kept


def _text(text: str, room: list[int]) -> str:
    if _BASE64.match(text):
        room[0] -= _BESIDE
        return f"{text[:32]}… ({len(text)} characters of data)"
    masked = _masked(text[: max(0, room[0]) + _LONGEST])
    kept = masked[: max(0, room[0])]
    room[0] -= len(kept)
    return kept if len(kept) == len(masked) else f"{kept}… ({len(text)} characters)"


def _masked(text: str) -> str:
    found = [
        Finding(match.start(), match.end(), kind) for kind, matches in _forms() for match in matches(text) if match.end() > match.start()
    ]
    return masked(text, apart(found))


def prepare() -> None:
    """Load the patterns of secrets: a quarter of a second that the first call then does not wait for."""
    _forms()


@cache
def _forms() -> tuple[tuple[str, Callable[[str], Any]], ...]:
    """Patterns of secrets: all those of the rule `hide-secrets` if its package is installed."""
    own = [(kind, re.compile(form)) for kind, form in {**HOUSES, **COMMON}.items()]
    try:
        from headrace.layers.secrets import patterns  # late: an extra
    except ImportError:
        pass
    else:
        own += patterns()
    return tuple([(kind, form.finditer) for kind, form in own])
