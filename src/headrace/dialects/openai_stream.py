"""Reads responses of OpenAI-compatible providers without translation: whole bodies, and streams chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects.decoding import decode
from headrace.dialects.mistral import in_one_text
from headrace.errors import APIResponseValidationError, Failure, HeadraceError, Kind, TruncatedStream, error_of
from headrace.wire import Frame, HttpResponse


def read_body(response: HttpResponse, *, provider: str, model: str) -> dict[str, Any]:
    """The JSON object of a successful response.

    Raises the error found in the body, or APIResponseValidationError for anything else.

    DeepSeek sends blank lines before the body while it is busy (api-docs.deepseek.com, read 2026-11), which JSON
    allows.
    """
    try:
        body = decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(response, provider, model, f"is not JSON ({error})") from None
    if type(body) is not dict:
        raise unreadable(response, provider, model, f"is a {type(body).__name__}, not a JSON object")
    if body.get("choices") is None and "data" not in body and body.get("object") != "response":  # a failed response carries its own error
        if body.get("error") or tells_of_failure(body):
            raise error_of(_inside(body, provider=provider, model=model))
    elif (failed := _failed_choice(body.get("choices"))) is not None:
        raise error_of(_inside(failed, provider=provider, model=model))
    return body


def tells_of_failure(body: Mapping[str, Any]) -> bool:
    """Whether an object without choices or `error` reports a failure all the same.

    It does with a message and a code (SiliconFlow), a nested status (MiniMax), or FastAPI's `detail`.
    """
    inner = body.get("base_resp")
    if isinstance(inner, Mapping) and inner.get("status_code"):
        return True
    return bool((body.get("message") or body.get("msg")) and body.get("code")) or (len(body) == 1 and bool(body.get("detail")))


def _failed_choice(choices: Any) -> dict[str, Any] | None:
    """OpenRouter: the upstream provider's error in place of a choice."""
    for choice in choices if type(choices) is list else ():
        if type(choice) is dict and choice.get("error"):
            return {"error": choice["error"]}
    return None


def unreadable(response: HttpResponse, provider: str, model: str, what: str) -> APIResponseValidationError:
    """The error for a response body that cannot be used. what: what is wrong with it."""
    kind = response.headers.get("content-type", "no content type")
    page = "an HTML page of " if response.body.lstrip()[:1] == b"<" else ""
    message = f"{provider}: the response (status {response.status}, {kind}, {page}{len(response.body)} bytes) {what}"
    return APIResponseValidationError.of(Failure(Kind.BAD_RESPONSE, message, provider=provider, model=model, headers=response.headers))


def _inside(body: Any, **where: Any) -> Failure:
    """The failure for an error sent with status 200."""
    from headrace.dialects.failures import read_error_inside  # late: only failures need its tables

    return read_error_inside(body, **where)


def one_text_of(chunk: dict[str, Any]) -> dict[str, Any]:
    """A chunk with its text where clients expect it; the same object if it is there already."""
    choices = chunk.get("choices")
    in_parts = any(type((choice.get("delta") or {}).get("content")) is list for choice in choices or ())
    return in_one_text(dict(chunk), "delta") if in_parts else chunk


def _as_deltas(chunk: dict[str, Any]) -> None:
    """Converts a whole response, from a server that ignored `stream`, into the only chunk of a stream, in place."""
    if chunk.get("object") != "chat.completion":
        return
    chunk["object"] = "chat.completion.chunk"
    for choice in chunk.get("choices") or ():
        choice["delta"] = choice.pop("message", None) or {}
        for index, call in enumerate(choice["delta"].get("tool_calls") or ()):
            call.setdefault("index", index)


BESIDE_TEXT: Final = ("tool_calls", "function_call", "refusal", "audio", "reasoning_content", "reasoning", "thinking_blocks", "images")
"""Delta fields after which a response cannot be continued from its text alone."""

_PLAIN: Final = frozenset({"role", "content"})


class Said:
    """The content streamed so far by a chat with one choice: enough for another deployment to continue from."""

    __slots__ = ("first", "plain", "texts")

    def __init__(self) -> None:
        self.first: dict[str, Any] | None = None
        """Id, created and model of the first chunk."""
        self.texts: list[str] = []
        self.plain = True
        """Whether the stream has been text only, and has not finished."""

    def note(self, chunk: Mapping[str, Any]) -> None:
        """Records a chunk, before it is turned into objects."""
        if self.first is None:
            self.first = {name: chunk[name] for name in ("id", "created", "model") if name in chunk}
        for choice in chunk.get("choices") or ():
            if type(delta := choice.get("delta")) is dict:
                self.note_piece(delta)
                if choice.get("finish_reason") or choice.get("index"):
                    self.plain = False

    def note_piece(self, delta: Mapping[str, Any]) -> None:
        if type(text := delta.get("content")) is str and text:
            self.texts.append(text)
        if not delta.keys() <= _PLAIN and any(delta.get(name) for name in BESIDE_TEXT):
            self.plain = False


class _Delta(Struct, gc=False):
    content: str | None = None


class _Choice(Struct, gc=False):
    delta: _Delta | None = None
    index: int = 0
    finish_reason: str | None = None
    usage: None = None


class _Glimpse(Struct, gc=False):
    """Fast path for chunks that carry only a piece of the response.

    Fields typed None here must be absent, else the chunk is fully parsed.
    """

    choices: tuple[_Choice, ...]
    usage: dict[str, Any] | None = None
    error: None = None
    x_groq: None = None


class _Text(_Delta, gc=False):
    """The fields of `BESIDE_TEXT`, all of which must be absent."""

    tool_calls: None = None
    function_call: None = None
    refusal: None = None
    audio: None = None
    reasoning_content: None = None
    reasoning: None = None
    thinking_blocks: None = None
    images: None = None


class _TextChoice(_Choice, gc=False):
    delta: _Text | None = None


class _TextGlimpse(Struct, gc=False):
    """Fast path for chunks that carry only text."""

    choices: tuple[_TextChoice, ...]
    usage: dict[str, Any] | None = None
    error: None = None
    x_groq: None = None


_glimpse: Final[Callable[[bytes], _Glimpse]] = msgspec.json.Decoder(_Glimpse).decode
_glimpse_of_text: Final[Callable[[bytes], _TextGlimpse]] = msgspec.json.Decoder(_TextGlimpse).decode


class ChunkReader(Struct, kw_only=True, eq=False):
    """Parses the frames of one chat or text completion stream into chunks. Tells a proper end from a truncation."""

    provider: str
    model: str
    done: bool = False
    """Whether `[DONE]` was received."""
    usage: dict[str, Any] | None = None
    """The latest usage, wherever the provider puts it: those that send it repeatedly usually send it cumulatively."""
    said: Said | None = None
    """Records the streamed content, if requested."""
    _seen: set[int] = set()
    _finished: set[int] = set()
    _in_parts: bool = False

    def feed(self, frame: Frame, *, last: bool = False) -> dict[str, Any] | None:
        """The chunk; None for `[DONE]` and for empty data.

        last: the frame was not terminated, so invalid JSON means truncation rather than a provider error. Raises
        HeadraceError for an error sent within the stream.
        """
        data = frame.data
        if not data or data.isspace():
            return None
        if data.lstrip()[:6] == b"[DONE]":
            self.done = True
            return None
        try:
            chunk = decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if last:
                return None
            raise self._broken(frame) from None
        if type(chunk) is not dict:
            raise self._broken(frame)
        if self._is_piece(chunk) and frame.event is None:
            return chunk
        if chunk.get("error"):
            raise self._error(chunk)
        if frame.event == "error":
            raise self._error({"error": chunk})
        if chunk.get("choices") is None and tells_of_failure(chunk):
            raise self._error(chunk)
        try:
            if last:
                _as_deltas(chunk)
            self._note(chunk)
            if self.said is not None:
                self.said.note(chunk)
        except (AttributeError, TypeError):
            raise self._broken(frame) from None
        return chunk

    def look(self, frame: Frame) -> None:
        """`feed` for callers that do not need the chunk."""
        self.feed(frame)

    def glance(self, data: bytes) -> bool:
        """Fast path: True if a valid chunk carries only a piece of the response or its end.

        Such a chunk is recorded here, at a third of `feed`'s cost.
        """
        said = self.said
        try:
            chunk = _glimpse(data) if said is None or not said.plain else _glimpse_of_text(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False  # `feed` reports what is wrong, if anything
        if len(chunk.choices) != 1:
            return False
        choice = chunk.choices[0]
        if choice.finish_reason:
            if said is not None or choice.finish_reason == "error":
                return False
            self._finished.add(choice.index)
        if choice.index not in self._seen:
            if said is not None:
                return False  # its first chunk has more to record
            self._seen.add(choice.index)
        if chunk.usage:
            self.usage = chunk.usage
        if said is not None and (delta := choice.delta) is not None and delta.content:
            said.texts.append(delta.content)
        return True

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        """The chunks of a frame, with text where clients expect it."""
        chunk = self.feed(frame, last=last)
        if chunk is None:
            return ()
        return (in_one_text(chunk, "delta") if self._in_parts else chunk,)

    def rest(self) -> Sequence[dict[str, Any]]:
        """`close` for callers that take chunks; the result is empty because nothing is held back."""
        self.close()
        return ()

    def _is_piece(self, chunk: dict[str, Any]) -> bool:
        """Whether a chunk carries only a piece of the response, as nearly every one does. Such a chunk is recorded here."""
        try:
            (choice,) = chunk["choices"]
            delta = choice["delta"]
            if choice["finish_reason"] is not None or choice["index"] not in self._seen or type(delta.get("content")) is list:
                return False
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        if chunk.get("usage") or chunk.get("error"):
            return False
        if self.said is not None:
            self.said.note_piece(delta)
        return True

    def _note(self, chunk: dict[str, Any]) -> None:
        """Records which choices began and which have finished, the usage, and whether content is a list of parts."""
        usage = chunk.get("usage")
        for choice in chunk.get("choices") or ():
            index = choice.get("index") or 0
            self._seen.add(index)
            delta = choice.get("delta")
            if type(delta) is dict and type(delta.get("content")) is list:
                self._in_parts = True
            reason = choice.get("finish_reason")
            if reason:
                self._finished.add(index)
                usage = usage or choice.get("usage") or (chunk.get("x_groq") or {}).get("usage")  # Moonshot; Groq
                if reason == "error":  # OpenRouter: the upstream provider failed mid-stream
                    raise self._error({"error": choice.get("error") or "the stream ended with an error"})
        if type(usage) is dict and usage:
            self.usage = usage

    def close(self) -> None:
        """Ends the stream. Raises TruncatedStream unless `[DONE]` or a finish reason for every choice was received."""
        if self.done or (self._finished and self._finished >= self._seen):
            return
        message = f"{self.provider}: the stream ended early"
        raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self.provider, model=self.model))

    def _error(self, body: dict[str, Any]) -> HeadraceError:
        return error_of(_inside(body, provider=self.provider, model=self.model))

    def _broken(self, frame: Frame) -> HeadraceError:
        message = f"{self.provider}: a stream frame ({len(frame.data)} bytes) is not valid in the dialect"
        return APIResponseValidationError.of(Failure(Kind.BAD_RESPONSE, message, provider=self.provider, model=self.model))
