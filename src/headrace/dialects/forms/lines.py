"""Batch files: converts OpenAI's lines to a provider's requests, and a provider's results to OpenAI's lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.failures import read_error_inside
from headrace.dialects.translate import Translation, translate
from headrace.errors import POLICY, BadRequestError, Kind, UnsupportedParamsError
from headrace.multipart import FormFile
from headrace.slices import Steps
from headrace.types import ChatRequest, EmbeddingRequest, Json
from headrace.wire import Headers, HttpRequest, HttpResponse

CHATS: Final = "/v1/chat/completions"
"""The endpoint that lines call."""
EMBEDDINGS: Final = "/v1/embeddings"
"""The endpoint that lines call for embedding models."""


class Line(Struct, frozen=True):
    """One call of a batch file, as its provider's request."""

    number: int
    custom_id: str
    model: str
    request: HttpRequest
    dialect: str


class _Asked(Struct):
    custom_id: str
    body: dict[str, Json]
    url: str = CHATS


_decode: Final = msgspec.json.Decoder(_Asked).decode


def lines_of(
    file: Any, dialect: str | Callable[[str], str], target: Target, embedder: Callable[[str], str | None] = lambda model: None
) -> Iterator[Line]:
    """The calls of a batch file in OpenAI's format, each translated to a dialect: a fixed one, or one chosen by model.

    embedder: returns the embedding format of a model, or None for chat models.

    Raises BadRequestError that names the line.
    """
    if not isinstance(file, FormFile):
        raise BadRequestError("a batch input must be a single file")
    for number, line in enumerate(_split(file), 1):
        if line.strip():
            yield _read(line, number, dialect, target, embedder)


def _split(file: FormFile) -> Iterator[bytes]:
    held: list[bytes] = []
    for piece in file.pieces():
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            yield b"".join([*held, piece[start:end]])
            held.clear()
            start = end + 1
        held.append(piece[start:])
    yield b"".join(held)


def _read(line: bytes, number: int, dialect: str | Callable[[str], str], target: Target, embedder: Callable[[str], str | None]) -> Line:
    try:
        asked = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"file: line {number} is not a request: {error}") from None
    named = asked.body.get("model")
    if not isinstance(named, str):
        raise BadRequestError(f"file: line {number} names no model")
    model = named.removeprefix(f"{target.provider}/")
    vectors = embedder(model)
    if asked.url != (CHATS if vectors is None else EMBEDDINGS):
        takes = CHATS if vectors is None else f"{EMBEDDINGS} for {model}"
        raise BadRequestError(f"file: line {number} calls {asked.url[:40]!r}; {target.provider} accepts {takes} in files")
    own = msgspec.structs.replace(target, model=model)
    body = {**asked.body, "model": model}
    body.pop("stream", None)
    spoken = vectors or (dialect if isinstance(dialect, str) else dialect(model))
    operation = "chat" if vectors is None else "embeddings"
    try:
        written = translate(spoken, own, operation, body, {"drop_params": target.drop_params}).write()
    except BadRequestError as error:
        made = UnsupportedParamsError if isinstance(error, UnsupportedParamsError) else BadRequestError
        raise made(f"file: line {number}: {error.message}", model, target.provider) from None
    return Line(number, asked.custom_id, model, written, spoken)


# ---- results -----------------------------------------------------------------------------------------------------------------------


def answered(custom_id: str, body: Json, dialect: str, target: Target) -> dict[str, Json]:
    """A successful result as OpenAI's line. Raises HeadraceError for an unreadable one."""
    told = HttpResponse(200, Headers(), msgspec.json.encode(body))
    chat = Translation(load(dialect), target, ChatRequest(model=target.model, messages=()), "chat").read(told)
    return _line(custom_id, 200, chat.get("id"), chat)


def embedded(custom_id: str, body: Json, embedder: str, target: Target) -> dict[str, Json]:
    """The same for embeddings."""
    told = HttpResponse(200, Headers(), msgspec.json.encode(body))
    asked = EmbeddingRequest(model=target.model, input="")
    return _line(custom_id, 200, None, Translation(load(embedder), target, asked, "embeddings").read(told))


def unread(custom_id: str, body: Json) -> dict[str, Json]:
    """A result in an unknown format, unchanged."""
    return _line(custom_id, 200, None, body)


def failed(custom_id: str, error: Mapping[str, Json], target: Target) -> dict[str, Json]:
    """A failed call as OpenAI's line, with the HTTP status it would have had outside a batch. error: in the provider's format."""
    failure = read_error_inside(error, provider=target.provider, model=target.model)
    said = {"message": failure.message.removeprefix(f"{target.provider}: "), "type": failure.code, "param": failure.param, "code": None}
    return _line(custom_id, POLICY[failure.kind].status, error.get("request_id"), {"error": said})


def never_ran(custom_id: str, why: str) -> dict[str, Json]:
    """A call that was never run because the batch ended first."""
    said = {"message": f"the request was {why}", "type": "invalid_request_error", "param": None, "code": f"batch_{why}"}
    return _line(custom_id, POLICY[Kind.BAD_REQUEST].status, None, {"error": said})


def _line(custom_id: str, status: int, request_id: Json, body: Json) -> dict[str, Json]:
    answer = {"status_code": status, "request_id": request_id or "", "body": body}
    return {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": answer, "error": None}


def lines_in(told: bytes) -> Iterator[bytes]:
    """The non-empty lines of a response, one by one."""
    start = 0
    while start < len(told):
        end = told.find(b"\n", start)
        end = len(told) if end < 0 else end
        if line := told[start:end].strip():
            yield line
        start = end + 1


def joining(lines: Iterable[dict[str, Json]]) -> Steps[bytes]:
    """The lines joined into a file, in steps of one line."""
    made = []
    for line in lines:
        made.append(msgspec.json.encode(line) + b"\n")
        yield
    return b"".join(made)
