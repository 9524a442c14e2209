"""AWS's and Anthropic's own Bedrock clients call the gateway, with providers of several dialects behind it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import anthropic
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from tests.client.upstream import Reply, Upstream, chunk, sse, standing
from tests.gateway.conftest import KEY, serving
from tests.gateway.persistence import Gateway

from headrace import Router
from headrace.dialects.bedrock_converse.eventstream import event
from headrace.framing import EventStreamReader
from headrace.gateway.config import Settings
from headrace.layers import around
from headrace.layers.guardrails import Guardrails
from headrace.layers.pii import PII

ASK = [{"role": "user", "content": [{"text": "What is at the mill? Look."}]}]
SCHEMA = {"type": "object", "properties": {"where": {"type": "string"}}}
TOOLS = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": SCHEMA}}}]}
CLAUDES = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 20, "messages": [{"role": "user", "content": "Name a river."}]}


def client_of(address: str, key: str = KEY) -> Any:
    """AWS's: the key stands for the id of an access key, with which requests are signed."""
    once = Config(retries={"total_max_attempts": 1})
    return botocore.session.Session().create_client(
        "bedrock-runtime", "us-east-1", endpoint_url=address, aws_access_key_id=key, aws_secret_access_key="any", config=once
    )


@pytest.fixture
def client(base: str) -> Iterator[Any]:
    made = client_of(base)
    yield made
    made.close()


@pytest.fixture
def claude(base: str) -> Iterator[anthropic.AnthropicBedrock]:
    with anthropic.AnthropicBedrock(api_key=KEY, aws_region="us-east-1", base_url=base, max_retries=0) as made:
        yield made


def test_converse_goes_on_with_what_a_tool_found(client: Any) -> None:
    called = client.converse(modelId="gpt", messages=ASK, toolConfig=TOOLS)
    assert called["stopReason"] == "tool_use"
    [use] = [block["toolUse"] for block in called["output"]["message"]["content"] if "toolUse" in block]
    assert use["name"] == "look"
    found = {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "a wheel"}]}}
    turns = [*ASK, called["output"]["message"], {"role": "user", "content": [found]}]
    told = client.converse(modelId="gpt", messages=turns, toolConfig=TOOLS)
    assert (told["stopReason"], told["usage"]["outputTokens"] > 0) == ("end_turn", True)


def test_a_stream_of_converse_comes_whole(client: Any) -> None:
    events = list(client.converse_stream(modelId="gpt", messages=[{"role": "user", "content": [{"text": "Name a river."}]}])["stream"])
    kinds = [kind for one in events for kind in one]
    assert (kinds[0], kinds[-3:]) == ("messageStart", ["contentBlockStop", "messageStop", "metadata"])
    assert "".join(one["contentBlockDelta"]["delta"]["text"] for one in events if "contentBlockDelta" in one)
    assert events[-1]["metadata"]["usage"]["outputTokens"] > 0


def test_arguments_of_a_streamed_call_come_whole(client: Any) -> None:
    deltas = [one.get("contentBlockDelta") for one in client.converse_stream(modelId="gpt", messages=ASK, toolConfig=TOOLS)["stream"]]
    assert isinstance(json.loads("".join(one["delta"]["toolUse"]["input"] for one in deltas if one)), dict)


def test_claude_is_invoked_whole_and_streamed(client: Any, claude: anthropic.AnthropicBedrock) -> None:
    whole = json.loads(client.invoke_model(modelId="gpt", body=json.dumps(CLAUDES))["body"].read())
    assert (whole["type"], whole["content"][0]["type"]) == ("message", "text")
    pieces = client.invoke_model_with_response_stream(modelId="gpt", body=json.dumps(CLAUDES))["body"]
    assert [json.loads(piece["chunk"]["bytes"])["type"] for piece in pieces][-1] == "message_stop"
    asked: Any = CLAUDES["messages"]
    assert claude.messages.create(model="gpt", max_tokens=20, messages=asked).content[0].type == "text"
    with claude.messages.stream(model="gpt", max_tokens=20, messages=asked) as stream:
        assert stream.get_final_message().usage.output_tokens > 0


def test_tokens_are_counted_in_either_kind_of_words(client: Any) -> None:
    turns = [{"role": "user", "content": [{"text": "Name a river."}]}]
    conversed = client.count_tokens(modelId="gpt", input={"converse": {"messages": turns}})["inputTokens"]
    invoked = client.count_tokens(modelId="gpt", input={"invokeModel": {"body": json.dumps(CLAUDES)}})["inputTokens"]
    assert conversed == invoked > 0


def test_errors_are_awss(client: Any, base: str) -> None:
    def refused(code: str, ask: Any) -> str:
        with pytest.raises(ClientError) as caught:
            ask()
        assert caught.value.response["Error"]["Code"] == code
        return str(caught.value)

    refused("ResourceNotFoundException", lambda: client.converse(modelId="none", messages=ASK))
    assert "Converse" in refused("ValidationException", lambda: client.invoke_model(modelId="gpt", body='{"words": "hi"}'))
    elsewhere = {"invokeModel": {"body": b"inputText"}}
    assert "JSON" in refused("ValidationException", lambda: client.count_tokens(modelId="gpt", input=elsewhere))
    stranger = client_of(base, "sk-unknown")
    assert "key" in refused("UnrecognizedClientException", lambda: stranger.converse(modelId="gpt", messages=ASK))
    stranger.close()


def test_waiting_streams_are_kept_alive_in_silence_that_both_clients_understand(client: Any, claude: anthropic.AnthropicBedrock) -> None:
    """Their calls fail after signs of life: in the stream."""
    client.meta.events.register("before-sign.bedrock-runtime", lambda request, **_: request.headers.add_header("x-headrace-timeout", "1"))
    with pytest.raises(EventStreamError, match="odelStreamErrorException"):
        list(client.converse_stream(modelId="late", messages=ASK)["stream"])
    with pytest.raises(EventStreamError, match="odelStreamErrorException"):
        list(client.invoke_model_with_response_stream(modelId="late", body=json.dumps(CLAUDES))["body"])


def test_with_a_database_bedrocks_paths_were_taken_for_administrators(gateway: Gateway) -> None:
    """Whose paths begin with /model/ as well."""
    told = gateway.ask("/model/gpt/converse", {"messages": ASK}, gateway.key())
    assert told["output"]["message"]["role"] == "assistant"
    assert gateway.ask("/model/info")["data"]


def test_claude_code_got_anthropics_errors_on_bedrocks_paths(base: str) -> None:
    """It says Anthropic's version there too."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "anthropic-version": "2023-06-01"}
    asked = urllib.request.Request(f"{base}/model/none/invoke", json.dumps(CLAUDES).encode(), headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked)
    with caught.value as error:
        assert error.headers["x-amzn-errortype"] == "ResourceNotFoundException"


# ---- over scripted providers -------------------------------------------------------------------------------------------------------

EVENTS = [
    event("messageStart", {"role": "assistant", "of_tomorrow": 1}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hello"}}),
    event("contentBlockStop", {"contentBlockIndex": 0}),
    event("messageStop", {"stopReason": "end_turn"}),
    event("metadata", {"usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}, "metrics": {"latencyMs": 7}}),
]
KIND = {"content-type": "application/vnd.amazon.eventstream"}


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def address(provider: Upstream) -> Iterator[str]:
    def entry(name: str, model: str, base: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "key-of-bedrock", "base_url": base}}

    host = provider.url.removesuffix("/v1")
    router = Router([entry("nova", "bedrock/amazon.nova-pro-v1:0", host), entry("gpt", "openai/own", provider.url)], num_retries=0)
    with serving(router, Settings(key=KEY)) as base:
        yield base


def streamed(address: str, model: str) -> bytes:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    body = json.dumps({"messages": ASK}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{address}/model/{model}/converse-stream", body, headers)) as answer:
        assert answer.headers["content-type"] == KIND["content-type"]
        return bytes(answer.read())


def test_bedrocks_own_streams_pass_with_what_nobody_here_knows(address: str, provider: Upstream) -> None:
    provider.answer(Reply(pieces=list(EVENTS), headers=KIND))
    assert streamed(address, "nova") == b"".join(EVENTS)
    assert provider.seen[-1].path == "/model/amazon.nova-pro-v1%3A0/converse-stream"
    assert provider.seen[-1].body == {"messages": ASK}


def test_a_stream_that_is_cut_ends_in_an_exception(address: str, provider: Upstream) -> None:
    provider.answer(Reply(pieces=list(EVENTS[:2]), headers=KIND))
    [*_, last] = EventStreamReader().feed(streamed(address, "nova"))
    assert (last.event, "ended" in json.loads(last.data)["message"]) == ("modelStreamErrorException", True)


MAIL = "Write to anna@example.org today, please, and not to somebody else."


@pytest.mark.parametrize("calls", [False, True])
def test_guardrails_look_at_converses_streams_too(address: str, provider: Upstream, monkeypatch: pytest.MonkeyPatch, calls: bool) -> None:
    monkeypatch.setattr(around, "_layers", ())
    Guardrails([PII()]).install()
    texts = [MAIL[at : at + 7] for at in range(0, len(MAIL), 7)]
    said = [chunk(text) for text in texts]
    if calls:
        named = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
        deltas = [named, *[{"index": 0, "function": {"arguments": text}} for text in ['{"at": "', *texts, '"}']]]
        said = [{**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": [delta]}, "finish_reason": None}]} for delta in deltas]
    provider.answer(Reply(pieces=sse(*said, chunk(finish="tool_calls" if calls else "stop"))))
    frames = EventStreamReader().feed(streamed(address, "gpt"))
    found = [json.loads(frame.data)["delta"] for frame in frames if frame.event == "contentBlockDelta"]
    whole = "".join(delta["toolUse"]["input"] if calls else delta["text"] for delta in found)
    assert "anna" not in whole
    assert whole == (json.dumps({"at": MAIL}) if calls else MAIL).replace("anna@example.org", "<EMAIL_ADDRESS>")
