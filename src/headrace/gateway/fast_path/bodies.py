"""Request bodies on the fast path: the few fields the gateway needs are decoded, the rest is forwarded as is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from headrace.gateway.fast_path.long_texts import marked, restored, shortened
from headrace.gateway.requests import DEEPEST, deeper
from headrace.models.tokens import BYTES_PER_TOKEN, PLAIN_LIMIT

_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class _Thing(Struct):
    """An object in a list, decoded only to be counted."""


_messages: Final = msgspec.json.Decoder(list[_Thing]).decode
_input: Final = msgspec.json.Decoder(str | list[_Thing]).decode
_texts: Final = msgspec.json.Decoder(str | list[str]).decode
_text: Final = msgspec.json.Decoder(str).decode


def _some_messages(prompt: Raw) -> int:
    return len(_messages(prompt))


def _some_input(prompt: Raw) -> int:
    return len(_input(prompt))


def _some_texts(prompt: Raw) -> int:
    read = _texts(prompt)
    return len(read) if type(read) is list else bool(read)


Piece: TypeAlias = bytes | memoryview | Raw
"""A part of an outgoing request body."""


class Words(Struct, frozen=True, eq=False):
    """What the fast path knows about the bodies of one operation."""

    prompt: str
    """The field with the model's input."""
    passed: Mapping[str, bytes]
    """Names of the fields that are forwarded, each with its JSON prefix (`,"name":`).

    A body with any other field takes the slow path: it may be an option for the gateway.
    """
    known: frozenset[str]
    """The names in `passed`, and `model`."""
    count: Callable[[Raw], int]
    """Counts the items of a prompt in one of the usual formats: the texts, where each gets a result of its own."""
    long: tuple[bytes, ...]
    """Prefixes of a long prompt that is forwarded without being decoded. Empty: prompts of any length are decoded."""
    most: tuple[str, ...]
    """The fields that limit the output tokens, in order of precedence."""
    parted: bool
    """Whether a file can be named only in a list of content parts inside the prompt."""


def _words(prompt: str, count: Callable[[Raw], int], long: tuple[bytes, ...], most: tuple[str, ...], *names: str) -> Words:
    passed = {name: b',"%b":' % name.encode() for name in (prompt, *most, *names)}
    return Words(prompt, passed, frozenset(passed) | {"model"}, count, long, most, "stream_options" in names)


WORDS: Final[Mapping[str, Words]] = {
    "chat": _words(
        "messages", _some_messages, (b"[{",), ("max_completion_tokens", "max_tokens"),
        "stream", "stream_options", "user", "n", "temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty",
        "logit_bias", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort",
        "verbosity", "modalities", "audio", "prediction", "web_search_options", "prompt_cache_key", "safety_identifier",
    ),
    "messages": _words(
        "messages", _some_messages, (b"[{",), ("max_tokens",),
        "stream", "system", "temperature", "top_p", "top_k", "stop_sequences", "tools", "tool_choice", "thinking", "metadata",
        "context_management", "output_config",
    ),
    "responses": _words(
        "input", _some_input, (b'"', b"[{"), ("max_output_tokens",),
        "stream", "instructions", "user", "temperature", "top_p", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls",
        "max_tool_calls", "reasoning", "text", "truncation", "include", "store", "metadata", "prompt_cache_key", "safety_identifier",
    ),
    "embeddings": _words("input", _some_texts, (), (), "user", "encoding_format", "dimensions"),
}  # fmt: skip
"""By operation name."""
CHATS: Final = WORDS["chat"]

_MEDIA: Final = re.compile(b"base64")
FEW: Final = 64
"""Occurrences of a single byte that are checked one by one before the whole body is searched."""

_NULL: Final = Raw(b"null")


class Body(Struct, frozen=True, eq=False):
    """A request body as it was sent."""

    model: str
    words: Words
    fields: Mapping[str, Raw]
    """As raw JSON, including the model."""
    stream: bool
    user: str
    """The end user that the body names, or ""."""
    most: int | None
    """The output token limit times the number of choices, if the body sets a limit."""
    prompt: int
    """Input tokens, estimated."""
    texts: int = 1
    """The number of texts that each get a result of their own."""
    long: Sequence[memoryview] = ()
    """Long texts that were cut out of `fields`, where placeholders stand for them."""

    def named(self, opening: bytes) -> list[Piece]:
        """The body with the model renamed, in pieces. opening: the beginning of the JSON with that name."""
        pieces: list[Piece] = [opening]
        passed, long = self.words.passed, self.long
        for name, value in self.fields.items():
            if name != "model" and value != _NULL and (name != "stream" or self.stream):
                if long:
                    pieces += (passed[name], *restored(value, long))
                else:
                    pieces += (passed[name], value)
        pieces.append(b"}")
        return pieces


def read_body(data: bytes, words: Words = CHATS, begin: int = 0) -> Body | None:
    """The parsed body, or None if it must be read in full on the slow path, because it is invalid or unusual.

    begin: the offset of the body in `data`.
    """
    content, long = (data[begin:], ()) if len(data) - begin < PLAIN_LIMIT else shortened(data, begin)
    try:
        fields = _fields(content)
        model, prompt = _text(fields["model"]), fields[words.prompt]
        if not data.isascii():
            data[begin:].decode()
        size = sum(map(len, restored(prompt, long))) if long else len(prompt)
        lists = content.count(b"[")
        flat = size < PLAIN_LIMIT and lists + content.count(b"{") <= DEEPEST
        texts = words.count(prompt) if flat else _some(content, prompt, words, size)
        if not (fields.keys() <= words.known and model and texts):
            return None
        if (lists > 1 or not words.parted) and _speaks_of_files(content, words):
            return None
        if (size >= PLAIN_LIMIT and _has_media(data, begin)) or (long and any(map(marked, map(fields.get, _OURS)))):
            return None
        user = "" if _WHOSE.isdisjoint(fields) else _whose(fields)
        most = None
        for name in words.most:
            if most is None and name in fields:
                most = _whole(fields[name]) or None
        n = (_whole(fields["n"]) or 1) if "n" in fields else 1
        stream = "stream" in fields and _FLAGS[bytes(fields["stream"])]
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError, RecursionError):
        return None
    return Body(model, words, fields, stream, user, most * n if most else None, size // BYTES_PER_TOKEN + 1, texts, long)


def _some(content: bytes, prompt: Raw, words: Words, size: int) -> int:
    """The number of items in the prompt; 0 if something in the body needs the slow path. size: the prompt's bytes."""
    if _too_deep(content):
        return 0
    if size < PLAIN_LIMIT:
        return words.count(prompt)
    return bytes(memoryview(prompt)[:2]).startswith(words.long) if words.long else words.count(prompt)


def _whose(fields: Mapping[str, Raw]) -> str:
    """The end user: `metadata.user_id` if present, else `user`.

    Raises ValueError if `metadata` has a field that is recorded with the call.
    """
    user = _text(fields["user"]) if fields.get("user", _NULL) != _NULL else ""
    if fields.get("metadata", _NULL) != _NULL:
        said = _fields(fields["metadata"])
        if not _NOTED.isdisjoint(said):
            raise ValueError("metadata is recorded with the call")
        user = _text(said["user_id"]) if "user_id" in said else user
    return user


_WHOSE: Final = frozenset({"user", "metadata"})
_OURS: Final = _WHOSE | {"model"}
"""The fields that are decoded here, so no placeholder may stand in them."""
_NOTED: Final = frozenset({"tags", "session_id", "spend_logs_metadata"})


def _speaks_of_files(content: bytes, words: Words) -> bool:
    """Whether the body may refer to a file by id: in a chat's messages, in other operations also in the tools."""
    if words.parted:
        return _may_name_files(content)
    return b"file_id" in content or _hidden(content)


def _hidden(content: bytes) -> bool:
    return b"\\u00" in content and _ESCAPED.search(content) is not None


def _may_name_files(content: bytes) -> bool:
    """Whether the body may refer to a file by id, whose owner must then be looked up.

    That takes a list of content parts besides the list of messages; escaped ASCII characters could hide the name.
    Brackets are found ten times as fast as words, and are rare in most texts.
    """
    at, lists = content.find(b"["), 0
    for _ in range(FEW):
        if at < 0:
            return False
        if content[at + 1 : at + 2] in _OPENS:
            lists += 1
            if lists > 1:
                break
        at = content.find(b"[", at + 1)
    return b"file_id" in content or _hidden(content)


_OPENS: Final = (b"{", b" ", b"\n", b"\r", b"\t")
_ESCAPED: Final = re.compile(rb"\\u00[2-7]")


def _has_media(content: bytes, begin: int) -> bool:
    """Whether `base64` occurs anywhere. A single byte is found ten times as fast as a word, and is rare in most texts."""
    at = content.find(b"6", begin)
    for _ in range(FEW):
        if at < 0:
            return False
        if content.startswith(b"base64", max(0, at - 4)):
            return True
        at = content.find(b"6", at + 1)
    return _MEDIA.search(content, begin) is not None


def _too_deep(content: bytes) -> bool:
    return _many(content, b"{", b"[") and deeper(msgspec.json.decode(content), DEEPEST)


def _many(content: bytes, *signs: bytes) -> bool:
    """Whether these characters occur more often than the allowed nesting depth.

    Counted one after the other, as most bodies have few.
    """
    left = DEEPEST
    for sign in signs:
        at = content.find(sign)
        while at >= 0:
            left -= 1
            if left < 0:
                return True
            at = content.find(sign, at + 1)
    return False


def _whole(said: Raw) -> int:
    """A non-negative integer, 0 for null. Raises ValueError for anything else."""
    if said == _NULL:
        return 0
    number = int(bytes(said))
    if number < 0:
        raise ValueError
    return number


_FLAGS: Final[Mapping[bytes, bool]] = {b"true": True, b"false": False, b"null": False}
