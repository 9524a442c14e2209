"""Endpoints other than chat, as users call them, with a server on a socket."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tempfile
import threading
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream

import headrace
from headrace.multipart import PIECE

SOUND = bytes(range(256)) * 800
"""Longer than what is held of a file at once."""
assert len(SOUND) > 3 * PIECE


def parts(upstream: Upstream) -> dict[str, tuple[bytes, str | None, str]]:
    """The parts of the form that was sent: content, file name, content type."""
    seen = upstream.seen[-1]
    message = BytesParser().parsebytes(b"content-type: " + seen.headers["content-type"].encode() + b"\r\n\r\n" + seen.body)
    found: dict[str, Any] = {}
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
        found[str(name)] = (part.get_payload(decode=True), part.get_filename(), part.get_content_type())  # type: ignore[union-attr]
    return found


# ---- JSON ------------------------------------------------------------------------------------------------------------


def test_images_are_made(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"total_tokens": 9}}))
    answer = client.call("image_generation", "a mill", "openai/gpt-image-1", size="1024x1024", n=1)
    assert upstream.seen[0].path == "/v1/images/generations"
    assert upstream.seen[0].body == {"model": "gpt-image-1", "prompt": "a mill", "size": "1024x1024", "n": 1}
    assert answer.data[0].b64_json == "AAAA"
    assert answer.usage.total_tokens == 9


def test_texts_are_moderated_by_openai_unless_told_otherwise(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"id": "modr-1", "model": "omni", "results": [{"flagged": True, "categories": {"hate": True}}]}))
    answer = client.call("moderation", ["something"])
    assert upstream.seen[0].path == "/v1/moderations"
    assert upstream.seen[0].body == {"model": "omni-moderation-latest", "input": ["something"]}
    assert answer.results[0].flagged is True
    assert answer.results[0]["categories"]["hate"] is True


@pytest.mark.parametrize("field", ["results", "data"])
def test_documents_are_reranked_whatever_a_provider_calls_the_results(client: Client, upstream: Upstream, field: str) -> None:
    upstream.answer(Reply({"id": "r", field: [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}))
    answer = client.call("rerank", "openai/reranker", "capital?", ["Lyon", "Paris"], top_n=2)
    assert upstream.seen[0].path == "/v1/rerank"
    assert upstream.seen[0].body == {"model": "reranker", "query": "capital?", "documents": ["Lyon", "Paris"], "top_n": 2}
    assert [found.index for found in answer.results] == [1, 0]
    assert answer.results[0]["relevance_score"] == 0.9


def test_a_document_is_read(client: Client, upstream: Upstream) -> None:
    page = {"index": 0, "markdown": "# Mills", "images": []}
    upstream.answer(Reply({"pages": [page], "model": "mistral-ocr", "usage_info": {"pages_processed": 1}}))
    document = {"type": "document_url", "document_url": "https://example.org/mills.pdf"}
    answer = client.call("ocr", "mistral/mistral-ocr-latest", document, include_image_base64=True)
    assert upstream.seen[0].path == "/v1/ocr"
    assert upstream.seen[0].body == {"model": "mistral-ocr-latest", "document": document, "include_image_base64": True}
    assert answer.pages[0].markdown == "# Mills"
    assert answer.usage_info.pages_processed == 1


def test_speech_comes_as_bytes(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(SOUND, headers={"content-type": "audio/mpeg"}))
    answer = client.call("speech", "openai/tts-1", "Hello", "alloy", response_format="mp3")
    assert upstream.seen[0].path == "/v1/audio/speech"
    assert upstream.seen[0].body == {"model": "tts-1", "input": "Hello", "voice": "alloy", "response_format": "mp3"}
    assert answer.content == answer.read() == b"".join(answer.iter_bytes(1000)) == SOUND
    with tempfile.TemporaryDirectory() as folder:
        answer.stream_to_file(os.path.join(folder, "hello.mp3"))
        assert Path(folder, "hello.mp3").read_bytes() == SOUND
    assert "audio/mpeg" in repr(answer)


# ---- files -----------------------------------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """Can be read once, and has no size."""

    def __init__(self) -> None:
        self._left = SOUND

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        left, self._left = self._left, b""
        return left


@pytest.mark.parametrize("kind", ["bytes", "path", "open", "half read", "pipe", "named"])
def test_a_recording_is_sent_as_it_is_however_it_is_given(client: Client, upstream: Upstream, kind: str, tmp_path: Path) -> None:
    upstream.answer(Reply({"text": "Hello there.", "usage": {"seconds": 2}}))
    path = tmp_path / "hello.wav"
    path.write_bytes(b"skip" + SOUND if kind == "half read" else SOUND)
    with path.open("rb") as file:
        if kind == "half read":
            file.seek(4)
        given: Any = {
            "bytes": SOUND,
            "path": path,
            "open": file,
            "half read": file,
            "pipe": Pipe(),
            "named": ("said.mp3", SOUND, "audio/mpeg"),
        }[kind]
        answer = client.call("transcription", "openai/whisper-1", given, language="en", timestamp_granularities=["word", "segment"])
    assert answer.text == "Hello there."
    assert upstream.seen[0].path == "/v1/audio/transcriptions"
    found = parts(upstream)
    assert found["file"][0] == SOUND
    assert found["file"][1] == {"bytes": "upload", "pipe": "upload", "named": "said.mp3"}.get(kind, "hello.wav")
    assert found["file"][2] == ("audio/mpeg" if kind == "named" else found["file"][2])
    assert found["model"][0] == b"whisper-1"
    assert found["timestamp_granularities[]"][0] in (b"word", b"segment")
    assert upstream.seen[0].headers["content-length"] == str(len(upstream.seen[0].body))


def test_subtitles_come_as_text(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"1\n00:00 --> 00:01\nHello\n", headers={"content-type": "text/plain; charset=utf-8"}))
    answer = client.call("audio_translation", "openai/whisper-1", SOUND, response_format="srt")
    assert upstream.seen[0].path == "/v1/audio/translations"
    assert answer.text.startswith("1\n00:00")


def test_images_are_edited_from_several_files(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"created": 1, "data": [{"url": "https://example.com/1.png"}]}))
    answer = client.call(
        "image_edit", [("a.png", b"one"), ("b.png", b"two")], "make it blue", "openai/gpt-image-1", mask=("m.png", b"mask")
    )
    found = parts(upstream)
    assert found["image[]"][0] in (b"one", b"two")
    assert found["mask"] == (b"mask", "m.png", "image/png")
    assert found["prompt"][0] == b"make it blue"
    assert answer.data[0].url == "https://example.com/1.png"


def test_a_file_is_sent_whole_again_when_the_first_try_fails(client: Client, upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer(Reply({"error": {"message": "busy"}}, status=500), Reply({"id": "file-1", "purpose": "batch"}))
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(SOUND)
    with path.open("rb") as file:
        answer = client.call("create_file", file, "batch", num_retries=1)
    assert answer.id == "file-1"
    assert len(upstream.seen) == 2
    assert parts(upstream)["file"][0] == SOUND
    assert "model" not in parts(upstream)


@pytest.mark.parametrize("given", ["a/path.wav", None, 7, ("name",), io.StringIO("text")])
def test_what_is_no_file_is_refused_by_name(client: Client, given: Any) -> None:
    with pytest.raises(headrace.BadRequestError, match="file"):
        client.call("transcription", "openai/whisper-1", given)


# ---- without a model -------------------------------------------------------------------------------------------------

CALLS = [
    ("file_list", (), {"purpose": "batch", "limit": 5}, "GET", "/v1/files?purpose=batch&limit=5", {"data": [{"id": "f"}]}),
    ("file_retrieve", ("file-1",), {}, "GET", "/v1/files/file-1", {"id": "file-1"}),
    ("file_delete", ("file-1",), {}, "DELETE", "/v1/files/file-1", {"id": "file-1", "deleted": True}),
    ("retrieve_batch", ("batch/1",), {}, "GET", "/v1/batches/batch%2F1", {"id": "batch/1", "status": "completed", "error": None}),
    ("list_batches", (), {}, "GET", "/v1/batches", {"data": []}),
    ("cancel_batch", ("batch_1",), {}, "POST", "/v1/batches/batch_1/cancel", {"id": "batch_1", "status": "cancelling"}),
    ("list_models", (), {}, "GET", "/v1/models", {"data": [{"id": "gpt-4o"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options", "method", "path", "reply"), CALLS, ids=[call[0] for call in CALLS])
def test_files_batches_and_models_are_asked_for(
    client: Client, upstream: Upstream, name: str, args: Any, options: Any, method: str, path: str, reply: Any
) -> None:
    upstream.answer(Reply(reply))
    answer = client.call(name, *args, **options)
    assert (upstream.seen[0].method, upstream.seen[0].path) == (method, path)
    assert answer.model_dump() == reply


def test_a_batch_is_ordered_and_its_metadata_kept_by_the_provider(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"id": "batch_1", "status": "validating"}))
    client.call("create_batch", "24h", "/v1/chat/completions", "file-1", metadata={"job": "7"})
    assert upstream.seen[0].body == {
        "completion_window": "24h",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1",
        "metadata": {"job": "7"},
    }


def test_the_content_of_a_file_comes_as_bytes(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b'{"custom_id": 1}\n', headers={"content-type": "application/octet-stream"}))
    assert client.call("file_content", "file-1").text == '{"custom_id": 1}\n'
    assert upstream.seen[0].path == "/v1/files/file-1/content"


def test_errors_are_those_of_every_call(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "No such file", "code": None, "type": "invalid_request_error"}}, status=404))
    with pytest.raises(headrace.NotFoundError, match="No such file"):
        client.call("file_retrieve", "file-9")


def test_a_provider_without_an_operation_says_so() -> None:
    with pytest.raises(headrace.BadRequestError, match="anthropic has no moderations"):
        asyncio.run(headrace.amoderation("text", "anthropic/claude", api_key="k"))


# ---- through a Router ------------------------------------------------------------------------------------------------

THROUGH = [
    ("rerank", ("group", "q", ["a", "b"]), "/v1/rerank", {"results": [{"index": 0, "relevance_score": 1.0}]}),
    ("image_generation", ("a mill", "group"), "/v1/images/generations", {"data": [{"url": "u"}]}),
    ("transcription", (b"sound", "group"), "/v1/audio/transcriptions", {"text": "said"}),
    ("moderation", ("group", "text"), "/v1/moderations", {"results": [{"flagged": False}]}),
    ("speech", ("group", "text", "alloy"), "/v1/audio/speech", {"audio_data": "AAAA"}),
]


@pytest.mark.parametrize(("name", "args", "path", "reply"), THROUGH, ids=[call[0] for call in THROUGH])
def test_a_router_takes_them_under_its_limits(client: Client, upstream: Upstream, name: str, args: Any, path: str, reply: Any) -> None:
    upstream.answer(Reply(reply))
    params = {"model": "openai/m", "base_url": upstream.url, "api_key": "sk-test", "rpm": 1}
    router = headrace.Router([{"model_name": "group", "litellm_params": params}], max_wait=0, num_retries=0)
    answer = client.call(name, *args, on=router)
    assert upstream.seen[0].path == path
    assert answer._hidden_params["headrace"]["deployment"] == router.get_model_ids()[0]
    with pytest.raises(headrace.RateLimitError):
        [client.call(name, *args, on=router) for _ in range(6)]


# ---- streams of events -----------------------------------------------------------------------------------------------

USAGE = {"input_tokens": 2, "output_tokens": 5, "total_tokens": 7}
STREAMS: dict[str, tuple[tuple[Any, ...], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "image_generation": (
        ("a mill", "openai/gpt-image-1"),
        {"type": "image_generation.partial_image", "b64_json": "AA", "partial_image_index": 0},
        {"type": "image_generation.completed", "b64_json": "AAAA", "usage": USAGE},
        {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": USAGE},
    ),
    "image_edit": (
        (b"PNG", "at night", "openai/gpt-image-1"),
        {"type": "image_edit.partial_image", "b64_json": "AA", "partial_image_index": 0},
        {"type": "image_edit.completed", "b64_json": "AAAA", "usage": USAGE},
        {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": USAGE},
    ),
    "transcription": (
        ("openai/gpt-4o-transcribe", SOUND),
        {"type": "transcript.text.delta", "delta": "hel"},
        {"type": "transcript.text.done", "text": "hello", "usage": USAGE},
        {"text": "hello", "usage": USAGE},
    ),
}
"""By function: its arguments, an event on the way, the last one, and the whole answer of a model that does not stream."""


def framed(*events: dict[str, Any]) -> list[bytes | threading.Event]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


@pytest.mark.parametrize("name", STREAMS)
def test_pictures_and_transcriptions_come_event_by_event(client: Client, upstream: Upstream, name: str) -> None:
    arguments, piece, end, whole = STREAMS[name]
    upstream.answer(Reply(pieces=framed(piece, end)), Reply(pieces=framed(piece)), Reply(whole))
    events = client.call(name, *arguments, stream=True)
    assert [event.model_dump(exclude_none=True) for event in events] == [piece, end]
    assert events[-1].usage.output_tokens == 5
    assert b'"stream":true' in encoded(upstream) or b'name="stream"\r\n\r\ntrue' in encoded(upstream)
    with pytest.raises(headrace.TruncatedStream):  # ended in good order, and without its last event
        client.call(name, *arguments, stream=True)
    (event,) = client.call(name, *arguments, stream=True)
    assert (event.type, event.usage.total_tokens) == (end["type"], 7)
    assert [event.get(name) for name in ("text", "b64_json")] == [end.get(name) for name in ("text", "b64_json")]


def encoded(upstream: Upstream) -> bytes:
    body = upstream.seen[0].body
    return body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()


def test_what_cannot_be_streamed_is_said_before_anything_is_sent(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.BadRequestError, match="response_format 'srt' cannot be streamed"):
        client.call("transcription", "openai/whisper-1", SOUND, response_format="srt", stream=True)
    with pytest.raises(headrace.BadRequestError, match="images cannot be streamed with this provider"):
        client.call("image_generation", "a mill", "stability/sd3", stream=True)
    assert not upstream.seen
