"""A single citation in the format of each dialect that has them, and as a Chat Completions annotation.

An annotation gives its offsets in the text. Anthropic's and Bedrock's citations are attached to the very text they
support.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace.types import Json

CITATIONS: Final = "citations"


def word(value: Json) -> str:
    return value if isinstance(value, str) else ""


def objects(value: Json) -> list[Any]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def inner(annotation: Json) -> Mapping[str, Json]:
    """The annotation's content, which Chat Completions nests under the name of its type."""
    said = annotation.get(str(annotation.get("type"))) if isinstance(annotation, Mapping) else None
    return said if isinstance(said, Mapping) else {}


# ---- to annotations ----------------------------------------------------------------------------------------------------------------


def annotation(citation: Json, start: int, end: int) -> Json:
    """An Anthropic or Bedrock citation of the text from `start` to `end` as an annotation; None if it names no source."""
    match citation:
        case {"type": "web_search_result_location", "url": str(url)}:
            return of_web(url, citation.get("title"), citation.get("cited_text"), start, end)
        case {"type": "search_result_location", "source": str(source)}:
            return _of_source(source, citation.get("title"), citation.get("cited_text"), start, end)
        case {"type": "char_location" | "page_location" | "content_block_location"}:
            return _of_file(citation.get("file_id"), citation.get("document_title"), end)
        case {"location": {"web": {"url": str(url)}}}:
            return of_web(url, citation.get("title"), _content(citation), start, end)
        case {"location": Mapping()} | {"source": str()} | {"title": str()}:
            return _of_source(citation.get("source"), citation.get("title"), _content(citation), start, end)
    return None


def _content(citation: Mapping[str, Json]) -> str:
    return "".join(word(piece.get("text")) for piece in objects(citation.get("sourceContent")))


def of_web(url: str, title: Json, content: Json, start: int, end: int) -> dict[str, Json]:
    """A web citation.

    `content`, the cited text, follows OpenRouter (openrouter.ai/docs/client-sdks/typescript/models/urlcitation.md, read
    2026-11).
    """
    said = {"content": content} if isinstance(content, str) and content else {}
    return {"type": "url_citation", "url_citation": {"url": url, "title": word(title), "start_index": start, "end_index": end, **said}}


def _of_source(source: Json, title: Json, content: Json, start: int, end: int) -> Json:
    if isinstance(source, str) and source.startswith(("https://", "http://")):
        return of_web(source, title, content, start, end)
    return _of_file(source, title, end)


def _of_file(id_: Json, title: Json, end: int) -> Json:
    """A citation of one of the documents in the request."""
    if not (word(id_) or word(title)):
        return None
    return {"type": "file_citation", "file_citation": {"file_id": word(id_), "filename": word(title), "index": end}}


# ---- from annotations --------------------------------------------------------------------------------------------------------------


def for_anthropic(annotation: Json) -> dict[str, Json]:
    """`encrypted_index`, by which Anthropic recognizes its own citations, is empty: the source was found elsewhere."""
    said = inner(annotation)
    told = {"cited_text": word(said.get("content"))}
    if annotation.get("type") == "url_citation":
        web = {"url": word(said.get("url")), "title": said.get("title")}
        return {"type": "web_search_result_location", **web, **told, "encrypted_index": ""}
    source = {"source": word(said.get("file_id")), "title": said.get("filename")}
    places = {"search_result_index": 0, "start_block_index": 0, "end_block_index": 0}
    return {"type": "search_result_location", **source, **told, **places}


def for_converse(annotation: Json) -> dict[str, Json]:
    said = inner(annotation)
    content = {"sourceContent": [{"text": text}]} if (text := word(said.get("content"))) else {}
    if annotation.get("type") == "url_citation":
        return {"title": word(said.get("title")), "location": {"web": {"url": word(said.get("url"))}}, **content}
    return {"title": word(said.get("filename")), "source": word(said.get("file_id")), **content}


WORDS: Final[Mapping[str, Callable[[Json], dict[str, Json]]]] = {"anthropic_messages": for_anthropic, "bedrock_converse": for_converse}
"""The dialects that attach citations to the text they support, each with the function that writes one."""
