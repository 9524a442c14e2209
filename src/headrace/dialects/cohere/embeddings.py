"""Embeddings: `/v2/embed` (docs.cohere.com/v2/reference/embed, read 2026-11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET

from headrace.dialects.base import Target
from headrace.dialects.cohere.requests import posted
from headrace.dialects.fields import bad, obj, rest
from headrace.dialects.vectors import PACKED, vector
from headrace.types import Embedding, EmbeddingRequest, EmbeddingResponse, Json, Usage
from headrace.wire import HttpRequest

INPUT_TYPE: Final = "search_document"
"""Default `input_type`, as in LiteLLM 1.106."""

_HINTS: Final = frozenset({"encoding_format", "dimensions"})


def write_embedding_request(request: EmbeddingRequest, target: Target) -> HttpRequest:
    """Texts, or images as data URLs. Raises BadRequestError for token ids, which Cohere does not accept."""
    given = [request.input] if isinstance(request.input, str) else request.input
    extra = {name: value for name, value in request.extra.items() if value is not None and value is not UNSET and name not in _HINTS}
    if isinstance(given, list | tuple) and given and all(isinstance(item, Mapping) for item in given):
        said: dict[str, Json] = {"inputs": list(given)}  # texts and images mixed, in Cohere's format
    elif not isinstance(given, list | tuple) or not given or not all(isinstance(text, str) for text in given):
        raise bad("input", "a string or a list of strings: Cohere does not accept token ids", request.input)
    else:
        said = _texts_or_images(given)
    body = {"model": target.model, "input_type": INPUT_TYPE, **extra, **said}
    if "images" in said:
        body["input_type"] = extra.get("input_type", "image")
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    body.setdefault("embedding_types", [PACKED if request.encoding_format == PACKED else "float"])
    return posted(target, "embed", body)


def _texts_or_images(given: list[Json] | tuple[Json, ...]) -> dict[str, Json]:
    pictures = [text.startswith("data:image/") for text in given]
    if all(pictures):
        return {"images": list(given)}
    if any(pictures):
        return {"inputs": [{"content": [_part(text, picture=picture)]} for text, picture in zip(given, pictures, strict=True)]}
    return {"texts": list(given)}


def _part(text: str, *, picture: bool) -> dict[str, Json]:
    return {"type": "image_url", "image_url": {"url": text}} if picture else {"type": "text", "text": text}


def read_embedding_response(body: Mapping[str, Json], request: EmbeddingRequest) -> EmbeddingResponse:
    """The vectors of the first requested type; other types stay in `extra["embeddings"]`.

    Values are base64 if the caller asked for it. Raises BadRequestError for a body without embeddings.
    """
    found = body.get("embeddings")
    by_type = {"float": found} if isinstance(found, list) else dict(obj(found, "embeddings"))  # v1: a bare list
    name = _chosen(by_type, request)
    vectors = by_type.pop(name)
    extra = rest(body, frozenset({"embeddings", "meta"}))
    if by_type:
        extra["embeddings"] = by_type
    if body.get("meta") is not None:
        extra["meta"] = body["meta"]
    packed = request.encoding_format == PACKED
    return EmbeddingResponse(
        data=tuple([Embedding(index=index, values=_read(it, f"embeddings.{name}[{index}]", packed)) for index, it in enumerate(vectors)]),
        usage=_usage(body.get("meta")),
        extra=extra,
    )


def _chosen(by_type: Mapping[str, Json], request: EmbeddingRequest) -> str:
    asked = request.extra.get("embedding_types")
    wanted = asked if isinstance(asked, list) else ["base64", "float"]
    for name in (*wanted, *by_type):
        if isinstance(name, str) and isinstance(by_type.get(name), list):
            return name
    raise bad("embeddings", "an object of lists of vectors", by_type)


def _read(values: Json, at: str, packed: bool) -> tuple[float, ...] | str:
    return values if isinstance(values, str) else vector(values, at, packed=packed)


def _usage(meta: Json) -> Usage | None:
    """The billed tokens; `meta.tokens` is for chats."""
    match meta:
        case {"billed_units": {**billed}}:
            counts = (billed.get("input_tokens"), billed.get("image_tokens"))
            tokens = sum(int(count) for count in counts if isinstance(count, int | float) and not isinstance(count, bool))
            return Usage(input=tokens, total=tokens)
    return None
