"""What a body decides, seen in passing: the few fields that are ours to read, the rest handed on as it came."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from headrace.gateway.requests import DEEPEST, deeper
from headrace.models.tokens import BYTES_PER_TOKEN, PLAIN_LIMIT

_NAMES: Final = (
    "messages", "stream", "stream_options", "user", "max_tokens", "max_completion_tokens", "n", "temperature", "top_p", "stop", "seed",
    "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "reasoning_effort", "verbosity", "modalities", "audio", "prediction", "web_search_options", "prompt_cache_key",
    "safety_identifier",
)  # fmt: skip
"""A chat's parameters that go on unseen, or seen. With any other name the body is read whole: it may say something to us."""
PASSED: Final[Mapping[str, bytes]] = {name: b',"%b":' % name.encode() for name in _NAMES}
_KNOWN: Final = frozenset(PASSED) | {"model"}

_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_messages: Final = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_text: Final = msgspec.json.Decoder(str).decode
_MEDIA: Final = re.compile(b"base64")
FEW: Final = 64
"""Sixes that are looked at one by one."""

_NULL: Final = Raw(b"null")


class Body(Struct, frozen=True, eq=False):
    """A chat as it was sent."""

    model: str
    fields: Mapping[str, Raw]
    """As JSON, the model among them."""
    stream: bool
    user: str
    most: int | None
    """The most tokens that it lets the model write, where it says so."""
    prompt: int
    """Tokens, as estimated."""

    def named(self, opening: bytes) -> list[bytes | Raw]:
        """The same with another name for the model, in pieces. opening: the JSON's beginning, with that name."""
        pieces: list[bytes | Raw] = [opening]
        for name, value in self.fields.items():
            if name != "model" and value != _NULL and (name != "stream" or self.stream):
                pieces += (PASSED[name], value)
        pieces.append(b"}")
        return pieces


def read_body(content: bytes) -> Body | None:
    """None for what has to be read whole, be it wrong, or unusual."""
    try:
        fields = _fields(content)
        model, messages = _text(fields["model"]), fields["messages"]
        if not (fields.keys() <= _KNOWN and model and _sound(content, messages)) or _may_name_files(bytes(messages)):
            return None
        user = _text(fields["user"]) if fields.get("user", _NULL) != _NULL else ""
        most, n = _whole(fields, "max_completion_tokens") or _whole(fields, "max_tokens"), _whole(fields, "n") or 1
        stream = _flag(fields, "stream")
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError, RecursionError):
        return None
    return Body(model, fields, stream, user, most * n if most else None, len(messages) // BYTES_PER_TOKEN + 1)


def _sound(content: bytes, messages: Raw) -> bool:
    """Whether the messages are some, and nothing in the body is of a kind that asks for a closer look."""
    if not content.isascii():
        content.decode()
    if len(messages) >= PLAIN_LIMIT:
        return bytes(memoryview(messages)[:2]) == b"[{" and not _has_media(content) and not _too_deep(content)
    return bool(_messages(messages)) and not _too_deep(content)


def _may_name_files(messages: bytes) -> bool:
    """Whether a file may be named by its id: whose it is has to be looked up. That takes a list of parts, and plain signs that are escaped
    could hide the name. Brackets are found ten times as fast as words, and are rare in most texts.
    """
    at = messages.find(b"[", 1)
    for _ in range(FEW):
        if at < 0:
            return False
        if messages[at + 1 : at + 2] in _OPENS:
            break
        at = messages.find(b"[", at + 1)
    return b"file_id" in messages or (b"\\u00" in messages and _ESCAPED.search(messages) is not None)


_OPENS: Final = (b"{", b" ", b"\n", b"\r", b"\t")
_ESCAPED: Final = re.compile(rb"\\u00[2-7]")


def _has_media(content: bytes) -> bool:
    """Whether `base64` stands anywhere. A single byte is found ten times as fast as a word, and is rare in most texts."""
    at = content.find(b"6")
    for _ in range(FEW):
        if at < 0:
            return False
        if content.startswith(b"base64", max(0, at - 4)):
            return True
        at = content.find(b"6", at + 1)
    return _MEDIA.search(content) is not None


def _too_deep(content: bytes) -> bool:
    return _many(content, b"{", b"[") and deeper(msgspec.json.decode(content), DEEPEST)


def _many(content: bytes, *signs: bytes) -> bool:
    """Whether there are more of these signs than levels are allowed. Looks for one after the other: mostly there are few."""
    left = DEEPEST
    for sign in signs:
        at = content.find(sign)
        while at >= 0:
            left -= 1
            if left < 0:
                return True
            at = content.find(sign, at + 1)
    return False


def _whole(fields: Mapping[str, Raw], name: str) -> int | None:
    """Raises ValueError for what is no whole number."""
    said = fields.get(name)
    if said is None or said == _NULL:
        return None
    return int(bytes(said))


def _flag(fields: Mapping[str, Raw], name: str) -> bool:
    said = fields.get(name)
    if said is None:
        return False
    return _FLAGS[bytes(said)]


_FLAGS: Final[Mapping[bytes, bool]] = {b"true": True, b"false": False, b"null": False}
