"""What a body decides, seen in passing: the few fields that are ours to read, the rest handed on as it came."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from headrace.gateway.requests import DEEPEST, deeper
from headrace.gateway.straight.long_texts import marked, restored, shortened
from headrace.models.tokens import BYTES_PER_TOKEN, PLAIN_LIMIT

_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class _Thing(Struct):
    """An object in a list: nothing of it is kept."""


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
"""Of a body that goes out."""


class Words(Struct, frozen=True, eq=False):
    """What of one operation's bodies is seen in passing."""

    prompt: str
    """The field that the model reads."""
    passed: Mapping[str, bytes]
    """Parameters that go on unseen, or seen, as they begin in JSON. With any other name the body is read whole: it may say something
    to us."""
    known: frozenset[str]
    """Their names, and the model's."""
    count: Callable[[Raw], int]
    """How many things a prompt in one of the usual forms has: of texts that are answered each by itself, their number."""
    long: tuple[bytes, ...]
    """How a long prompt in one of them begins, which is not decoded. Empty: it is, however long."""
    most: tuple[str, ...]
    """Where it says how many tokens the model may write."""
    parted: bool
    """Whether a file is named in a list of the prompt's parts or nowhere."""


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
"""By the operation's name."""
CHATS: Final = WORDS["chat"]

_MEDIA: Final = re.compile(b"base64")
FEW: Final = 64
"""Sixes that are looked at one by one."""

_NULL: Final = Raw(b"null")


class Body(Struct, frozen=True, eq=False):
    """A call as it was sent."""

    model: str
    words: Words
    fields: Mapping[str, Raw]
    """As JSON, the model among them."""
    stream: bool
    user: str
    """Whom the caller says it asks for."""
    most: int | None
    """The most tokens that it lets the model write, where it says so."""
    prompt: int
    """Tokens, as estimated."""
    texts: int = 1
    """How many, where each is answered by itself."""
    long: Sequence[memoryview] = ()
    """Long texts, for which marks stand in the fields."""

    def named(self, opening: bytes) -> list[Piece]:
        """The same with another name for the model, in pieces. opening: the JSON's beginning, with that name."""
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
    """None for what has to be read whole, be it wrong, or unusual. begin: where in `data` the body begins."""
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
    """How many things the prompt has; 0 as well where something in the body is of a kind that asks for a closer look. size: its bytes."""
    if _too_deep(content):
        return 0
    if size < PLAIN_LIMIT:
        return words.count(prompt)
    return bytes(memoryview(prompt)[:2]).startswith(words.long) if words.long else words.count(prompt)


def _whose(fields: Mapping[str, Raw]) -> str:
    """The `user` of a body, or that of its `metadata`. Raises ValueError where the latter says something else that is ours to note."""
    user = _text(fields["user"]) if fields.get("user", _NULL) != _NULL else ""
    if fields.get("metadata", _NULL) != _NULL:
        said = _fields(fields["metadata"])
        if not _NOTED.isdisjoint(said):
            raise ValueError("it is noted with the call")
        user = _text(said["user_id"]) if "user_id" in said else user
    return user


_WHOSE: Final = frozenset({"user", "metadata"})
_OURS: Final = _WHOSE | {"model"}
"""What is read here, and has to be whole."""
_NOTED: Final = frozenset({"tags", "session_id", "spend_logs_metadata"})


def _speaks_of_files(content: bytes, words: Words) -> bool:
    """Whether a file may be named by its id: in a chat's messages, elsewhere also among the tools."""
    if words.parted:
        return _may_name_files(content)
    return b"file_id" in content or _hidden(content)


def _hidden(content: bytes) -> bool:
    return b"\\u00" in content and _ESCAPED.search(content) is not None


def _may_name_files(content: bytes) -> bool:
    """Whether a file may be named by its id: whose it is has to be looked up. That takes a list of parts besides that of the messages, and
    plain signs that are escaped could hide the name. Brackets are found ten times as fast as words, and are rare in most texts.
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
    """Whether `base64` stands anywhere. A single byte is found ten times as fast as a word, and is rare in most texts."""
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


def _whole(said: Raw) -> int:
    """0 for null. Raises ValueError for what is no whole number of at least 0."""
    if said == _NULL:
        return 0
    number = int(bytes(said))
    if number < 0:
        raise ValueError
    return number


_FLAGS: Final[Mapping[bytes, bool]] = {b"true": True, b"false": False, b"null": False}
