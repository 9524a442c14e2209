"""The official Google client calls the gateway, with OpenAI's models behind it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from google import genai
from google.genai import errors, types

from gateway.conftest import KEY


@pytest.fixture
def client(base: str) -> Iterator[genai.Client]:
    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=base))
    yield client
    client.close()


def test_content_is_generated(client: genai.Client) -> None:
    answer = client.models.generate_content(model="gpt", contents="Name a river.", config={"max_output_tokens": 20})
    assert answer.text
    assert answer.usage_metadata.candidates_token_count > 0


def test_streamed_content_comes_whole(client: genai.Client) -> None:
    pieces = list(client.models.generate_content_stream(model="gpt", contents="Name a river."))
    assert "".join(piece.text or "" for piece in pieces)
    assert pieces[-1].candidates[0].finish_reason == "STOP"


def test_a_tool_is_called(client: genai.Client) -> None:
    look = types.FunctionDeclaration(name="look", parameters_json_schema={"type": "object", "properties": {"where": {"type": "string"}}})
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[look])],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY")),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    answer = client.models.generate_content(model="gpt", contents="Look.", config=config)
    assert [call.name for call in answer.function_calls] == ["look"]


def test_tokens_are_counted(client: genai.Client) -> None:
    few = client.models.count_tokens(model="gpt", contents="Name a river.").total_tokens
    many = client.models.count_tokens(model="gpt", contents="Name a river. " * 50).total_tokens
    assert 0 < few < many


def test_texts_are_embedded(client: genai.Client) -> None:
    answer = client.models.embed_content(model="vectors", contents=["a river", "a mill"], config={"output_dimensionality": 8})
    assert [len(one.values) for one in answer.embeddings] == [8, 8]


def test_a_task_type_that_only_google_knows_had_vectors_refused(client: genai.Client) -> None:
    """LangChain names one with every text."""
    asked = {"task_type": "RETRIEVAL_QUERY", "title": "rivers"}
    assert client.models.embed_content(model="vectors", contents="a river", config=asked).embeddings[0].values


def test_clients_of_vertex_find_their_models(base: str) -> None:
    at = f"{base}/v1beta1/projects/p/locations/global/publishers/google/models/gpt:generateContent"
    answer = httpx.post(at, headers={"authorization": f"Bearer {KEY}"}, json={"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
    assert answer.json()["candidates"][0]["content"]["parts"][0]["text"]


def test_a_waiting_stream_is_kept_alive_in_silence_that_the_client_understands(client: genai.Client) -> None:
    pieces = client.models.generate_content_stream(
        model="late", contents="Name a river.", config={"http_options": {"extra_body": {"timeout": 1}}}
    )
    with pytest.raises(errors.APIError):
        list(pieces)


def test_errors_are_googles(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model="nobody", contents="Name a river.")
    assert caught.value.code == 404
    assert caught.value.status == "NOT_FOUND"
