"""Embeddings: `embedContent` for a single text, `batchEmbedContents` for a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET

from headrace.dialects.base import Target
from headrace.dialects.fields import bad, items, obj, rest, sent
from headrace.dialects.gemini import models
from headrace.dialects.gemini.names import camel
from headrace.dialects.gemini.requests import url_of
from headrace.dialects.gemini.responses import read_usage
from headrace.dialects.vectors import PACKED, vector
from headrace.types import Embedding, EmbeddingRequest, EmbeddingResponse, Json
from headrace.wire import HttpRequest

_NAMES: Final[Mapping[str, str]] = {
    "task_type": "taskType",
    "output_dimensionality": "outputDimensionality",
    "auto_truncate": "autoTruncate",
}


def write_embedding_request(request: EmbeddingRequest, target: Target) -> HttpRequest:
    """Raises BadRequestError for token ids, which Gemini does not accept."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise bad("input", "a string or a list of strings: Gemini does not accept token ids", request.input)
    extra = {_NAMES.get(name, name): value for name, value in request.extra.items() if value is not None and value is not UNSET}
    if request.dimensions is not None:
        extra["outputDimensionality"] = request.dimensions
    contents = [{"content": {"parts": [{"text": text}]}, **extra} for text in texts]
    if isinstance(request.input, str):
        body, method = contents[0], "embedContent"
    else:
        body = {"requests": [{"model": models.path(target.model), **content} for content in contents]}
        method = "batchEmbedContents"
    return HttpRequest("POST", url_of(target.base_url, target.model, method), target.headers, sent(body))


def read_embedding_response(body: Mapping[str, Json], request: EmbeddingRequest) -> EmbeddingResponse:
    """Raises BadRequestError for a body without embeddings. Their values are base64 if the caller asked for it."""
    body = camel(body)
    one = body.get("embedding")
    found = items(body.get("embeddings"), "embeddings") if one is None else [one]
    if one is None and not found:
        raise bad("embeddings", "a list of embeddings", body.get("embeddings"))
    packed = request.encoding_format == PACKED
    usage = body.get("usageMetadata")
    return EmbeddingResponse(
        data=tuple([_read(item, index, packed=packed) for index, item in enumerate(found)]),
        usage=read_usage(usage) if isinstance(usage, Mapping) and usage else None,
        extra=rest(body, frozenset({"embedding", "embeddings", "usageMetadata"})),
    )


def _read(value: Json, index: int, *, packed: bool) -> Embedding:
    at = f"embeddings[{index}]"
    item = obj(value, at)
    return Embedding(index=index, values=vector(item.get("values"), f"{at}.values", packed=packed), extra=rest(item, frozenset({"values"})))
