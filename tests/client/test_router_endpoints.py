"""Every endpoint of a Router, complete and streamed: it exists, and failures go to another deployment as for chats; sync and async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]
BOOM = Reply({"error": {"message": "boom"}}, status=500)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
STREAM = Reply(pieces=sse(chunk("hel"), chunk("lo"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": USAGE}))

WHOLE: dict[str, tuple[tuple[Any, ...], dict[str, Any], Reply]] = {
    "completion": (("gpt", MESSAGES), {}, Reply(CHAT)),
    "text_completion": (("gpt", "hi"), {}, Reply({"id": "t", "object": "text_completion", "choices": [{"text": "x", "index": 0}]})),
    "embedding": (("gpt", "hi"), {}, Reply({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "m"})),
    "rerank": (("gpt", "mills", ["a", "b"]), {}, Reply({"id": "r", "results": [{"index": 1, "relevance_score": 0.9}]})),
    "ocr": (("gpt", {"type": "document_url", "document_url": "http://127.0.0.1/a.pdf"}), {}, Reply({"pages": [], "model": "m"})),
    "image_edit": ((b"PNG", "a mill", "gpt"), {}, Reply({"created": 1, "data": [{"url": "http://127.0.0.1/mill.png"}]})),
    "image_generation": (("a mill", "gpt"), {}, Reply({"created": 1, "data": [{"url": "http://127.0.0.1/mill.png"}]})),
    "transcription": ((b"RIFF", "gpt"), {}, Reply({"text": "hello"})),
    "speech": (("gpt", "hello", "alloy"), {}, Reply(b"sound", headers={"content-type": "audio/mpeg"})),
    "moderation": (("gpt", "hi"), {}, Reply({"id": "m", "model": "m", "results": [{"flagged": False}]})),
    "responses": (("hi", "gpt"), {}, Reply({"id": "resp_1", "object": "response", "output": [], "status": "completed"})),
    "anthropic_messages": ((50, MESSAGES, "gpt"), {}, Reply(CHAT)),
    "generate_content": (("gpt", "hi"), {}, Reply(CHAT)),
}
"""Arguments and an answer of each."""


def router(upstream: Upstream, provider: str = "openai") -> headrace.Router:
    params = {"model": f"{provider}/m", "api_key": "sk-test", "base_url": upstream.url}
    entries = [{"model_name": "gpt", "litellm_params": params, "model_info": {"id": name}} for name in "ab"]
    return headrace.Router(entries, num_retries=1)


@pytest.mark.parametrize("name", WHOLE)
def test_an_endpoint_answers_and_goes_elsewhere_when_one_fails(client: Client, upstream: Upstream, name: str) -> None:
    arguments, options, reply = WHOLE[name]
    upstream.answer(BOOM, reply)
    made = router(upstream, "cohere" if name == "rerank" else "openai")
    answer = client.call(name, *arguments, on=made, **options)
    assert len(upstream.seen) == 2
    hidden = answer._hidden_params
    assert hidden["model_id"] in ("a", "b")
    assert [kind for kind, _ in hidden["headrace"]["failed"]] == ["server"]
    assert [row["in_flight"] for row in made.snapshot()["deployments"].values()] == [0, 0]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("completion", ("gpt", MESSAGES)),
        ("anthropic_messages", (50, MESSAGES, "gpt")),
        ("generate_content", ("gpt", "hi")),
    ],
)
def test_a_streamed_endpoint_answers_and_goes_elsewhere_when_one_fails(
    client: Client, upstream: Upstream, name: str, arguments: tuple[Any, ...]
) -> None:
    upstream.answer(BOOM, STREAM)
    made = router(upstream)
    chunks = client.call(name, *arguments, on=made, stream=True)
    assert "hel" in str([item.model_dump() for item in chunks])
    assert len(upstream.seen) == 2
    assert [row["in_flight"] for row in made.snapshot()["deployments"].values()] == [0, 0]


def test_content_is_streamed_by_a_name_of_its_own(client: Client, upstream: Upstream) -> None:
    upstream.answer(STREAM)
    made = router(upstream)
    if client.name == "sync":
        said = [piece.text for piece in made.generate_content_stream("gpt", "hi")]
    else:

        async def read() -> list[str]:
            return [piece.text async for piece in await made.agenerate_content_stream("gpt", "hi")]

        said = asyncio.run(read())
    assert "".join(said) == "hello"
