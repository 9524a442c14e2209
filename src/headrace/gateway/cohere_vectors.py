"""Cohere's embeddings API, `/v2/embed` and `/v1/embed`, for texts and images over any provider.

docs.cohere.com/v2/reference/embed, read 2026-11.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

from headrace.calls import EMBEDDINGS, shape
from headrace.errors import BadRequestError
from headrace.gateway.context import ConvertedCall, Reply, RequestContext, wanted
from headrace.gateway.requests import IncomingRequest
from headrace.providers.catalog import resolve

_GIVEN: Final = ("texts", "images", "inputs")
_TYPES: Final = ("float", "base64")
"""The embedding types that every provider can be asked for; the others are Cohere's only."""
_COHERES: Final = ("input_type", "truncate", "embedding_types", "max_tokens", "priority")
"""Parameters that are sent only to providers with Cohere's dialect."""


def embed_plainly(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """`/v1/embed`: without `embedding_types`, `embeddings` is the list of vectors itself."""
    call = embed(here, asked, body)
    if "embedding_types" in body:
        return call
    return ConvertedCall(call.wanted, lambda made: {**_written(made, "float", body.get("texts")), **_plain(made)})


def _plain(made: Any) -> dict[str, Any]:
    return {"embeddings": [one.embedding for one in made.data], "response_type": "embeddings_floats"}


def embed(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> ConvertedCall:
    """`/v2/embed`. Providers other than Cohere are not sent `input_type` and `truncate`."""
    given = [name for name in _GIVEN if body.get(name)]
    if len(given) != 1 or not isinstance(body[given[0]], list):
        named = ", ".join([f"{name}: {shape(body[name])}" for name in given]) or "none"
        raise BadRequestError(f"exactly one of texts, images and inputs must be a list of at least one, got {named}")
    said = {name: value for name, value in body.items() if name not in _GIVEN}
    types, size = _types(said.get("embedding_types")), said.pop("output_dimension", None)
    if not _is_coheres(here, said.get("model")):
        if others := [one for one in types if one not in _TYPES]:
            raise BadRequestError(
                f"embedding_types: {others[0]} is only available from Cohere's models; others return {' and '.join(_TYPES)}"
            )
        if given != ["texts"]:
            raise BadRequestError(f"{given[0]}: this model's provider only takes texts")
        said = {name: value for name, value in said.items() if name not in _COHERES}
    asks = {"encoding_format": "base64"} if types[0] == "base64" else {}
    call = wanted(EMBEDDINGS, {**said, "input": body[given[0]], **({} if size is None else {"dimensions": size}), **asks})
    return ConvertedCall(call, lambda made: _written(made, types[0], body.get("texts")))


def _types(given: Any) -> list[str]:
    if given is None:
        return ["float"]
    if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
        raise BadRequestError(f"embedding_types must be a list of at least one string, got {shape(given)}")
    return given


def _is_coheres(here: RequestContext, model: Any) -> bool:
    found = here.router.get_deployment_by_model_group_name(here.meant(model)) if isinstance(model, str) and model else None
    return found is not None and resolve(found.model).provider.dialect == "cohere"


def _written(made: Any, kind: str, texts: Any) -> dict[str, Any]:
    """A response. kind: the type of the vectors in OpenAI's format; any further types of Cohere's are added."""
    own = made.model_dump()
    others = own.get("embeddings") if isinstance(own.get("embeddings"), dict) else {}
    meta = own.get("meta") or {"api_version": {"version": "2"}}
    if "billed_units" not in meta and made.usage is not None:
        meta = {**meta, "billed_units": {"input_tokens": made.usage.prompt_tokens}}
    vectors = {kind: [one.embedding for one in made.data], **others}
    return {
        "id": own.get("id") or str(uuid.uuid4()), "embeddings": vectors, **({"texts": texts} if texts else {}), "meta": meta,
        "response_type": "embeddings_by_type",
    }  # fmt: skip
