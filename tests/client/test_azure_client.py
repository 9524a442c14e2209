"""Azure through the public functions: both URL styles, API versions, keys and tokens, every endpoint; sync and async."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace
from headrace.calls import CHAT as CHATTING
from headrace.calls import prepare
from headrace.destinations import destination
from headrace.writing import translation_of, write

VERSION = "2025-04-01-preview"


@pytest.fixture(autouse=True)
def no_azure_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT", "AZURE_API_VERSION", "AZURE_AD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_VERSION", "AZURE_AI_API_KEY", "AZURE_AI_API_BASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def azure(upstream: Upstream) -> Upstream:
    upstream.url = upstream.url.removesuffix("/v1")
    return upstream


def test_a_deployment_stands_in_the_path_and_the_key_in_its_header(client: Client, azure: Upstream) -> None:
    client.chat("hi", model="azure/my-gpt", temperature=0, api_version="2024-10-21")
    [seen] = azure.seen
    assert seen.path == "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert seen.headers["api-key"] == "sk-test-1234567890"
    assert "authorization" not in seen.headers
    assert seen.body == {"model": "my-gpt", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}


def test_the_v1_api_has_the_deployment_in_the_body_and_needs_no_version(client: Client, azure: Upstream) -> None:
    client.chat("hi", model="azure/my-gpt", base_url=f"{azure.url}/openai/v1/")
    [seen] = azure.seen
    assert (seen.path, seen.body["model"]) == ("/openai/v1/chat/completions", "my-gpt")


def test_a_stream_begins_with_the_filters_chunk_and_goes_on(client: Client, azure: Upstream) -> None:
    filtered = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    azure.answer(Reply(pieces=sse(filtered, chunk("hel"), chunk("lo"), chunk(finish="stop"))))
    chunks = client.chat(model="azure/my-gpt", stream=True)
    assert "".join(it.choices[0].delta.content or "" for it in chunks if it.choices) == "hello"
    assert chunks[0].prompt_filter_results == [{"prompt_index": 0}]


ENV = {"AZURE_API_KEY": "a-key-of-azure", "AZURE_API_BASE": "https://mine.openai.azure.com"}


@pytest.mark.parametrize(
    ("env", "options", "url"),
    [
        ({}, {}, f"/openai/deployments/dep/chat/completions?api-version={VERSION}"),
        ({"AZURE_API_VERSION": "2024-06-01"}, {}, "/openai/deployments/dep/chat/completions?api-version=2024-06-01"),
        (
            {"AZURE_API_VERSION": "2024-06-01"},
            {"api_version": "2024-10-21"},
            "/openai/deployments/dep/chat/completions?api-version=2024-10-21",
        ),
        ({}, {"api_version": "preview"}, "/openai/v1/chat/completions?api-version=preview"),
        ({"AZURE_API_VERSION": "v1"}, {}, "/openai/v1/chat/completions?api-version=v1"),
        ({"AZURE_API_VERSION": "2024-06-01"}, {"base_url": "https://mine.openai.azure.com/openai/v1"}, "/openai/v1/chat/completions"),
        (
            {"AZURE_API_VERSION": "2024-06-01"},
            {"base_url": "https://mine.openai.azure.com/openai/deployments/other/chat/completions?api-version=2024-02-01"},
            "/openai/deployments/other/chat/completions?api-version=2024-02-01",
        ),
    ],
)
def test_where_a_call_goes(env: dict[str, str], options: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's word comes before the address's, that before the environment's."""
    for name, value in {**ENV, **env}.items():
        monkeypatch.setenv(name, value)
    assert written("azure/dep", options).url == f"https://mine.openai.azure.com{url}"


def written(model: str, options: dict[str, Any]) -> Any:
    """The request of a chat, sent nowhere."""
    call = prepare(CHATTING, model, [{"role": "user", "content": "hi"}], False, options)
    to = destination(model, call.control)
    return write(call, to, translation_of(call, to))


@pytest.mark.parametrize("series", ["o_series/", "gpt5_series/", ""])
def test_a_reasoning_model_is_given_the_limit_it_knows(client: Client, azure: Upstream, series: str) -> None:
    client.chat("hi", model=f"azure/{series}o3-mini", max_tokens=9)
    assert azure.seen[0].path.startswith("/openai/deployments/o3-mini/")
    assert azure.seen[0].body["max_completion_tokens"] == 9
    assert "max_tokens" not in azure.seen[0].body


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("embedding", ("azure/dep", ["hi"]), {}, "deployments/dep/embeddings"),
    ("text_completion", ("azure/dep", "hi"), {}, "deployments/dep/completions"),
    ("image_generation", ("a cat",), {"model": "azure/dep"}, "deployments/dep/images/generations"),
    ("speech", ("azure/dep", "hi"), {"voice": "alloy"}, "deployments/dep/audio/speech"),
    ("transcription", ("azure/dep", b"RIFF"), {}, "deployments/dep/audio/transcriptions"),
    ("create_file", (b"{}", "batch"), {"custom_llm_provider": "azure"}, "files"),
    ("retrieve_batch", ("b/1",), {"custom_llm_provider": "azure"}, "batches/b%2F1"),
]


@pytest.mark.parametrize(("name", "args", "options", "path"), CALLS, ids=[call[0] for call in CALLS])
def test_every_endpoint_has_its_place(
    client: Client, azure: Upstream, name: str, args: tuple[Any, ...], options: dict[str, Any], path: str
) -> None:
    azure.answer(Reply({**CHAT, "data": [], "text": "hi"}))
    client.call(name, *args, **options)
    assert azure.seen[0].path == f"/openai/{path}?api-version={VERSION}"
    assert azure.seen[0].headers["api-key"] == "sk-test-1234567890"


@pytest.mark.parametrize(
    "options",
    [{"azure_ad_token": "a-token-of-entra"}, {"azure_ad_token_provider": lambda: "a-token-of-entra"}, {}],
    ids=["one", "asked", "env"],
)
def test_a_token_of_entra_is_shown_instead_of_a_key(
    client: Client, azure: Upstream, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if options:
        monkeypatch.setenv("AZURE_API_KEY", "a-key-that-is-not-meant")
    else:
        monkeypatch.setenv("AZURE_AD_TOKEN", "a-token-of-entra")
    client.chat(model="azure/dep", api_key=None, **options)
    assert azure.seen[0].headers["authorization"] == "Bearer a-token-of-entra"
    assert "api-key" not in azure.seen[0].headers


def test_a_router_takes_a_deployment_as_litellm_writes_it(client: Client, azure: Upstream) -> None:
    params = {"model": "azure/dep", "api_key": "sk-test-1234567890", "api_base": azure.url, "api_version": "2024-10-21"}
    router = headrace.Router(model_list=[{"model_name": "m", "litellm_params": params}])
    client.call("completion", "m", [{"role": "user", "content": "hi"}], on=router)
    assert azure.seen[0].path == "/openai/deployments/dep/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}}, headrace.AuthenticationError),
        (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}, headrace.NotFoundError),
        (
            400,
            {"error": {"code": "content_filter", "message": "filtered", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            headrace.ContentPolicyViolationError,
        ),
        (429, {"error": {"code": "RateLimitReached", "message": "exceeded token rate limit"}}, headrace.RateLimitError),
    ],
)
def test_a_refusal_is_its_own_exception(client: Client, azure: Upstream, status: int, body: Any, kind: Any) -> None:
    azure.answer(Reply(body, status=status))
    with pytest.raises(kind) as caught:
        client.chat(model="azure/dep")
    assert (caught.value.llm_provider, caught.value.model, caught.value.status_code) == ("azure", "dep", status)


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "dep",
    "output": [
        {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hi"}]}
    ],
}


@pytest.mark.parametrize(
    ("base", "options", "path"),
    [
        ("", {}, f"/openai/responses?api-version={VERSION}"),
        ("", {"api_version": "2025-03-01-preview"}, "/openai/responses?api-version=2025-03-01-preview"),
        ("", {"api_version": "preview"}, "/openai/v1/responses?api-version=preview"),
        ("/openai/v1", {}, "/openai/v1/responses"),
    ],
)
def test_responses_are_azures_own(client: Client, azure: Upstream, base: str, options: dict[str, Any], path: str) -> None:
    azure.answer(Reply(RESPONSE))
    told = client.call("responses", "hi", "azure/dep", base_url=azure.url + base, **options)
    assert told.output_text == "hi"
    assert azure.seen[0].path == path
    assert azure.seen[0].body == {"model": "dep", "input": "hi"}


# ---- Foundry -----------------------------------------------------------------------------------------------------------------------

CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


@pytest.mark.parametrize("path", ["", "/anthropic", "/anthropic/v1", "/anthropic/v1/messages"])
def test_claude_in_foundry_speaks_its_own_dialect(client: Client, azure: Upstream, path: str) -> None:
    azure.answer(Reply(CLAUDE))
    told = client.chat("hi", model="azure_ai/claude-sonnet-4-5", base_url=azure.url + path, max_tokens=9)
    assert told.choices[0].message.content == "hello"
    [seen] = azure.seen
    assert seen.path == "/anthropic/v1/messages"
    assert seen.headers["x-api-key"] == "sk-test-1234567890"
    assert seen.headers["anthropic-version"]
    assert seen.body["model"] == "claude-sonnet-4-5"


@pytest.mark.parametrize(
    ("base_url", "url", "header"),
    [
        ("https://r.services.ai.azure.com", "/models/chat/completions?api-version=2024-05-01-preview", "api-key"),
        (
            "https://r.services.ai.azure.com/models/chat/completions?api-version=2025-01-01",
            "/models/chat/completions?api-version=2025-01-01", "api-key",
        ),
        ("https://r.services.ai.azure.com/openai/v1", "/openai/v1/chat/completions", "api-key"),
        ("https://Phi.eastus2.models.ai.azure.com/v1", "/v1/chat/completions", "authorization"),
    ],
)  # fmt: skip
def test_a_resource_of_foundry_is_called_where_it_answers(base_url: str, url: str, header: str) -> None:
    request = written("azure_ai/Phi-4", {"base_url": base_url, "api_key": "a-key-of-foundry"})
    assert request.url == f"https://{base_url.split('/')[2]}{url}"
    assert header in dict(request.headers)
