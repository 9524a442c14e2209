"""Amazon Bedrock through the public functions: requests, signed or with a key, and responses; sync and async."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream

import headrace
from headrace.destinations import destination
from headrace.dialects.bedrock_converse.eventstream import event, exception
from headrace.providers import signing

MODEL = "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PATH = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"
USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 105, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 0}
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "a-secret-of-forty", "aws_region_name": "eu-central-1"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def answer(*blocks: Any, stop: str = "end_turn") -> Reply:
    message = {"role": "assistant", "content": list(blocks)}
    body = {"output": {"message": message}, "stopReason": stop, "usage": USAGE, "metrics": {"latencyMs": 9}}
    return Reply(body, headers={"x-amzn-requestid": "request-1"})


def stream(*events: bytes, **more: Any) -> Reply:
    return Reply(pieces=list(events), headers={"content-type": "application/vnd.amazon.eventstream"}, **more)


def delta(index: int, **said: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": said})


START, METADATA = event("messageStart", {"role": "assistant"}), event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 9}})


@pytest.fixture(autouse=True)
def no_aws_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Neither keys nor files nor an instance's metadata of this machine."""
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEDROCK_RUNTIME_ENDPOINT", "AWS_BATCH_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.fixture
def bedrock(upstream: Upstream) -> Upstream:
    upstream.url = upstream.url.removesuffix("/v1")
    upstream.answer(answer({"text": "hello"}))
    return upstream


def test_a_chat_is_asked_and_answered(client: Client, bedrock: Upstream) -> None:
    told = client.chat("hi", model=MODEL, max_tokens=9, api_key="bedrock-api-key-1")
    assert (told.id, told.model, told.object) == ("request-1", MODEL.removeprefix("bedrock/"), "chat.completion")
    assert (told.choices[0].message.content, told.choices[0].finish_reason) == ("hello", "stop")
    assert (told.usage.prompt_tokens, told.usage.completion_tokens, told.usage.total_tokens) == (103, 2, 105)
    assert told.usage.prompt_tokens_details["cached_tokens"] == 100
    [seen] = bedrock.seen
    assert seen.path == f"{PATH}/converse"
    assert seen.headers["authorization"] == "Bearer bedrock-api-key-1"
    assert seen.body == {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 9}}


def test_a_stream_is_read_as_it_comes(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(stream(START, delta(0, text="he"), delta(0, text="llo"), event("messageStop", {"stopReason": "max_tokens"}), METADATA))
    chunks = client.chat(model=MODEL, stream=True, stream_options={"include_usage": True})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "hello"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage.prompt_tokens == 103
    assert bedrock.seen[0].path == f"{PATH}/converse-stream"


def test_tools_are_called_and_their_results_sent_back(client: Client, bedrock: Upstream) -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}
    call = {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Ulm"}}}
    bedrock.answer(answer(thought, {"text": "Let me see."}, call, stop="tool_use"), answer({"text": "rain"}))
    question = {"role": "user", "content": "weather?"}
    first = client.call("completion", MODEL, [question], tools=TOOLS, tool_choice="auto")
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.reasoning_content == "hm"
    assert (message.tool_calls[0].id, json.loads(message.tool_calls[0].function.arguments)) == ("tooluse_1", {"city": "Ulm"})
    told = {"role": "tool", "tool_call_id": "tooluse_1", "content": "rain"}
    client.call("completion", MODEL, [question, message, told], tools=TOOLS)
    sent = bedrock.seen[1].body
    assert sent["messages"] == [
        {"role": "user", "content": [{"text": "weather?"}]},
        {"role": "assistant", "content": [thought, {"text": "Let me see."}, call]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "rain"}]}}]},
    ]
    assert bedrock.seen[0].body["toolConfig"]["toolChoice"] == {"auto": {}}


def test_calls_in_a_stream_keep_their_places(client: Client, bedrock: Upstream) -> None:
    pieces = [START]
    for index in (0, 1):
        start = {"toolUse": {"toolUseId": f"tooluse_{index}", "name": "weather"}}
        pieces += [event("contentBlockStart", {"contentBlockIndex": index, "start": start})]
        pieces += [delta(index, toolUse={"input": piece}) for piece in ('{"a"', f": {index}}}")]
        pieces += [event("contentBlockStop", {"contentBlockIndex": index})]
    bedrock.answer(stream(*pieces, event("messageStop", {"stopReason": "tool_use"}), METADATA))
    chunks = client.chat(model=MODEL, stream=True, tools=TOOLS)
    calls: dict[int, list[str]] = {}
    for piece in [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]:
        known = calls.setdefault(piece.index, ["", ""])
        known[0] += piece.get("id") or ""
        known[1] += piece.function.arguments or ""
    assert calls == {0: ["tooluse_0", '{"a": 0}'], 1: ["tooluse_1", '{"a": 1}']}


def test_citations_do_not_break_the_text(client: Client, bedrock: Upstream) -> None:
    cited = {"citationsContent": {"content": [{"text": "20 days"}], "citations": [{"title": "policy"}]}}
    bedrock.answer(answer({"text": "There are "}, cited, {"text": "."}))
    message = client.chat(model=MODEL).choices[0].message
    assert message.content == "There are 20 days."
    assert [dict(citation) for citation in message.citations] == [{"title": "policy"}]


@pytest.mark.parametrize(
    ("status", "name", "text", "kind"),
    [
        (429, "ThrottlingException", "Too many tokens, please wait", headrace.RateLimitError),
        (400, "ValidationException", "Input is too long for requested model.", headrace.ContextWindowExceededError),
        (400, "ValidationException", "The provided model identifier is invalid.", headrace.NotFoundError),
        (403, "ExpiredTokenException", "The security token included in the request is expired", headrace.AuthenticationError),
    ],
)
def test_a_refusal_is_its_own_exception(client: Client, bedrock: Upstream, status: int, name: str, text: str, kind: Any) -> None:
    bedrock.answer(Reply({"message": text}, status=status, headers={"x-amzn-errortype": f"{name}:http://internal/"}))
    with pytest.raises(kind, match=text[:20]) as caught:
        client.chat(model=MODEL)
    assert caught.value.llm_provider == "bedrock"
    assert caught.value.code == name


def test_an_exception_in_mid_stream_is_raised(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(stream(START, delta(0, text="he"), exception("throttlingException", {"message": "Too many requests"})))
    with pytest.raises(headrace.RateLimitError, match="Too many requests"):
        client.chat(model=MODEL, stream=True)


def test_a_cut_stream_is_no_answer(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(stream(START, delta(0, text="he")))
    with pytest.raises(headrace.APIConnectionError, match="messageStop"):
        client.chat(model=MODEL, stream=True)


def test_what_bedrock_cannot_take_is_refused_before_it_is_sent(client: Client, bedrock: Upstream) -> None:
    with pytest.raises(headrace.UnsupportedParamsError, match="bedrock does not support n, seed: "):
        client.chat(model=MODEL, n=2, seed=1)
    image = [{"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}]
    with pytest.raises(headrace.BadRequestError, match=r"messages\[0\]\.content\[0\]"):
        client.chat(image, model=MODEL)
    assert bedrock.seen == []
    client.chat(model=MODEL, seed=1, drop_params=True)
    assert "seed" not in bedrock.seen[0].body


# ---- with AWS's credentials --------------------------------------------------------------------------------------------------------


def test_without_a_key_a_call_is_signed(client: Client, bedrock: Upstream) -> None:
    client.chat(model=MODEL, api_key=None, aws_session_token="a-session-token", **KEYS)
    [seen] = bedrock.seen
    scheme, _, rest = seen.headers["authorization"].partition(" ")
    fields = dict(field.strip().split("=", 1) for field in rest.split(","))
    assert scheme == "AWS4-HMAC-SHA256"
    assert fields["Credential"].startswith("AKIDEXAMPLE/")
    assert fields["Credential"].endswith("/eu-central-1/bedrock/aws4_request")
    assert fields["SignedHeaders"] == "content-type;host;x-amz-date;x-amz-security-token"
    assert seen.headers["x-amz-security-token"] == "a-session-token"
    assert seen.body == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_credentials_given_with_the_call_win_over_a_key_of_the_environment(
    client: Client, bedrock: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-2")
    client.chat(model=MODEL, api_key=None, aws_region_name="us-east-1")
    client.chat(model=MODEL, api_key=None, **KEYS)
    assert [seen.headers["authorization"].partition(" ")[0] for seen in bedrock.seen] == ["Bearer", "AWS4-HMAC-SHA256"]


def test_a_router_signs_with_its_deployments_credentials(client: Client, bedrock: Upstream) -> None:
    params = {"model": MODEL, "api_base": bedrock.url, **KEYS}
    router = headrace.Router(model_list=[{"model_name": "claude", "litellm_params": params}])
    told = client.call("completion", "claude", [{"role": "user", "content": "hi"}], on=router)
    assert told.choices[0].message.content == "hello"
    assert "AKIDEXAMPLE" in bedrock.seen[0].headers["authorization"]
    assert not any(name.startswith("aws") for name in bedrock.seen[0].body)
    assert "a-secret-of-forty" not in repr(router)


def test_without_any_credentials_a_call_says_what_to_set(client: Client, bedrock: Upstream) -> None:
    with pytest.raises(headrace.AuthenticationError, match=r"no AWS credentials were found: set AWS_BEARER_TOKEN_BEDROCK"):
        client.chat(model=MODEL, api_key=None, aws_region_name="us-west-1")
    assert bedrock.seen == []


def test_without_a_region_a_call_says_what_to_set(client: Client) -> None:
    with pytest.raises(headrace.ConfigurationError, match="AWS_REGION_NAME or AWS_REGION or AWS_DEFAULT_REGION"):
        client.chat(model=MODEL, api_key="k", base_url=None)


def test_credentials_given_with_one_call_of_a_router_sign_that_call(client: Client, bedrock: Upstream) -> None:
    params = {"model": MODEL, "api_base": bedrock.url, **KEYS}
    router = headrace.Router(model_list=[{"model_name": "claude", "litellm_params": params}])
    client.call("completion", "claude", [{"role": "user", "content": "hi"}], on=router, aws_access_key_id="AKIDOTHER")
    assert "AKIDOTHER" in bedrock.seen[0].headers["authorization"]


def test_a_refusal_that_repeats_the_session_is_told_without_it(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(Reply({"message": "refused: x-amz-security-token:a-session-token-1"}, status=403))
    with pytest.raises(headrace.PermissionDeniedError) as caught:
        client.chat(model=MODEL, api_key=None, aws_session_token="a-session-token-1", **KEYS)
    assert "a-session-token-1" not in f"{caught.value} {caught.value.body}"


def test_refused_credentials_are_looked_for_anew(client: Client, bedrock: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(signing, "PAUSE", 0.0)
    refusal = Reply({"message": "expired"}, status=403, headers={"x-amzn-errortype": "ExpiredTokenException"})
    bedrock.answer(refusal, answer({"text": "hello"}))
    options = {"model": MODEL, "api_key": None, "aws_region_name": "us-east-1", "aws_profile_name": f"work-{tmp_path.name}"}
    for key in ("AKIDOLD", "AKIDNEW"):
        text = f"[work-{tmp_path.name}]\naws_access_key_id = {key}\naws_secret_access_key = s\n"
        (tmp_path / "credentials").write_text(text, "utf-8")
        if key == "AKIDOLD":
            with pytest.raises(headrace.AuthenticationError):
                client.chat(**options)
        else:
            assert client.chat(**options).choices[0].message.content == "hello"
    assert [seen.headers["authorization"].partition("Credential=")[2][:7] for seen in bedrock.seen] == ["AKIDOLD", "AKIDNEW"]


PROFILE = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/a1b2c3"
PROFILE_PATH = "/model/arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Aapplication-inference-profile%2Fa1b2c3"
FAMILY = "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"


def test_a_model_id_stands_in_the_address_and_the_model_tells_the_family(client: Client, bedrock: Upstream) -> None:
    told = client.chat("hi", model=FAMILY, model_id=PROFILE, reasoning_effort="low", api_key="k")
    assert told.model == FAMILY.removeprefix("bedrock/")
    [seen] = bedrock.seen
    assert seen.path == f"{PROFILE_PATH}/converse"
    assert seen.body["additionalModelRequestFields"]["thinking"]["type"] == "enabled"  # known of Claude, not of a profile
    assert "model_id" not in str(seen.body)


def test_a_model_id_stands_in_the_address_of_invoke_and_of_embeddings(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(Reply({"embedding": [0.5], "inputTextTokenCount": 1}))
    client.call("embedding", "bedrock/amazon.titan-embed-text-v2:0", "hi", model_id=PROFILE, api_key="k")
    bedrock.answer(Reply({"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "hello"}],
                          "model": "c", "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}))  # fmt: skip
    client.chat("hi", model=FAMILY.replace("/", "/invoke/"), model_id=PROFILE, api_key="k")
    assert [seen.path for seen in bedrock.seen] == [f"{PROFILE_PATH}/invoke"] * 2


def test_a_deployment_has_its_model_id_and_its_own_account(client: Client, bedrock: Upstream) -> None:
    params = {"model": FAMILY, "base_url": bedrock.url, "api_key": "k"}
    router = headrace.Router([{"model_name": "claude", "litellm_params": {**params, "model_id": PROFILE}}])
    assert client.call("completion", "claude", [{"role": "user", "content": "hi"}], on=router).choices[0].message.content == "hello"
    assert bedrock.seen[0].path == f"{PROFILE_PATH}/converse"
    plain, profile = destination(FAMILY, params), destination(FAMILY, {**params, "model_id": PROFILE})
    assert plain.account != profile.account


def test_a_model_id_says_the_region() -> None:
    to = destination(FAMILY, {"api_key": "k", "model_id": PROFILE})
    assert to.base_url == "https://bedrock-runtime.us-west-2.amazonaws.com"
    assert destination(FAMILY, {"api_key": "k", "model_id": PROFILE, "aws_region_name": "eu-west-1"}).base_url.count("eu-west-1") == 1


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        ("openai/gpt-5", "x", "model_id is an option of Bedrock, not of openai"),
        (FAMILY, 3, "model_id must be a non-empty string, got the int 3"),
    ],
)
def test_a_model_id_that_cannot_be_is_refused(client: Client, upstream: Upstream, model: str, given: Any, told: str) -> None:
    with pytest.raises(headrace.ConfigurationError, match=told):
        client.chat("hi", model=model, model_id=given, api_key="k")
    assert not upstream.seen
