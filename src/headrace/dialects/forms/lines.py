"""Files of calls: OpenAI's lines as a provider's requests, and a provider's results as OpenAI's lines."""

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
"""What the lines of a file may ask for."""
EMBEDDINGS: Final = "/v1/embeddings"
"""What they may ask of some models besides."""


class Line(Struct, frozen=True):
    """One call of a file, as its provider takes it."""

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
    """The chats of a file in OpenAI's words, each written in a dialect: the same for all, or by its model.

    embedder: the form of a model's embeddings, which its lines may ask for then in place of chats.

    Raises BadRequestError that names the line.
    """
    if not isinstance(file, FormFile):
        raise BadRequestError("a file of calls must be one file")
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
        raise BadRequestError(f"file: line {number} is no request: {error}") from None
    named = asked.body.get("model")
    if not isinstance(named, str):
        raise BadRequestError(f"file: line {number} names no model")
    model = named.removeprefix(f"{target.provider}/")
    vectors = embedder(model)
    if asked.url != (CHATS if vectors is None else EMBEDDINGS):
        takes = CHATS if vectors is None else f"{EMBEDDINGS} of {model}"
        raise BadRequestError(f"file: line {number} asks for {asked.url[:40]!r}; {target.provider} takes {takes} in files")
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
    """A result that came, as OpenAI's line. Raises HeadraceError for one that cannot be read."""
    told = HttpResponse(200, Headers(), msgspec.json.encode(body))
    chat = Translation(load(dialect), target, ChatRequest(model=target.model, messages=()), "chat").read(told)
    return _line(custom_id, 200, chat.get("id"), chat)


def embedded(custom_id: str, body: Json, embedder: str, target: Target) -> dict[str, Json]:
    """The same of embeddings."""
    told = HttpResponse(200, Headers(), msgspec.json.encode(body))
    asked = EmbeddingRequest(model=target.model, input="")
    return _line(custom_id, 200, None, Translation(load(embedder), target, asked, "embeddings").read(told))


def unread(custom_id: str, body: Json) -> dict[str, Json]:
    """A result in words that nobody here knows, as it came."""
    return _line(custom_id, 200, None, body)


def failed(custom_id: str, error: Mapping[str, Json], target: Target) -> dict[str, Json]:
    """A call that failed, in the provider's words of it, as OpenAI's line: with the status it would have had as a call of its own."""
    failure = read_error_inside(error, provider=target.provider, model=target.model)
    said = {"message": failure.message.removeprefix(f"{target.provider}: "), "type": failure.code, "param": failure.param, "code": None}
    return _line(custom_id, POLICY[failure.kind].status, error.get("request_id"), {"error": said})


def never_ran(custom_id: str, why: str) -> dict[str, Json]:
    """A call that was never made: the batch ended before."""
    said = {"message": f"the request was {why}", "type": "invalid_request_error", "param": None, "code": f"batch_{why}"}
    return _line(custom_id, POLICY[Kind.BAD_REQUEST].status, None, {"error": said})


def _line(custom_id: str, status: int, request_id: Json, body: Json) -> dict[str, Json]:
    answer = {"status_code": status, "request_id": request_id or "", "body": body}
    return {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": answer, "error": None}


def lines_in(told: bytes) -> Iterator[bytes]:
    """The lines of a reply that are not empty, one by one."""
    start = 0
    while start < len(told):
        end = told.find(b"\n", start)
        end = len(told) if end < 0 else end
        if line := told[start:end].strip():
            yield line
        start = end + 1


def joining(lines: Iterable[dict[str, Json]]) -> Steps[bytes]:
    """Lines as a file, one in each step."""
    made = []
    for line in lines:
        made.append(msgspec.json.encode(line) + b"\n")
        yield
    return b"".join(made)
