"""SageMaker, watsonx, Databricks, Snowflake, and Anthropic's dialect at other providers, through the public functions; sync and async."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.client.test_azure_client import CLAUDE, written
from tests.client.test_bedrock_client import no_aws_here  # noqa: F401
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace
from headrace.dialects.bedrock_converse.eventstream import exception, message
from headrace.providers import cloud_auth, exchange
from headrace.providers.catalog import catalog

KEYS = {
    "api_key": None,
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "a-secret-of-forty",
    "aws_region_name": "eu-central-1",
}


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ("databricks", "snowflake", "watsonx", "oci"):
        provider = catalog().get(row)
        assert provider is not None
        for name in (*provider.auth.env, *provider.base_url_envs):
            monkeypatch.delenv(name, raising=False)
    for name in ("WATSONX_TOKEN", "WATSONX_PROJECT_ID", "WATSONX_SPACE_ID", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    cloud_auth._signer.cache_clear()


@pytest.fixture
def cloud(upstream: Upstream) -> Upstream:
    upstream.url = upstream.url.removesuffix("/v1")
    return upstream


# ---- SageMaker ---------------------------------------------------------------------------------------------------------------------


def part(payload: bytes) -> bytes:
    return message({":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}, payload)


def test_sagemakers_endpoint_is_asked_in_openais_words_and_signed(client: Client, cloud: Upstream) -> None:
    assert client.chat("hi", model="sagemaker_chat/my-endpoint", **KEYS).choices[0].message.content == "hello"
    assert cloud.seen[0].path == "/endpoints/my-endpoint/invocations"
    assert "/eu-central-1/sagemaker/aws4_request" in cloud.seen[0].headers["authorization"]


def test_sagemakers_stream_is_the_containers_own_cut_anywhere(client: Client, cloud: Upstream) -> None:
    said = b"".join(it for it in sse(chunk("hel"), chunk("lo"), chunk(finish="stop")) if isinstance(it, bytes))
    cloud.answer(Reply(pieces=[part(said[at : at + 23]) for at in range(0, len(said), 23)]))
    chunks = client.chat(model="sagemaker/my-endpoint", stream=True, **KEYS)
    assert "".join(it.choices[0].delta.content or "" for it in chunks if it.choices) == "hello"
    assert cloud.seen[0].path == "/endpoints/my-endpoint/invocations-response-stream"


def test_sagemakers_model_may_fail_in_mid_stream(client: Client, cloud: Upstream) -> None:
    said = [it for it in sse(chunk("hel"), done=False) if isinstance(it, bytes)]
    cloud.answer(Reply(pieces=[part(said[0]) + exception("ModelStreamError", {"Message": "the container died", "ErrorCode": "x"})]))
    with pytest.raises(headrace.InternalServerError, match="the container died"):
        client.chat(model="sagemaker_chat/my-endpoint", stream=True, **KEYS)


def test_sagemakers_stream_cut_between_parts_is_no_answer(client: Client, cloud: Upstream) -> None:
    cloud.answer(Reply(pieces=[part(it) for it in sse(chunk("hel"), done=False) if isinstance(it, bytes)]))
    with pytest.raises(headrace.TruncatedStream):
        client.chat(model="sagemaker_chat/my-endpoint", stream=True, **KEYS)


# ---- watsonx -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def iam(cloud: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    monkeypatch.setenv("WATSONX_IAM_URL", f"{cloud.url}/identity/token")
    return cloud


GRANTED = Reply({"access_token": "an-iam-token", "token_type": "Bearer", "expires_in": 3600, "expiration": 1})


def test_watsonx_key_is_exchanged_once_for_a_token(client: Client, iam: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATSONX_PROJECT_ID", "my-project")
    iam.answer(GRANTED, Reply(CHAT))
    for _ in range(2):
        client.chat("hi", model="watsonx/ibm/granite-4-h-small", api_key="an-ibm-key", tool_choice="auto", seed=1)
    asked, first, second = iam.seen
    assert parse_qs(asked.body.decode())["apikey"] == ["an-ibm-key"]
    assert asked.path == "/identity/token"
    assert {seen.headers["authorization"] for seen in (first, second)} == {"Bearer an-iam-token"}
    assert first.path == "/ml/v1/text/chat?version=2024-03-13"
    assert first.body == {
        "model_id": "ibm/granite-4-h-small", "project_id": "my-project", "messages": [{"role": "user", "content": "hi"}],
        "tool_choice_option": "auto", "seed": 1,
    }  # fmt: skip


def test_watsonx_streams_at_another_path(client: Client, iam: Upstream) -> None:
    iam.answer(GRANTED, Reply(pieces=sse(chunk("hello"), chunk(finish="stop"), done=False)))
    chunks = client.chat(model="watsonx/m", api_key="an-ibm-key", stream=True, project_id="p", api_version="2025-01-01")
    assert chunks[0].choices[0].delta.content == "hello"
    assert iam.seen[1].path == "/ml/v1/text/chat_stream?version=2025-01-01"
    assert iam.seen[1].body == {"model_id": "m", "project_id": "p", "messages": [{"role": "user", "content": "hi"}]}


def test_watsonx_deployment_is_named_by_its_path(client: Client, iam: Upstream) -> None:
    iam.answer(GRANTED, Reply(CHAT))
    client.chat("hi", model="watsonx/deployment/my-id", api_key="an-ibm-key")
    assert iam.seen[1].path == "/ml/v1/deployments/my-id/text/chat?version=2024-03-13"
    assert iam.seen[1].body == {"messages": [{"role": "user", "content": "hi"}]}


def test_watsonx_embeds_a_list_at_once(client: Client, iam: Upstream) -> None:
    iam.answer(GRANTED, Reply({"model_id": "m", "results": [{"embedding": [1, 2]}, {"embedding": [3, 4]}], "input_token_count": 5}))
    told = client.call("embedding", "watsonx/ibm/slate", ["a", "b"], api_key="an-ibm-key", project_id="p")
    assert [item.embedding for item in told.data] == [[1, 2], [3, 4]]
    assert told.usage.prompt_tokens == 5
    assert iam.seen[1].body == {"model_id": "ibm/slate", "inputs": ["a", "b"], "project_id": "p"}


def test_a_key_that_ibm_does_not_know_is_said_to_be_one(client: Client, iam: Upstream) -> None:
    iam.answer(Reply({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."}, status=400))
    with pytest.raises(headrace.AuthenticationError, match="could not be found") as caught:
        client.chat(model="watsonx/m", api_key="an-ibm-key-of-nobody")
    assert "an-ibm-key-of-nobody" not in repr(caught.value)


def test_watsonx_without_a_key_says_what_is_missing(client: Client, iam: Upstream) -> None:
    with pytest.raises(headrace.AuthenticationError, match="WATSONX_API_KEY"):
        client.chat(model="watsonx/m", api_key=None)


def test_a_given_token_of_watsonx_is_shown(client: Client, cloud: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATSONX_TOKEN", "a-token-of-mine")
    client.chat(model="watsonx/m", api_key=None)
    assert cloud.seen[0].headers["authorization"] == "Bearer a-token-of-mine"


# ---- Databricks, Snowflake -----------------------------------------------------------------------------------------------------------


def test_a_principal_of_databricks_gets_a_token_of_its_workspace(client: Client, cloud: Upstream) -> None:
    cloud.answer(Reply({"access_token": "a-workspace-token", "expires_in": 3600}), Reply(CHAT))
    options: Any = {"api_key": None, "client_id": "me", "client_secret": "my-secret"}
    client.chat(model="databricks/databricks-claude-sonnet-4-5", base_url=f"{cloud.url}/serving-endpoints", **options)
    asked, seen = cloud.seen
    assert asked.path == "/oidc/v1/token"
    assert parse_qs(asked.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["all-apis"]}
    assert asked.headers["authorization"].startswith("Basic ")
    assert (seen.path, seen.headers["authorization"]) == ("/serving-endpoints/chat/completions", "Bearer a-workspace-token")


def test_a_token_service_that_answers_nonsense_is_named(client: Client, cloud: Upstream) -> None:
    cloud.answer(Reply({"hello": 1}))
    with pytest.raises(headrace.AuthenticationError, match="/oidc/v1/token has no token"):
        client.chat(model="databricks/m", api_key=None, client_id="me", client_secret="my-secret")


def test_databricks_without_any_credentials_says_what_is_missing(client: Client, cloud: Upstream) -> None:
    with pytest.raises(headrace.AuthenticationError, match="DATABRICKS_TOKEN"):
        client.chat(model="databricks/m", api_key=None)


def test_a_token_service_out_of_reach_is_a_connections_failure() -> None:
    with pytest.raises(headrace.APIConnectionError):
        exchange.ibm({"api_key": "an-ibm-key", "watsonx_iam_url": "http://127.0.0.1:1/identity/token"})


@pytest.mark.parametrize("base_url", ["https://a.snowflakecomputing.com", "https://a.snowflakecomputing.com/api/v2"])
def test_snowflakes_kinds_of_token_are_no_part_of_them(base_url: str) -> None:
    told = written("snowflake/claude-sonnet-4-6", {"api_key": "pat/a-token-of-mine", "base_url": base_url})
    assert told.url == "https://a.snowflakecomputing.com/api/v2/cortex/v1/chat/completions"
    assert dict(told.headers)["authorization"] == "Bearer a-token-of-mine"


# ---- Anthropic's dialect elsewhere ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row.name for row in catalog() if row.name.endswith("_anthropic")])
def test_other_houses_speak_anthropics_dialect(client: Client, cloud: Upstream, row: str) -> None:
    cloud.answer(Reply(CLAUDE))
    told = client.call("completion", "some-model", [{"role": "user", "content": "hi"}], custom_llm_provider=row)
    assert told.choices[0].message.content == "hello"
    assert cloud.seen[0].path == "/v1/messages"
    assert json.dumps(cloud.seen[0].headers).count("sk-test-1234567890") == 1


def test_any_address_that_speaks_it_can_be_called() -> None:
    told = written("anthropic/my-model", {"api_key": "a-key-of-theirs", "base_url": "https://llm.corp.example/anthropic"})
    assert told.url == "https://llm.corp.example/anthropic/v1/messages"


def test_many_callers_at_once_share_one_exchange(iam: Upstream) -> None:
    iam.answer(GRANTED, Reply(CHAT))
    asked = {"model": "watsonx/m", "messages": [{"role": "user", "content": "hi"}], "api_key": "an-ibm-key", "base_url": iam.url}

    async def all_at_once() -> None:
        await asyncio.gather(*(headrace.acompletion(**asked) for _ in range(8)))

    with ThreadPoolExecutor(8) as threads:
        told = [threads.submit(headrace.completion, **asked) for _ in range(8)]
        asyncio.run(all_at_once())
        assert all(it.result().choices[0].message.content == "hello" for it in told)
    assert [seen.path for seen in iam.seen].count("/identity/token") == 1
    assert len(iam.seen) == 17


def test_watsonx_completes_texts_by_generation(client: Client, iam: Upstream) -> None:
    made = {"generated_text": " upon", "generated_token_count": 1, "input_token_count": 2, "stop_reason": "max_tokens"}
    iam.answer(GRANTED, Reply({"model_id": "m", "results": [made]}))
    answer = client.call(
        "text_completion", "watsonx_text/ibm/granite", "Once", api_key="an-ibm-key", project_id="p", max_tokens=9, base_url=iam.url
    )
    assert iam.seen[1].path == "/ml/v1/text/generation?version=2024-03-13"
    assert iam.seen[1].body == {"model_id": "ibm/granite", "project_id": "p", "input": "Once", "parameters": {"max_new_tokens": 9}}
    assert (answer.choices[0].text, answer.choices[0].finish_reason, answer.usage.total_tokens) == (" upon", "length", 3)
    iam.answer(Reply({"results": [made]}))
    client.call("text_completion", "watsonx/deployment/d", "Once", api_key="an-ibm-key", seed=1, base_url=iam.url)
    assert iam.seen[2].path == "/ml/v1/deployments/d/text/generation?version=2024-03-13"
    assert iam.seen[2].body == {"input": "Once", "parameters": {"random_seed": 1}}


def test_novas_endpoint_has_no_model_in_the_body_and_says_that_it_streams(client: Client, cloud: Upstream) -> None:
    client.chat("hi", model="sagemaker_nova/my-endpoint", **KEYS)
    assert cloud.seen[0].path == "/endpoints/my-endpoint/invocations"
    assert cloud.seen[0].body == {"messages": [{"role": "user", "content": "hi"}]}


# ---- SAP ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sap(cloud: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    for name in ("SERVICE_KEY", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "AUTH_URL", "RESOURCE_GROUP"):
        monkeypatch.delenv(f"AICORE_{name}", raising=False)
    key = {"clientid": "me", "clientsecret": "a-secret", "url": cloud.url, "serviceurls": {"AI_API_URL": cloud.url}}
    monkeypatch.setenv("AICORE_SERVICE_KEY", json.dumps({"credentials": key}))
    return cloud


def deployed(cloud: Upstream) -> Reply:
    def one(name: str, day: int, scenario: str = "orchestration") -> dict[str, str]:
        return {"scenarioId": scenario, "deploymentUrl": f"{cloud.url}/v2/inference/deployments/{name}", "createdAt": f"2026-01-0{day}"}

    return Reply({"resources": [one("old", 1), one("new", 2), one("other", 3, "foundation-models")]})


TOKEN = Reply({"access_token": "an-sap-token", "token_type": "bearer", "expires_in": 43199})


def test_saps_orchestration_is_found_once_and_asked_in_its_envelope(client: Client, sap: Upstream) -> None:
    sap.answer(TOKEN, deployed(sap), Reply({"request_id": "r", "final_result": CHAT}))
    tools = [{"type": "function", "function": {"name": "f"}}]
    for _ in range(2):
        answer = client.call(
            "completion", "sap/gpt-4o", [{"role": "user", "content": "hi"}], tools=tools, max_tokens=9, base_url=None, api_key=None
        )
    token, found, first, second = sap.seen
    assert token.path == "/oauth/token"
    assert parse_qs(token.body.decode()) == {"grant_type": ["client_credentials"], "client_id": ["me"], "client_secret": ["a-secret"]}
    assert found.path == "/v2/lm/deployments?scenarioId=orchestration&status=RUNNING"
    assert found.headers["ai-resource-group"] == first.headers["ai-resource-group"] == "default"
    assert first.path == second.path == "/v2/inference/deployments/new/v2/completion"
    assert first.headers["authorization"] == "Bearer an-sap-token"
    assert first.body == {"config": {"modules": {"prompt_templating": {
        "prompt": {"template": [{"role": "user", "content": "hi"}], "tools": tools},
        "model": {"name": "gpt-4o", "version": "latest", "params": {"max_tokens": 9}},
    }}}}  # fmt: skip
    assert (answer.choices[0].message.content, answer.request_id) == ("hello", "r")


def test_saps_stream_is_openais_in_its_envelope(client: Client, sap: Upstream) -> None:
    pieces = [{"request_id": "r", "final_result": it} for it in (chunk("hel"), chunk("lo"), chunk(finish="stop"))]
    sap.answer(TOKEN, deployed(sap), Reply(pieces=sse(*pieces)))
    chunks = client.call("completion", "sap/gpt-4o", [{"role": "user", "content": "hi"}], stream=True, base_url=None, api_key=None)
    assert sap.seen[2].body["config"]["stream"] == {"enabled": True}
    assert "".join(it.choices[0].delta.content or "" for it in chunks) == "hello"
    cut = Reply(pieces=sse(*pieces[:2], done=False))
    sap.answer(cut)
    with pytest.raises(headrace.TruncatedStream):
        client.call("completion", "sap/gpt-4o", [{"role": "user", "content": "hi"}], stream=True, base_url=None, api_key=None)


def test_sap_embeds(client: Client, sap: Upstream) -> None:
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}], "model": "m", "usage": {}}
    sap.answer(TOKEN, deployed(sap), Reply({"request_id": "r", "final_result": vectors}))
    answer = client.call("embedding", "sap/text-embedding-3-small", ["a"], dimensions=1, base_url=None, api_key=None)
    assert sap.seen[2].path == "/v2/inference/deployments/new/v2/embeddings"
    model = {"name": "text-embedding-3-small", "version": "latest", "params": {"dimensions": 1}}
    assert sap.seen[2].body == {"config": {"modules": {"embeddings": {"model": model}}}, "input": {"text": ["a"]}}
    assert answer.data[0]["embedding"] == [1.0]


@pytest.mark.parametrize(
    ("key", "resources", "error", "said"),
    [
        ("no json", [], headrace.ConfigurationError, "it is not a JSON object"),
        ('{"clientid": "me"}', [], headrace.ConfigurationError, "it has no serviceurls"),
        (None, [], headrace.ConfigurationError, "no orchestration is deployed in resource group 'default'"),
    ],
)
def test_what_sap_lacks_is_said(client: Client, sap: Upstream, key: Any, resources: Any, error: type[Exception], said: str) -> None:
    sap.answer(TOKEN, Reply({"resources": resources}))
    with pytest.raises(error, match=said):
        client.call("completion", "sap/gpt-4o", [{"role": "user", "content": "hi"}], base_url=None, api_key=key)
