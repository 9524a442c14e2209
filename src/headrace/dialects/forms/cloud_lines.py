"""Batch calls and results on Bedrock and Vertex AI: converts OpenAI's lines to theirs, and their results back.

- Bedrock: an input is an InvokeModel body, for embeddings too (docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html).
- Claude on Vertex AI: cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude-batch.
- Gemini on Vertex AI: lines have no id, so it is kept in labels, as LiteLLM 1.106.2 does.
- Gemini's embeddings: lines have a `key`
  (docs.cloud.google.com/gemini-enterprise-agent-platform/models/embeddings/batch-prediction-genai-embeddings).
  That page puts the options under `embed_content_config`, but LiteLLM 1.106.2 found that the service rejects it and puts them next to
  the content, as done here.
- text-embedding-005 and similar models: rejected, because lines hold only a text, so results could not be matched to calls.

All read 2026-11-29.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from binascii import Error as NotBase32
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects import EMBEDDERS
from headrace.dialects.base import Target
from headrace.dialects.forms.lines import Line, answered, embedded, failed, joining, lines_in, lines_of, unread
from headrace.errors import BadRequestError
from headrace.framing import MAX_FRAME, too_large
from headrace.multipart import FormFile
from headrace.slices import Steps
from headrace.types import Json

CLAUDE: Final = "anthropic_messages"
CONVERSE: Final = "bedrock_converse"
GEMINI: Final = "gemini"


class Row(Struct, frozen=True):
    """A call in the cloud's format."""

    model: str
    dialect: str
    line: bytes


_ON_BEDROCK: Final = re.compile(r"(?:(?:converse|invoke)/|[a-z]{2,4}(?:-[a-z]+)+-\d/)*")
"""LiteLLM's prefixes of a model's name: the API to use, and the region."""
_ON_VERTEX: Final = re.compile(r"(?:publishers/(?:google|anthropic)/models/|google/|gemini/|anthropic/)?")


def bedrocks(file: FormFile, target: Target) -> Iterator[Row]:
    """Claude's calls and embeddings in InvokeModel's format, other chats in Converse's: a batch uses one or the other."""
    for line in _of_one_model(file, lambda model: CLAUDE if "claude" in model else CONVERSE, target, _embedder):
        asked = msgspec.json.decode(line.request.body)
        model = _ON_BEDROCK.sub("", line.model, count=1)
        if line.dialect in EMBEDDERS:
            said = {name: value for name, value in asked.items() if name != "model"}
            yield _row(model, line.dialect, {"recordId": line.custom_id, "modelInput": said})
        elif "claude" in model:
            yield _row(model, CLAUDE, {"recordId": line.custom_id, "modelInput": _claudes(asked, line, "bedrock-2023-05-31")})
        elif "toolConfig" in asked:
            raise BadRequestError(
                f"file: line {line.number} has tools: Bedrock accepts them only in batches for Claude", model, target.provider
            )
        else:
            yield _row(model, CONVERSE, {"recordId": line.custom_id, "modelInput": asked})


def _embedder(model: str) -> str | None:
    """The format of Bedrock's embedding models, each of which embeds one text."""
    return "titan" if "titan-embed" in model else "nova" if re.search(r"\bnova\b.*embeddings", model) else None


def vertexs(file: FormFile, target: Target) -> Iterator[Row]:
    for line in _of_one_model(file, lambda model: CLAUDE if "claude" in model else GEMINI, target, _geminis_embedder):
        asked = msgspec.json.decode(line.request.body)
        model = _ON_VERTEX.sub("", line.model, count=1)
        if "/" in model:
            raise BadRequestError(f"file: line {line.number}: Vertex AI accepts batches for Gemini and Claude, not for {model!r}", model)
        if line.dialect in EMBEDDERS:
            said = {_EMBED_WORDS.get(name, name): value for name, value in asked.items() if name != "model"}
            yield _row(model, line.dialect, {"key": line.custom_id, "request": said})
        elif "claude" in model:
            yield _row(model, CLAUDE, {"custom_id": line.custom_id, "request": _claudes(asked, line, "vertex-2023-10-16")})
        else:
            labels = {**(asked.get("labels") or {}), **_labels(line.custom_id)}
            yield _row(model, GEMINI, {"request": {**asked, "labels": labels}})


def _geminis_embedder(model: str) -> str | None:
    return GEMINIS_EMBEDDER if "gemini-embedding" in model else None


GEMINIS_EMBEDDER: Final = "embed_content"
_EMBED_WORDS: Final = {"outputDimensionality": "output_dimensionality", "taskType": "task_type", "autoTruncate": "auto_truncate"}


def _of_one_model(
    file: FormFile, dialect: Any, target: Target, embedder: Callable[[str], str | None] = lambda model: None
) -> Iterator[Line]:
    first = ""
    for line in lines_of(file, dialect, target, embedder):
        first = first or line.model
        if line.model != first:
            raise BadRequestError(
                f"file: line {line.number} is for {line.model!r}, but those before it are for {first!r}: "
                f"{target.provider} allows one model per batch"
            )
        yield line


def _row(model: str, dialect: str, line: Mapping[str, Json]) -> Row:
    return Row(model, dialect, msgspec.json.encode(line) + b"\n")


def _claudes(asked: Mapping[str, Json], line: Line, version: str) -> dict[str, Json]:
    """A Messages body without the model, which is named elsewhere."""
    betas = [beta.strip() for beta in dict(line.request.headers).get("anthropic-beta", "").split(",") if beta.strip()]
    said = {name: value for name, value in asked.items() if name not in ("model", "stream")}
    return {"anthropic_version": version, **({"anthropic_beta": betas} if betas else {}), **said}


# ---- call ids in labels ------------------------------------------------------------------------------------------------------------

_LABEL: Final = "litellm_custom_id"
_RAW: Final = f"{_LABEL}_raw"
_LONGEST: Final = 63
"""Maximum length of a label's value, which has only lower-case letters, digits, _ and -.

cloud.google.com/resource-manager/docs/labels-overview
"""
_MARK: Final = "b32_"
"""Prefix of encoded values."""


def _labels(custom_id: str) -> dict[str, str]:
    packed = b32encode(custom_id.encode()).decode().rstrip("=").lower()
    step = _LONGEST - len(_MARK)
    parts = [f"{_MARK}{packed[start : start + step]}" for start in range(0, max(1, len(packed)), step)]
    plain = re.sub(r"[^a-z0-9_-]", "_", custom_id.lower())[:_LONGEST]
    return {_LABEL: plain, **{_RAW if not number else f"{_RAW}_{number}": part for number, part in enumerate(parts)}}


def _id_in(labels: Mapping[str, Any]) -> str:
    """The id that `_labels` wrote; if it was written by another program, the plain label."""
    parts = [labels.get(_RAW)]
    while (part := labels.get(f"{_RAW}_{len(parts)}")) is not None:
        parts.append(part)
    try:
        packed = "".join(str(part).removeprefix(_MARK) for part in parts if part is not None).upper()
        return b32decode(packed + "=" * (-len(packed) % 8)).decode() if packed else str(labels.get(_LABEL, ""))
    except (NotBase32, UnicodeDecodeError):
        return str(labels.get(_LABEL, ""))


# ---- results -----------------------------------------------------------------------------------------------------------------------


def openais(told: bytes, target: Target) -> Steps[bytes]:
    """A batch's results as OpenAI's lines; a file of anything else is unchanged."""
    if _result(next(lines_in(told), b""), target) is None:
        return told
    return (yield from joining(line for raw in lines_in(told) if (line := _result(raw, target)) is not None))


class Answers:
    """`openais` for a streamed file (`headrace.downloads.Making`): holds back at most one line."""

    __slots__ = ("_as_they_are", "_held", "_size", "_target")

    def __init__(self, target: Target) -> None:
        self._target = target
        self._held: list[bytes] = []
        self._size = 0
        self._as_they_are: bool | None = None
        """Whether the file holds no results; None until its first line has been read."""

    def feed(self, data: bytes) -> bytes:
        if self._as_they_are:
            return data
        whole, end, rest = data.rpartition(b"\n")
        if not end or (self._as_they_are is None and not whole.strip() and not b"".join(self._held).strip()):
            return self._hold(data)
        made = self._made(b"".join([*self._held, whole, end]))
        self._held, self._size = [], 0
        return made + (rest if self._as_they_are else self._hold(rest))

    def close(self) -> bytes:
        return b"" if self._as_they_are else self._made(b"".join(self._held))

    def _hold(self, data: bytes) -> bytes:
        """Holds an incomplete line back. A file that cannot begin with a result line is passed through instead."""
        if data:
            self._held.append(data)
            self._size += len(data)
        if self._as_they_are is None and (self._size > MAX_FRAME or (self._held and self._held[0].lstrip()[:1] not in (b"{", b""))):
            self._as_they_are = True
            return b"".join(self._held)
        if self._size > MAX_FRAME:
            raise too_large(MAX_FRAME)
        return b""

    def _made(self, lines: bytes) -> bytes:
        first = next(lines_in(lines), None)
        if self._as_they_are is None and first is not None:
            self._as_they_are = _result(first, self._target) is None
        if self._as_they_are or first is None:
            return lines
        told = [line for raw in lines_in(lines) if (line := _result(raw, self._target)) is not None]
        return b"".join([msgspec.json.encode(line) + b"\n" for line in told])


def _result(raw: bytes, target: Target) -> dict[str, Json] | None:
    """A result in OpenAI's format; None for any other line."""
    try:
        line = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(line, dict):
        return None
    if "modelOutput" in line or ("modelInput" in line and "error" in line):
        return _invoked(line, target)
    return _predicted(line, target) if "request" in line and ("response" in line or line.get("status")) else None


def _invoked(line: Mapping[str, Any], target: Target) -> dict[str, Json]:
    name = str(line.get("recordId", ""))
    if error := line.get("error"):
        return failed(name, {"error": {"code": error.get("errorCode"), "message": error.get("errorMessage")}}, target)
    asked, told = line.get("modelInput"), line["modelOutput"]
    if isinstance(asked, Mapping) and (embedder := next((form for field, form in _EMBED_BY.items() if field in asked), None)):
        return embedded(name, told, embedder, target)
    return _read(name, told, target)


_EMBED_BY: Final = {"inputText": "titan", "singleEmbeddingParams": "nova"}
"""The embedding format by a field of the input. Titan's text models use Converse, which has no such field."""


def _predicted(line: Mapping[str, Any], target: Target) -> dict[str, Json]:
    asked = line["request"]
    labels = asked.get("labels") if isinstance(asked, Mapping) else None
    name = str(line.get("custom_id") or line.get("key") or _id_in(labels or {}))
    if status := line.get("status"):
        return failed(name, {"error": _error_in(status)}, target)
    return _read(name, line["response"], target)


def _error_in(status: Json) -> Json:
    """The error in a line's status: Google's error object, possibly preceded by text, or the text alone."""
    if isinstance(status, Mapping):
        return status
    try:
        told = msgspec.json.decode(str(status)[max(0, str(status).find("{")) :])
    except msgspec.DecodeError:
        return {"code": 400, "message": str(status)}
    inner = told.get("error") if isinstance(told, dict) else None
    return inner if isinstance(inner, dict) else {"code": 400, "message": str(status)}


def _read(name: str, answer: Any, target: Target) -> dict[str, Json]:
    if isinstance(answer, Mapping) and isinstance(answer.get("embedding"), Mapping):
        return embedded(name, answer, GEMINIS_EMBEDDER, target)
    dialect = _dialect_of(answer)
    return unread(name, answer) if dialect is None else answered(name, answer, dialect, target)


def _dialect_of(answer: Any) -> str | None:
    if not isinstance(answer, Mapping):
        return None
    if answer.get("type") == "message":
        return CLAUDE
    return CONVERSE if "output" in answer and "stopReason" in answer else GEMINI if "candidates" in answer else None
