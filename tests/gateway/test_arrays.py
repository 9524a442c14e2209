"""Google's streams without `alt=sse`: one JSON array, element by element."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from tests.gateway.conftest import KEY

from headrace.gateway.arrays import ArraySend

ASKED = {"contents": [{"role": "user", "parts": [{"text": "Name a river."}]}]}


def stream(base: str, model: str, body: Any = ASKED) -> Any:
    headers = {"x-goog-api-key": KEY, "content-type": "application/json"}
    return urllib.request.Request(f"{base}/v1beta/models/{model}:streamGenerateContent", json.dumps(body).encode(), headers)


def test_a_stream_without_events_is_an_array_of_the_same_pieces(base: str) -> None:
    with urllib.request.urlopen(stream(base, "gpt")) as answer:
        assert answer.headers["content-type"].startswith("application/json")
        pieces = json.load(answer)
    texts = [part["text"] for piece in pieces for one in piece.get("candidates", ()) for part in one["content"].get("parts", ())]
    assert len(texts) > 1
    assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"
    assert pieces[-1]["usageMetadata"]["candidatesTokenCount"] > 0


def test_elements_come_as_they_are_made(base: str) -> None:
    """Over a provider that takes 40 seconds for its answer the first element is there at once."""
    with urllib.request.urlopen(stream(base, "slow"), timeout=20) as answer:
        assert json.loads(answer.readline()[1:])["candidates"]


def test_a_refusal_is_no_array_but_googles_own_error(base: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(stream(base, "nobody"))
    with refused.value as error:
        assert (error.code, json.load(error)["error"]["status"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([b'data: {"a":1}\r\n\r\n', b'data: {"b":2}\r\n\r\n'], [{"a": 1}, {"b": 2}]),
        ([b'data: {"a"', b":1}\r\n\r", b'\ndata: {"b":2}\r\n\r\n'], [{"a": 1}, {"b": 2}]),
        ([b"\r\n", b'data: {"a":1}\r\n\r\n', b"\r\n", b'data: {"error":{}}\r\n\r\n'], [{"a": 1}, {"error": {}}]),
        ([b"\r\n"], []),
        ([], []),
    ],
)
def test_whatever_comes_is_one_whole_array(pieces: list[bytes], found: list[Any]) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        to = ArraySend(send)
        await to({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for piece in pieces:
            await to({"type": "http.response.body", "body": piece, "more_body": True})
        await to({"type": "http.response.body", "body": b""})

    asyncio.run(run())
    assert json.loads(b"".join(message["body"] for message in sent[1:])) == found
