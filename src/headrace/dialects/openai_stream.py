"""Answers of OpenAI-compatible providers read without translation: whole bodies, and streams chunk by chunk."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headrace.dialects.failures import Said, classify, read_said
from headrace.errors import APIResponseValidationError, Failure, HeadraceError, Kind, TruncatedStream, error_of
from headrace.wire import Frame, Headers, HttpResponse

_decode: Final = msgspec.json.Decoder().decode


def read_body(response: HttpResponse, *, provider: str, model: str) -> dict[str, Any]:
    """The JSON object of a good reply. Raises APIResponseValidationError for anything else, and what an error inside says.

    DeepSeek sends blank lines before the body while it is busy (api-docs.deepseek.com, read 2026-11): JSON allows them.
    """
    try:
        body = _decode(response.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(response, provider, model, f"is not JSON ({error})") from None
    if type(body) is not dict:
        raise _unreadable(response, provider, model, f"is a {type(body).__name__}, not a JSON object")
    if body.get("error") and "choices" not in body and "data" not in body:
        raise error_of(_inside(body, provider, model))
    return body


def _unreadable(response: HttpResponse, provider: str, model: str, what: str) -> APIResponseValidationError:
    kind = response.headers.get("content-type", "no content type")
    size = len(response.body)
    page = "an HTML page " if response.body.lstrip()[:1] == b"<" else ""
    message = f"{provider}: the reply (status {response.status}, {kind}, {page}{size} bytes) {what}"
    return APIResponseValidationError.of(Failure(Kind.BAD_RESPONSE, message, provider=provider, model=model, headers=response.headers))


def _inside(body: dict[str, Any], provider: str, model: str) -> Failure:
    """An error that came under status 200: its own code is its status where it looks like one."""
    said = read_said(body, HttpResponse(200, Headers(), b""))
    status = int(said.code) if said.code and said.code.isdigit() and 400 <= int(said.code) < 600 else 500
    kind, scope = classify(_without_status(said, status), status, provider)
    return Failure(kind, f"{provider}: {said.message}", provider=provider, model=model, code=said.code or said.type, scope=scope, body=body)


def _without_status(said: Said, status: int) -> Said:
    return said if said.code != str(status) else Said(said.message, None, said.type, said.param, said.hint)


class ChunkReader:
    """Frames of one stream as parsed chunks. Knows a proper end from a cut."""

    __slots__ = ("_finished", "_model", "_provider", "_seen", "done")

    def __init__(self, *, provider: str, model: str) -> None:
        self._provider = provider
        self._model = model
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self.done = False
        """Whether `[DONE]` came."""

    def feed(self, frame: Frame, *, last: bool = False) -> dict[str, Any] | None:
        """The chunk; None for `[DONE]` and for what holds nothing.

        last: the frame was not ended properly, so that broken JSON is the stream's cut and not the provider's mistake.
        Raises HeadraceError for an error sent inside the stream.
        """
        data = frame.data
        if not data or data.isspace():
            return None
        if data == b"[DONE]":
            self.done = True
            return None
        try:
            chunk = _decode(data)
        except (msgspec.DecodeError, RecursionError):
            if last:
                return None
            raise self._broken(frame) from None
        if type(chunk) is not dict:
            raise self._broken(frame)
        if chunk.get("error"):
            raise error_of(_inside(chunk, self._provider, self._model))
        if frame.event == "error":
            raise error_of(_inside({"error": chunk}, self._provider, self._model))
        self._note(chunk.get("choices"))
        return chunk

    def _note(self, choices: Any) -> None:
        """Which choices began and which said they are finished."""
        for choice in choices or ():
            index = choice.get("index") or 0
            self._seen.add(index)
            reason = choice.get("finish_reason")
            if reason:
                self._finished.add(index)
                if reason == "error":  # OpenRouter: the provider behind it failed in mid-stream
                    raise error_of(_inside({"error": choice.get("error") or "the stream ended in an error"}, self._provider, self._model))

    def close(self) -> None:
        """The bytes have ended. Raises TruncatedStream unless the stream had said so: `[DONE]`, or a reason for every choice."""
        if self.done or (self._finished and self._finished >= self._seen):
            return
        raise TruncatedStream.of(
            Failure(
                Kind.TRUNCATED,
                f"{self._provider}: the stream ended before it was finished",
                provider=self._provider,
                model=self._model,
            )
        )

    def _broken(self, frame: Frame) -> HeadraceError:
        message = f"{self._provider}: a frame of the stream ({len(frame.data)} bytes) is not a JSON object"
        return APIResponseValidationError.of(Failure(Kind.BAD_RESPONSE, message, provider=self._provider, model=self._model))
