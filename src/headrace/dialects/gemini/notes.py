"""Data that accompanies a response's text: citations, images and log probabilities, between Gemini's format and OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from headrace.dialects.citation_words import inner
from headrace.dialects.gemini.media import data_url
from headrace.dialects.gemini.names import camel
from headrace.types import Json, Other, Part, Text

SOURCES: Final = frozenset({"groundingMetadata", "citationMetadata"})
"""Fields of a candidate that name its sources."""

_SOURCES: Final = ("web", "retrievedContext", "maps", "image")


def citations(candidate: Mapping[str, Json], parts: Sequence[Part]) -> dict[str, Json]:
    """The message's `annotations`, if the candidate cites sources for its text."""
    said = "".join(part.text for part in parts if isinstance(part, Text))
    grounding, cited = candidate.get("groundingMetadata"), candidate.get("citationMetadata")
    found = _grounded(grounding, said) if isinstance(grounding, Mapping) else []
    found += _cited(cited, said) if isinstance(cited, Mapping) else []
    return {"annotations": found} if found else {}


def _objects(value: Json) -> list[Mapping[str, Json]]:
    return [item if isinstance(item, Mapping) else {} for item in value] if isinstance(value, list) else []


def _grounded(grounding: Mapping[str, Json], said: str) -> list[Json]:
    chunks = [_source(chunk) for chunk in _objects(grounding.get("groundingChunks"))]
    made = []
    for support in _objects(grounding.get("groundingSupports")):
        places, segment = support.get("groundingChunkIndices"), support.get("segment")
        span = _span(segment if isinstance(segment, Mapping) else {}, said)
        for place in places if isinstance(places, list) else []:
            if isinstance(place, int) and 0 <= place < len(chunks) and chunks[place].get("url"):
                made.append(_annotation(span, chunks[place]))
    return made


def _source(chunk: Mapping[str, Json]) -> dict[str, Json]:
    """URL and title of one source."""
    inner: Mapping[str, Json] = next((chunk[name] for name in _SOURCES if isinstance(chunk.get(name), Mapping)), {})
    return {"url": inner.get("uri"), "title": inner.get("title") or ""}


def _cited(cited: Mapping[str, Json], said: str) -> list[Json]:
    """Recitations: `citationSources` in the Gemini API, `citations` in Vertex AI."""
    sources = _objects(cited.get("citationSources")) + _objects(cited.get("citations"))
    return [
        _annotation(_span(source, said), {"url": source["uri"], "title": source.get("title") or ""})
        for source in sources
        if isinstance(source.get("uri"), str)
    ]


def _annotation(span: tuple[int, int], source: Mapping[str, Json]) -> dict[str, Json]:
    return {"type": "url_citation", "url_citation": {"start_index": span[0], "end_index": span[1], **source}}


def grounded(annotations: Json, said: str) -> dict[str, Json] | None:
    """Annotations with offsets into the whole text `said` as `groundingMetadata`; None if there are none."""
    them = [one for one in _objects(annotations) if inner(one)]
    chunks = {_key(inner(one)): _chunk(one) for one in them}
    places = {key: index for index, key in enumerate(chunks)}
    supports = [{"segment": _segment(inner(one), said), "groundingChunkIndices": [places[_key(inner(one))]]} for one in them]
    return {"groundingChunks": list(chunks.values()), "groundingSupports": supports} if chunks else None


def _key(source: Mapping[str, Json]) -> str:
    return str(source.get("url") or source.get("file_id") or source.get("filename") or "")


def _chunk(annotation: Mapping[str, Json]) -> dict[str, Json]:
    """A source on the web, or a document of the caller's."""
    source = inner(annotation)
    if annotation.get("type") == "url_citation":
        return {"web": {"uri": source.get("url"), "title": source.get("title") or ""}}
    return {"retrievedContext": {"uri": source.get("file_id") or "", "title": source.get("filename") or ""}}


def _segment(source: Mapping[str, Json], said: str) -> dict[str, Json]:
    """Offsets in bytes of UTF-8, as Gemini counts."""
    end = _place(source.get("end_index", source.get("index")))
    start = _place(source.get("start_index", end))
    first, last = (len(said[:place].encode("utf-8", "surrogatepass")) for place in (start, end))
    return {"startIndex": first, "endIndex": last, "text": said[start:end]}


def _span(segment: Mapping[str, Json], said: str) -> tuple[int, int]:
    """Offsets in characters. Gemini counts bytes of UTF-8 within one part, so the segment's own text is searched for first."""
    start, end = _place(segment.get("startIndex")), _place(segment.get("endIndex"))
    raw = said.encode("utf-8", "surrogatepass")
    first = len(raw[:start].decode("utf-8", "ignore"))
    told = segment.get("text")
    if isinstance(told, str) and told and (found := said.find(told, max(0, first - 1))) >= 0:
        return found, found + len(told)
    return first, len(raw[:end].decode("utf-8", "ignore"))


def _place(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def images(parts: Sequence[Part]) -> dict[str, Json]:
    """The message's `images`, if the model generated any."""
    made = [picture for part in parts if isinstance(part, Other) and (picture := image(part.extra)) is not None]
    return {"images": [{**picture, "index": index} for index, picture in enumerate(made)]} if made else {}


def image(part: Mapping[str, Json]) -> dict[str, Json] | None:
    """A part that is an image, in the format of OpenRouter and LiteLLM; None for any other part."""
    inner = part.get("inlineData")
    if not isinstance(inner, Mapping) or part.get("thought") is True:
        return None
    inner = camel(inner)
    kind, data = inner.get("mimeType"), inner.get("data")
    if not isinstance(kind, str) or not kind.startswith("image/") or not isinstance(data, str):
        return None
    return {"type": "image_url", "image_url": {"url": data_url(kind, data)}}


# ---- log probabilities -------------------------------------------------------------------------------------------------------------


def read_logprobs(value: Json) -> Json:
    """`logprobsResult` in OpenAI's format; None if there are none."""
    if not isinstance(value, Mapping):
        return None
    tops = _objects(value.get("topCandidates"))
    content = [
        {**_token(chosen), "top_logprobs": [_token(top) for top in _objects((others or {}).get("candidates"))]}
        for chosen, others in zip_longest(_objects(value.get("chosenCandidates")), tops)
        if chosen
    ]
    return {"content": content} if content else None


def _token(source: Mapping[str, Json]) -> dict[str, Json]:
    token = source.get("token")
    token = token if isinstance(token, str) else ""
    return {"token": token, "logprob": source.get("logProbability", 0), "bytes": list(token.encode("utf-8", "surrogatepass"))}


def write_logprobs(value: Json) -> Json:
    """OpenAI's log probabilities as `logprobsResult`; None for any other value."""
    tokens = _objects(value.get("content")) if isinstance(value, Mapping) else []
    if not tokens:
        return None
    return {
        "chosenCandidates": [_chosen(token) for token in tokens],
        "topCandidates": [{"candidates": [_chosen(top) for top in _objects(token.get("top_logprobs"))]} for token in tokens],
    }


def _chosen(token: Mapping[str, Json]) -> dict[str, Any]:
    return {"token": token.get("token", ""), "logProbability": token.get("logprob", 0)}
