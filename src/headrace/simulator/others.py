"""Endpoints besides text and embeddings, in OpenAI's format: moderation, reranking, images, speech and transcription.

Responses depend only on the request and are small: an image is one pixel, a recording a tenth of a second of silence.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Mapping
from email.parser import BytesParser
from typing import Any, Final

from headrace.simulator.asks import Other, Rejected
from headrace.simulator.model import count_tokens
from headrace.simulator.openai_api import ENCODE, json_of

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "/v1/moderations": ("moderations", "input"),
    "/v1/rerank": ("rerank", "query"),
    "/v1/images/generations": ("images", "prompt"),
    "/v1/images/edits": ("images", "image"),
    "/v1/images/variations": ("images", "image"),
    "/v1/audio/speech": ("speech", "input"),
    "/v1/audio/transcriptions": ("hearing", "file"),
    "/v1/audio/translations": ("hearing", "file"),
}
"""By path: the kind of request, and its required field."""

_FORMS: Final = ("/v1/images/edits", "/v1/images/variations", "/v1/audio/transcriptions", "/v1/audio/translations")


def read(path: str, headers: Mapping[str, str], body: bytes) -> Other:
    """Read and validate a request. Raises Rejected."""
    kind, needed = PLACES[path]
    said = _form(headers, body) if path in _FORMS else dict(json_of(body))
    for name in ("model", needed):
        if not said.get(name):
            raise Rejected(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    text = said[needed] if isinstance(said[needed], str) else ""
    return Other(str(said["model"]), kind, said, count_tokens(len(text)))


def _form(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    message = BytesParser().parsebytes(b"content-type: " + headers.get("content-type", "").encode() + b"\r\n\r\n" + body)
    parts: Any = message.get_payload() if message.is_multipart() else []
    found: dict[str, Any] = {}
    for part in parts:
        name = str(part.get_param("name", header="content-disposition")).removesuffix("[]")
        content = part.get_payload(decode=True)
        found.setdefault(name, content if part.get_filename() else content.decode())
    return found


def write(ask: Other) -> tuple[str, bytes]:
    """Content type and body of the response."""
    return _WRITERS[ask.kind](ask.said)


def _moderated(said: Mapping[str, Any]) -> tuple[str, bytes]:
    texts = said["input"] if isinstance(said["input"], list) else [said["input"]]
    results = [{"flagged": flagged, "categories": {"violence": flagged}} for flagged in ["kill" in str(text) for text in texts]]
    return _json({"id": "modr-sim", "model": said["model"], "results": results})


def _ranked(said: Mapping[str, Any]) -> tuple[str, bytes]:
    """Documents ranked by the words they share with the query."""
    asked = set(str(said["query"]).lower().split())
    texts = [str(it.get("text", it) if isinstance(it, Mapping) else it).lower() for it in said.get("documents") or ()]
    scored = [{"index": at, "relevance_score": len(asked & set(text.split())) / len(asked)} for at, text in enumerate(texts)]
    best = sorted(scored, key=lambda result: -result["relevance_score"])
    return _json({"id": "rank-sim", "results": best[: said.get("top_n") or len(best)]})


def _drawn(said: Mapping[str, Any]) -> tuple[str, bytes]:
    picture = {"b64_json": base64.b64encode(PICTURE).decode()}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    if _is_streamed(said):
        kind = "image_edit" if "image" in said else "image_generation"
        partial = [
            {"type": f"{kind}.partial_image", **picture, "partial_image_index": at} for at in range(int(said.get("partial_images") or 0))
        ]
        return _events(*partial, {"type": f"{kind}.completed", **picture, "usage": usage})
    return _json({"created": 0, "data": [picture] * int(said.get("n") or 1), "usage": usage})


def _spoken(said: Mapping[str, Any]) -> tuple[str, bytes]:
    if not said.get("voice"):
        raise Rejected(400, "Missing required parameter: 'voice'.", param="voice", code="missing_required_parameter")
    return "audio/wav", SOUND


def _heard(said: Mapping[str, Any]) -> tuple[str, bytes]:
    text = f"{len(said['file'])} bytes of sound"
    if said.get("response_format") in ("text", "srt", "vtt"):
        return "text/plain; charset=utf-8", text.encode()
    usage = {"type": "duration", "seconds": 1}
    if _is_streamed(said):
        pieces = [{"type": "transcript.text.delta", "delta": piece} for piece in (text[:5], text[5:])]
        return _events(*pieces, {"type": "transcript.text.done", "text": text, "usage": usage})
    return _json({"text": text, "usage": usage})


def _is_streamed(said: Mapping[str, Any]) -> bool:
    return said.get("stream") in (True, "true")


def _events(*events: Mapping[str, Any]) -> tuple[str, bytes]:
    return "text/event-stream", b"".join([b"event: %s\ndata: %s\n\n" % (event["type"].encode(), ENCODE(event)) for event in events])


def _json(body: Any) -> tuple[str, bytes]:
    return "application/json", ENCODE(body)


_WRITERS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, bytes]]]] = {
    "moderations": _moderated,
    "rerank": _ranked,
    "images": _drawn,
    "speech": _spoken,
    "hearing": _heard,
}


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixel = zlib.compress(b"\x00\xff\xff\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


def _wav() -> bytes:
    silence = bytes(1600)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    data = b"data" + struct.pack("<I", len(silence)) + silence
    return b"RIFF" + struct.pack("<I", 4 + len(form) + len(data)) + b"WAVE" + form + data


PICTURE: Final = _png()
SOUND: Final = _wav()
