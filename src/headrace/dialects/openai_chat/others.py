"""Embeddings and text completions between OpenAI's format and the hub; the two hardly differ."""

from __future__ import annotations

import struct
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping
from typing import Final

from headrace.dialects.fields import bad, flag, listed, merged, obj, optional, rest, string, whole
from headrace.dialects.openai_chat.responses import finish_of, finish_word, own_word, read_usage, text, write_usage
from headrace.types import Embedding, EmbeddingRequest, EmbeddingResponse, Json, TextChoice, TextRequest, TextResponse

# ---- embeddings --------------------------------------------------------------------------------------------------------------------

_EMBEDDING_REQUEST: Final = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
_EMBEDDING_USUAL: Final[Mapping[str, Json]] = {"object": "list", "model": ""}


def read_embedding_request(body: Mapping[str, Json]) -> EmbeddingRequest:
    """Raises BadRequestError that names the field."""
    body = obj(body, "the body")
    if body.get("input") is None:
        raise bad("input", "a string, a list of strings or token ids", None)
    return EmbeddingRequest(
        model=string(body.get("model"), "model"),
        input=body["input"],
        dimensions=whole(body.get("dimensions"), "dimensions"),
        encoding_format=optional(body.get("encoding_format"), "encoding_format"),
        user=optional(body.get("user"), "user"),
        extra=rest(body, _EMBEDDING_REQUEST),
    )


def write_embedding_request(request: EmbeddingRequest, model: str) -> dict[str, Json]:
    said = {"dimensions": request.dimensions, "encoding_format": request.encoding_format, "user": request.user}
    return merged({}, request.extra, {"model": model, "input": request.input, **said})


def read_embedding_response(body: Mapping[str, Json]) -> EmbeddingResponse:
    """Raises BadRequestError for a body without embeddings. Their encoding is kept."""
    usage = body.get("usage")
    return EmbeddingResponse(
        model=text(body.get("model")),
        data=tuple([_read_embedding(item, f"data[{index}]", index) for index, item in enumerate(listed(body, "data"))]),
        usage=read_usage(usage) if isinstance(usage, Mapping) and usage else None,
        extra=rest(body, frozenset({"model", "data", "usage"}), _EMBEDDING_USUAL),
    )


def _read_embedding(value: Json, at: str, position: int) -> Embedding:
    item = obj(value, at)
    values = item.get("embedding")
    if not isinstance(values, list | str):
        raise bad(f"{at}.embedding", "a list of numbers or base64", values)
    index = whole(item.get("index"), f"{at}.index")
    return Embedding(
        index=position if index is None else index,
        values=values if isinstance(values, str) else tuple(values),
        extra=rest(item, frozenset({"index", "embedding"}), {"object": "embedding"}),
    )


def floats(values: tuple[float, ...] | str) -> tuple[float, ...]:
    """An embedding as numbers. Raises BadRequestError for base64 that does not decode to float32 values."""
    if not isinstance(values, str):
        return values
    try:
        raw = a2b_base64(values, strict_mode=True)
        return struct.unpack(f"<{len(raw) // 4}f", raw)
    except (Base64Error, struct.error):
        raise bad("embedding", "base64 of little-endian float32", values) from None


def write_embedding_response(response: EmbeddingResponse) -> dict[str, Json]:
    data = [
        merged({"object": "embedding"}, item.extra, {"index": item.index, "embedding": _written(item.values)}) for item in response.data
    ]
    usage = None if response.usage is None else write_usage(response.usage)
    return merged(_EMBEDDING_USUAL, response.extra, {"model": response.model or None, "data": data, "usage": usage})


def _written(values: tuple[float, ...] | str) -> Json:
    return values if isinstance(values, str) else list(values)


# ---- text completions --------------------------------------------------------------------------------------------------------------

_TEXT_REQUEST: Final = frozenset({"model", "prompt", "max_tokens", "stream"})
_TEXT_USUAL: Final[Mapping[str, Json]] = {"id": "", "object": "text_completion", "created": 0, "model": ""}


def read_text_request(body: Mapping[str, Json]) -> TextRequest:
    """Raises BadRequestError that names the field."""
    body = obj(body, "the body")
    if body.get("prompt") is None:
        raise bad("prompt", "a string, a list of strings or token ids", None)
    return TextRequest(
        model=string(body.get("model"), "model"),
        prompt=body["prompt"],
        max_tokens=whole(body.get("max_tokens"), "max_tokens"),
        stream=flag(body.get("stream"), "stream") or False,
        extra=rest(body, _TEXT_REQUEST),
    )


def write_text_request(request: TextRequest, model: str) -> dict[str, Json]:
    said = {"model": model, "prompt": request.prompt, "max_tokens": request.max_tokens, "stream": request.stream or None}
    return merged({}, request.extra, said)


def read_text_response(body: Mapping[str, Json]) -> TextResponse:
    """Raises BadRequestError for a body that is not a text completion."""
    usage, created = body.get("usage"), body.get("created")
    return TextResponse(
        id=text(body.get("id")),
        model=text(body.get("model")),
        created=created if isinstance(created, int) else 0,
        choices=tuple([_read_choice(choice, f"choices[{index}]") for index, choice in enumerate(listed(body, "choices"))]),
        usage=read_usage(usage) if isinstance(usage, Mapping) and usage else None,
        extra=rest(body, frozenset({"id", "model", "created", "choices", "usage"}), _TEXT_USUAL),
    )


def _read_choice(value: Json, at: str) -> TextChoice:
    choice = obj(value, at)
    word = choice.get("finish_reason")
    extra = rest(choice, frozenset({"index", "text", "finish_reason", "logprobs"}), {"finish_reason": None, "text": ""})
    finish = finish_of(word, called=False)
    if finish == "other":
        extra["finish_reason"] = word
    index = whole(choice.get("index"), f"{at}.index")
    return TextChoice(
        index=index or 0, text=text(choice.get("text")), finish=finish, native_finish=own_word(word, finish),
        logprobs=choice.get("logprobs") or None, extra=extra,
    )  # fmt: skip


def write_text_response(response: TextResponse) -> dict[str, Json]:
    said = {
        "id": response.id or None,
        "model": response.model or None,
        "created": response.created or None,
        "choices": [_write_choice(choice) for choice in response.choices],
        "usage": None if response.usage is None else write_usage(response.usage),
    }
    return merged(_TEXT_USUAL, response.extra, said)


def _write_choice(choice: TextChoice) -> dict[str, Json]:
    said: dict[str, Json] = {"index": choice.index, "text": choice.text or None, "logprobs": choice.logprobs}
    if choice.finish != "other" or "finish_reason" not in choice.extra:
        said["finish_reason"] = finish_word(choice.finish, choice.native_finish)
    return merged({"text": "", "finish_reason": None}, choice.extra, said)
