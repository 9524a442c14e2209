"""Embedding formats of Titan and Nova on Bedrock, of Vertex AI's `:predict` and `:embedContent`, and of watsonx.

Only the half that calls a provider. The URLs are in the providers' rows.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from headrace.dialects import failures
from headrace.dialects.base import Target
from headrace.dialects.fields import bad, items, obj, rest, sent
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind
from headrace.types import Embedding, EmbeddingRequest, EmbeddingResponse, Json, Usage
from headrace.wire import Headers, HttpRequest, HttpResponse

Said = Mapping[str, Json]
"""The caller's parameters beyond OpenAI's, plus `dimensions` if given."""


class Vectors(Struct, frozen=True):
    """The contents of a response."""

    values: Sequence[Json]
    tokens: int | None = None
    extra: Said = {}


class Form(Struct, frozen=True):
    """One cloud's request and response format for embeddings."""

    name: str
    write: Callable[[Sequence[str], Said], dict[str, Json]]
    read: Callable[[Said, Headers], Vectors]

    def write_embedding_request(self, request: EmbeddingRequest, target: Target) -> HttpRequest:
        """Raises BadRequestError for token ids, which none of these APIs accepts."""
        texts = [request.input] if isinstance(request.input, str) else request.input
        if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
            raise bad("input", f"a string or a list of strings: {target.provider} does not accept token ids", request.input)
        said = {name: value for name, value in request.extra.items() if value is not None and value is not UNSET}
        if request.dimensions is not None:
            said["dimensions"] = request.dimensions
        body = {"model": target.model, **self.write(texts, said)}
        return HttpRequest("POST", target.base_url, target.headers, sent(body))

    def read_embedding_response(self, response: HttpResponse, request: EmbeddingRequest, target: Target) -> EmbeddingResponse:
        """Raises APIResponseValidationError for a response without embeddings."""
        try:
            body = obj(msgspec.json.decode(response.body), "the body")
            found = self.read(body, response.headers)
            packed = request.encoding_format == "base64"
            data = tuple([_embedding(values, index, packed=packed) for index, values in enumerate(found.values)])
        except (BadRequestError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _unreadable(response, target, error) from None
        usage = None if found.tokens is None else Usage(input=found.tokens, total=found.tokens)
        return EmbeddingResponse(model=target.model, data=data, usage=usage, extra=found.extra)

    def read_error(self, response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure:
        return failures.read_error(response, provider=target.provider, model=target.model, now_wall=now_wall)


def _embedding(values: Json, index: int, *, packed: bool) -> Embedding:
    at = f"embeddings[{index}]"
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise bad(at, "a list of numbers", values)
    if not packed:
        return Embedding(index=index, values=tuple(values))
    try:
        raw = struct.pack(f"<{len(values)}f", *values)
    except (struct.error, OverflowError):
        raise bad(at, "numbers that fit float32", values) from None
    return Embedding(index=index, values=base64.b64encode(raw).decode())


def _unreadable(response: HttpResponse, target: Target, error: Exception) -> APIResponseValidationError:
    message = f"{target.provider}: the response (status {response.status}, {len(response.body)} bytes) contains no embeddings: {error}"
    failure = Failure(Kind.BAD_RESPONSE, message, provider=target.provider, model=target.model, headers=response.headers)
    return APIResponseValidationError.of(failure)


def _count(value: Json) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _counted(headers: Headers) -> int | None:
    """Bedrock's token count from a response header, for models that do not report it in the body."""
    given = headers.get("x-amzn-bedrock-input-token-count", "")
    return int(given) if given.isdecimal() else None


def _one(texts: Sequence[str]) -> str:
    if len(texts) > 1:
        raise bad("input", "a single string: this model embeds one text at a time", list(texts))
    return texts[0]


# ---- Titan: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html, read 2026-11 ------------------------


def _write_titan(texts: Sequence[str], said: Said) -> dict[str, Json]:
    return {"inputText": _one(texts), **said}


def _read_titan(body: Said, headers: Headers) -> Vectors:
    count = _count(body.get("inputTextTokenCount"))
    return Vectors([body.get("embedding")], _counted(headers) if count is None else count, rest(body, _TITAN))


_TITAN: Final = frozenset({"embedding", "inputTextTokenCount"})


# ---- Nova: docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html, read 2026-11 --------------------------------------------


def _write_nova(texts: Sequence[str], said: Said) -> dict[str, Json]:
    """Nova's own parameters (`embeddingPurpose`, `truncationMode`) are accepted under their own names."""
    own = dict(said)
    text = {"truncationMode": own.pop("truncationMode", "END"), "value": _one(texts)}
    if "dimensions" in own:
        own["embeddingDimension"] = own.pop("dimensions")
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX", **own, "text": text}}


def _read_nova(body: Said, headers: Headers) -> Vectors:
    found = [obj(item, "embeddings[]").get("embedding") for item in items(body.get("embeddings"), "embeddings")]
    return Vectors(found, _counted(headers), rest(body, frozenset({"embeddings"})))


# ---- Vertex AI: cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api, read 2026-11 ----------------------

_OF_AN_INSTANCE: Final = frozenset({"task_type", "title"})


def _write_predict(texts: Sequence[str], said: Said) -> dict[str, Json]:
    """`task_type` and `title` go with each text, everything else is sent once."""
    own = {_PREDICT_NAMES.get(name, name): value for name, value in said.items()}
    about = {name: own.pop(name) for name in _OF_AN_INSTANCE & own.keys()}
    parameters = {"parameters": own} if own else {}
    return {"instances": [{"content": text, **about} for text in texts], **parameters}


_PREDICT_NAMES: Final[Mapping[str, str]] = {
    "dimensions": "outputDimensionality",
    "output_dimensionality": "outputDimensionality",
    "auto_truncate": "autoTruncate",
    "input_type": "task_type",  # LiteLLM's name
}


def _read_predict(body: Said, headers: Headers) -> Vectors:
    found = [
        obj(obj(item, "predictions[]").get("embeddings"), "predictions[].embeddings")
        for item in items(body.get("predictions"), "predictions")
    ]
    counts = [_count(it["token_count"]) for one in found if isinstance(it := one.get("statistics"), Mapping) and "token_count" in it]
    tokens = sum(count or 0 for count in counts) if counts else None
    return Vectors([one.get("values") for one in found], tokens, rest(body, frozenset({"predictions"})))


# ---- Vertex AI `:embedContent`: Gemini's format, limited to one text -----------------------------------------------------------------

_EMBED_NAMES: Final[Mapping[str, str]] = {**_PREDICT_NAMES, "task_type": "taskType", "input_type": "taskType"}


def _write_embed(texts: Sequence[str], said: Said) -> dict[str, Json]:
    own = {_EMBED_NAMES.get(name, name): value for name, value in said.items()}
    return {"content": {"parts": [{"text": _one(texts)}]}, **own}


def _read_embed(body: Said, headers: Headers) -> Vectors:
    """Also reads the batch format, `tokenCount` (`…/embeddings/batch-prediction-genai-embeddings`)."""
    usage = body.get("usageMetadata")
    tokens = _count(usage.get("promptTokenCount")) if isinstance(usage, Mapping) else _count(body.get("tokenCount"))
    return Vectors([obj(body.get("embedding"), "embedding").get("values")], tokens, rest(body, _EMBEDDED))


_EMBEDDED: Final = frozenset({"embedding", "usageMetadata", "tokenCount"})


# ---- watsonx: cloud.ibm.com/apidocs/watsonx-ai, text embeddings, as LiteLLM 1.106.2 has it (2026-11-28) ------------------------------

_PLACES: Final = frozenset({"project_id", "space_id"})


def _write_watsonx(texts: Sequence[str], said: Said) -> dict[str, Json]:
    own = dict(said)
    places = {name: own.pop(name) for name in _PLACES & own.keys()}
    return {"inputs": list(texts), **places, **({"parameters": own} if own else {})}


def _read_watsonx(body: Said, headers: Headers) -> Vectors:
    found = [obj(item, "results[]").get("embedding") for item in items(body.get("results"), "results")]
    return Vectors(found, _count(body.get("input_token_count")), rest(body, frozenset({"results", "input_token_count"})))


FORMS: Final[Mapping[str, Any]] = {
    form.name: form
    for form in (
        Form("titan", _write_titan, _read_titan),
        Form("nova", _write_nova, _read_nova),
        Form("predict", _write_predict, _read_predict),
        Form("embed_content", _write_embed, _read_embed),
        Form("watsonx", _write_watsonx, _read_watsonx),
    )
}
