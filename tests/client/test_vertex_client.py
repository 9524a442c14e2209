"""Vertex AI through the public functions: Gemini, Claude, partner models and embeddings, with tokens and keys; sync and async."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from tests.client.test_azure_client import CLAUDE, written
from tests.client.upstream import Client, Reply, Upstream, chunk, sse

import headrace
from headrace.providers import cloud_auth, cloud_credentials

SERVICE = json.dumps({"type": "service_account", "project_id": "project-of-the-file", "client_email": "a@b.iam"})


@pytest.fixture(autouse=True)
def google_gives_tokens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A token for any credentials, counted; nothing of this machine's own."""
    for name in (*cloud_auth.PROJECT_VARIABLES, "VERTEXAI_LOCATION", "VERTEX_LOCATION", "GOOGLE_CLOUD_LOCATION", "VERTEX_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("VERTEXAI_API_BASE", "VERTEX_API_BASE", "GOOGLE_VERTEX_API_KEY", "VERTEXAI_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    asked: list[str] = []

    def credentials(given: str | None) -> Any:
        made = SimpleNamespace(token="", expiry=None)
        made.refresh = lambda _: (asked.append(str(given)), setattr(made, "token", f"ya29.token-{len(asked)}"))
        return made

    monkeypatch.setattr(cloud_credentials, "_google_credentials", credentials)
    monkeypatch.setattr(cloud_credentials, "_google_request", lambda: None)
    cloud_auth._signer.cache_clear()
    return asked


@pytest.fixture
def vertex(upstream: Upstream) -> Upstream:
    upstream.url = upstream.url.removesuffix("/v1")
    return upstream


def ask(client: Client, model: str, **options: Any) -> Any:
    return client.chat("hi", model=f"vertex_ai/{model}", **{"api_key": None, "vertex_credentials": SERVICE, **options})


GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4, "trafficType": "ON_DEMAND"},
}


def test_gemini_is_asked_by_its_publisher_with_a_token_that_is_kept(
    client: Client, vertex: Upstream, google_gives_tokens: list[str]
) -> None:
    vertex.answer(Reply(GEMINI))
    told = [ask(client, model) for model in ("gemini-2.5-flash", "gemini/gemini-2.5-flash", "google/gemini-2.5-flash")]
    assert told[0].choices[0].message.content == "hello"
    assert {seen.path for seen in vertex.seen} == {"/publishers/google/models/gemini-2.5-flash:generateContent"}
    assert {seen.headers["authorization"] for seen in vertex.seen} == {"Bearer ya29.token-1"}
    assert len(google_gives_tokens) == 1


def test_geminis_stream_is_asked_for_as_events(client: Client, vertex: Upstream) -> None:
    vertex.answer(Reply(pieces=[f"data: {json.dumps(GEMINI)}\r\n\r\n".encode()]))
    chunks = ask(client, "gemini-2.5-flash", stream=True)
    assert "".join(it.choices[0].delta.content or "" for it in chunks if it.choices) == "hello"
    assert vertex.seen[0].path == "/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


HOSTS = {
    "us-east5": "us-east5-aiplatform.googleapis.com",
    "global": "aiplatform.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
}


@pytest.mark.parametrize("location", HOSTS)
def test_a_location_has_its_host(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/v1beta1/projects/p/locations/{location}/publishers/google/models/gemini-2.5-pro:generateContent"
    told = written("vertex_ai/gemini-2.5-pro", {"vertex_project": "p", "vertex_location": location})
    assert told.url == f"https://{HOSTS[location]}{path}"
    monkeypatch.setenv("VERTEXAI_PROJECT", "p")
    monkeypatch.setenv("VERTEXAI_LOCATION", location)
    assert written("vertex_ai/gemini-2.5-pro", {}).url == told.url


def test_the_project_is_that_of_the_credentials_where_none_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there = "https://us-central1-aiplatform.googleapis.com/v1beta1/projects/project-of-the-file/"
    assert written("vertex_ai/gemini-2.5-pro", {"vertex_credentials": SERVICE}).url.startswith(there)
    (tmp_path / "key.json").write_text(SERVICE)
    assert written("vertex_ai/gemini-2.5-pro", {"vertex_credentials": str(tmp_path / "key.json")}).url.startswith(there)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    assert written("vertex_ai/gemini-2.5-pro", {}).url.startswith(there)
    assert "/projects/another/" in written("vertex_ai/gemini-2.5-pro", {"vertex_project": "another"}).url


def test_a_missing_project_is_named_with_what_would_name_it() -> None:
    with pytest.raises(headrace.ConfigurationError, match="VERTEXAI_PROJECT"):
        written("vertex_ai/gemini-2.5-pro", {})


def test_a_key_opens_gemini_without_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEX_API_KEY", "a-key-of-vertex")
    told = written("vertex_ai/gemini-2.5-flash", {})
    assert told.url == "https://aiplatform.googleapis.com/v1beta1/publishers/google/models/gemini-2.5-flash:generateContent"
    assert dict(told.headers)["x-goog-api-key"] == "a-key-of-vertex"


def test_claude_is_asked_in_its_own_dialect_with_its_name_in_the_path(client: Client, vertex: Upstream) -> None:
    vertex.answer(Reply(CLAUDE))
    told = ask(client, "claude-sonnet-4-5@20250929", max_tokens=9, extra_headers={"anthropic-beta": "context-1m-2025-08-07"})
    assert (told.choices[0].message.content, told.usage.prompt_tokens) == ("hello", 3)
    [seen] = vertex.seen
    assert seen.path == "/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
    assert seen.headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert seen.body == {
        "anthropic_version": "vertex-2023-10-16", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9,
    }  # fmt: skip


def test_claudes_stream_is_read_as_anthropics(client: Client, vertex: Upstream) -> None:
    vertex.answer(Reply(pieces=claude_events()))
    chunks = ask(client, "claude-sonnet-4-5@20250929", stream=True)
    assert "".join(it.choices[0].delta.content or "" for it in chunks if it.choices) == "hello"
    assert vertex.seen[0].path.endswith(":streamRawPredict")
    assert vertex.seen[0].body["stream"] is True


def claude_events() -> list[Any]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in claude_stream()]


def claude_stream() -> list[dict[str, Any]]:
    return [
        {"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize(
    ("model", "path", "named"),
    [
        ("meta/llama-4-maverick-maas", "/endpoints/openapi/chat/completions", "meta/llama-4-maverick-maas"),
        ("deepseek-ai/deepseek-v3.1-maas", "/endpoints/openapi/chat/completions", "deepseek-ai/deepseek-v3.1-maas"),
        ("mistral-large@2411", "/publishers/mistralai/models/mistral-large@2411:rawPredict", "mistral-large@2411"),
        ("openai/5464397967697903616", "/endpoints/5464397967697903616/chat/completions", "5464397967697903616"),
    ],
)  # fmt: skip
def test_the_partners_models_speak_openais_dialect(client: Client, vertex: Upstream, model: str, path: str, named: str) -> None:
    ask(client, model)
    assert (vertex.seen[0].path, vertex.seen[0].body["model"]) == (path, named)
    vertex.answer(Reply(pieces=sse(chunk("hello"), chunk(finish="stop"))))
    ask(client, model, stream=True)
    assert vertex.seen[1].path == path.replace(":rawPredict", ":streamRawPredict")


def test_a_tuned_gemini_is_its_endpoint(client: Client, vertex: Upstream) -> None:
    vertex.answer(Reply(GEMINI))
    ask(client, "gemini/4965075652664360960")
    assert vertex.seen[0].path == "/endpoints/4965075652664360960:generateContent"


def test_texts_are_embedded_by_predict(client: Client, vertex: Upstream) -> None:
    vectors = [{"embeddings": {"values": [0.5, 1], "statistics": {"token_count": 2, "truncated": False}}}] * 2
    vertex.answer(Reply({"predictions": vectors, "metadata": {"billableCharacterCount": 4}}))
    options: Any = {"api_key": None, "vertex_credentials": SERVICE, "dimensions": 2, "task_type": "CLUSTERING"}
    told = client.call("embedding", "vertex_ai/text-embedding-005", ["a", "b"], **options)
    assert [(item.index, item.embedding) for item in told.data] == [(0, [0.5, 1]), (1, [0.5, 1])]
    assert told.usage.prompt_tokens == 4
    assert vertex.seen[0].path == "/publishers/google/models/text-embedding-005:predict"
    assert vertex.seen[0].body == {
        "instances": [{"content": "a", "task_type": "CLUSTERING"}, {"content": "b", "task_type": "CLUSTERING"}],
        "parameters": {"outputDimensionality": 2},
    }


def test_gemini_embeds_one_text_at_a_time(client: Client, vertex: Upstream) -> None:
    vertex.answer(Reply({"embedding": {"values": [1]}}), Reply({"embedding": {"values": [2]}}))
    told = client.call("embedding", "vertex_ai/gemini-embedding-2", ["a", "b"], api_key=None, vertex_credentials=SERVICE)
    assert [item.embedding for item in told.data] == [[1], [2]]
    assert [seen.body["content"]["parts"][0]["text"] for seen in vertex.seen] == ["a", "b"]
    assert {seen.path for seen in vertex.seen} == {"/publishers/google/models/gemini-embedding-2:embedContent"}


def test_a_reply_without_vectors_is_no_answer(client: Client, vertex: Upstream) -> None:
    vertex.answer(Reply({"predictions": [{"embeddings": {"values": "none"}}]}))
    with pytest.raises(headrace.APIResponseValidationError, match="embeddings"):
        client.call("embedding", "vertex_ai/text-embedding-005", "a", api_key=None, vertex_credentials=SERVICE)


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "claude-sonnet-4-5@20250929", "meta/llama-4-maas", "text-embedding-005"])
def test_a_refusal_of_googles_is_understood_whatever_the_dialect(client: Client, vertex: Upstream, model: str) -> None:
    said = {"error": {"code": 403, "message": "Permission denied on resource project p.", "status": "PERMISSION_DENIED"}}
    vertex.answer(Reply(said, status=403))
    name, words = ("embedding", "a") if "embedding" in model else ("completion", [{"role": "user", "content": "hi"}])
    with pytest.raises(headrace.PermissionDeniedError) as caught:
        client.call(name, f"vertex_ai/{model}", words, api_key=None, vertex_credentials=SERVICE)
    assert caught.value.llm_provider == "vertex_ai"


def test_a_text_completion_is_a_chat(client: Client, vertex: Upstream) -> None:
    vertex.answer(Reply(GEMINI))
    told = client.call("text_completion", "vertex_ai/gemini-2.5-flash", "hi", api_key=None, vertex_credentials=SERVICE)
    assert told.choices[0].text == "hello"
    assert vertex.seen[0].path.endswith("/publishers/google/models/gemini-2.5-flash:generateContent")
