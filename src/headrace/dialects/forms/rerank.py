"""Reranking: each provider's names for documents and scores. Callers use Cohere's v2 format, as in LiteLLM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects.base import Target
from headrace.dialects.fields import bad
from headrace.dialects.forms import Body, Form, given, posted
from headrace.errors import UnsupportedParamsError
from headrace.types import Json
from headrace.wire import HttpRequest

_OURS: Final = ("return_documents", "rank_fields")
"""Parameters that headrace implements itself for providers without them."""


class Reranking(Struct, frozen=True, eq=False):
    """One provider's format. Results are sorted by score, cut to `top_n`, and include the documents if requested."""

    path: str
    asked: Callable[[Body], dict[str, Json]]
    """Converts the caller's body to the provider's."""

    unsaid: tuple[str, ...] = ()
    """Parameters that LiteLLM supports and this provider does not."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        if not target.drop_params and (unsaid := [name for name in self.unsaid if body.get(name) is not None]):
            why = f"{target.provider} does not support {', '.join(unsaid)}: remove it, or pass drop_params=True to drop it"
            raise UnsupportedParamsError(why, target.model, target.provider)
        return posted(target, self.path.format(model=target.model), self.asked(body))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        whole = {"results": answer} if isinstance(answer, list) else dict(answer)
        found = next((whole.pop(name) for name in _LISTS if isinstance(whole.get(name), list)), None)
        if found is None:
            raise bad("results", "a list of scores", None)
        scored = [{"index": at, "score": score} for at, score in enumerate(found)] if _are_numbers(found) else found
        results = sorted((_result(item) for item in scored), key=lambda item: -item["relevance_score"])
        most = body.get("top_n")
        results = results[:most] if isinstance(most, int) else results
        return {**whole, **_usage(whole), "results": [_with_text(result, body) for result in results]}


_LISTS: Final = ("results", "data", "rankings", "scores")
_SCORES: Final = ("relevance_score", "relevanceScore", "score", "logit")


def _are_numbers(found: Sequence[Json]) -> bool:
    return bool(found) and all(isinstance(item, int | float) for item in found)


def _result(item: Mapping[str, Json]) -> dict[str, Any]:
    """One result in Cohere's format, from any of the field names in use."""
    score = next((item[name] for name in _SCORES if item.get(name) is not None), None)
    text = item.get("document", item.get("text"))
    kept = {name: value for name, value in item.items() if name not in (*_SCORES, "document", "text")}
    document = {"text": text} if isinstance(text, str) else text
    return {**kept, "relevance_score": _number(score), **({} if document is None else {"document": document})}


def _number(score: Json) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise bad("relevance_score", "a number", score)
    return float(score)


def _with_text(result: dict[str, Any], body: Body) -> dict[str, Any]:
    if not body.get("return_documents") or "document" in result:
        return result
    document = body["documents"][result["index"]]
    return {**result, "document": {"text": document} if isinstance(document, str) else dict(document)}


def _usage(whole: Mapping[str, Json]) -> dict[str, Json]:
    """DeepInfra's token count, which comes with the scores, in Cohere's format."""
    tokens = whole.get("input_tokens")
    if "meta" in whole or "usage" in whole or not isinstance(tokens, int):
        return {}
    return {"meta": {"tokens": {"input_tokens": tokens, "output_tokens": 0}, "billed_units": {"total_tokens": tokens}}}


def _texts(body: Body) -> list[str]:
    """Documents as texts. An object is reduced to its `rank_fields` if given, else to its `text`, else converted to JSON."""
    fields = body.get("rank_fields")
    return [_text(document, fields if isinstance(fields, Sequence) else ()) for document in body["documents"]]


def _text(document: Json, fields: Sequence[Json] = ()) -> str:
    if isinstance(document, Mapping):
        if fields:
            return "\n".join(str(document[name]) for name in fields if name in document)
        text = document.get("text")
        return text if isinstance(text, str) else msgspec.json.encode(document).decode()
    return str(document)


# ---- request bodies ----------------------------------------------------------------------------------------------------------------


def _cohere(body: Body) -> dict[str, Json]:
    """v2 accepts texts only, and does not return them."""
    return {**given(body, *_OURS, "max_chunks_per_doc"), "documents": _texts(body)}


def _voyage(body: Body) -> dict[str, Json]:
    most = {} if body.get("top_n") is None else {"top_k": body["top_n"]}
    return {**given(body, "top_n", "rank_fields"), **most, "documents": _texts(body)}


def _texts_alone(body: Body) -> dict[str, Json]:
    return {**given(body, "rank_fields"), "documents": _texts(body)}


def _tei(body: Body) -> dict[str, Json]:
    """The server has a single model and always returns all scores."""
    return {**given(body, *_OURS, "model", "documents", "top_n"), "texts": _texts(body)}


def _nvidia(body: Body) -> dict[str, Json]:
    """Model ids in URLs have underscores in place of dots."""
    passages = [dict(it) if isinstance(it, Mapping) and it.keys() <= {"text", "image"} else {"text": _text(it)} for it in body["documents"]]
    rest = given(body, *_OURS, "documents", "top_n", "query", "model")
    return {**rest, "model": str(body["model"]).replace("_", "."), "query": {"text": body["query"]}, "passages": passages}


def _deepinfra(body: Body) -> dict[str, Json]:
    """Takes one query per document."""
    texts = _texts(body)
    return {**given(body, *_OURS, "model", "documents", "query", "top_n"), "queries": [body["query"]] * len(texts), "documents": texts}


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("rerank", "cohere"): Reranking(
        "/rerank", _cohere, ("max_chunks_per_doc",)
    ),  # docs.cohere.com/v2/reference/rerank, exchange 787002bd93b5992a
    ("rerank", "voyage"): Reranking("/rerank", _voyage),  # exchange 76a8c328969e7099
    ("rerank", "fireworks"): Reranking("/rerank", _texts_alone),  # LiteLLM 1.106.2
    ("rerank", "dashscope"): Reranking("/reranks", _texts_alone),  # LiteLLM 1.106.2
    ("rerank", "tei"): Reranking("/rerank", _tei),  # docs.trieve.ai/vector-inference/reranker, read 2026-11-28
    ("rerank", "nvidia"): Reranking("/ranking", _nvidia),  # LiteLLM 1.106.2
    ("rerank", "deepinfra"): Reranking("/inference/{model}", _deepinfra),  # LiteLLM 1.106.2
}
