"""Requests of Converse and of other dialects to it: every feature in both directions, and bad input."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from dialects.converse import (
    ASKED,
    CLAUDE,
    CONVERSE,
    NOVA,
    OPENAI,
    PNG,
    START,
    STOP,
    WEATHER,
    answered,
    asked,
    assistant,
    called,
    delta,
    events_of,
    read,
    result,
    user,
    written,
)
from headrace import types as hub
from headrace.dialects.base import Target
from headrace.dialects.bedrock_converse import requests
from headrace.dialects.bedrock_converse.eventstream import event
from headrace.dialects.collect import collect
from headrace.dialects.translate import translate
from headrace.errors import (
    BadRequestError,
)
from headrace.wire import Headers, HttpResponse

# ---- requests --------------------------------------------------------------------------------------------------------------------------

REQUESTS: dict[str, dict[str, Any]] = {
    "text": {"messages": [user({"text": "hi"})]},
    "empty parts": {"messages": [user({"text": ""})], "system": [], "inferenceConfig": {}, "toolConfig": {}},
    "no content": {"messages": [{"role": "user", "content": []}]},
    "settings": {
        "messages": [user({"text": "hi"})],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0, "topP": 0.5, "stopSequences": ["x"], "new": 1},
    },
    "system": {"messages": [user({"text": "hi"})], "system": [{"text": "be"}, {"cachePoint": {"type": "default"}}, {"text": "kind"}]},
    "cache with ttl": {"messages": [user({"text": "hi"}, {"cachePoint": {"type": "default", "ttl": "1h"}})]},
    "cache first": {"messages": [user({"cachePoint": {"type": "default"}}, {"text": "hi"})]},
    "two cache points": {"messages": [user({"text": "hi"}, {"cachePoint": {"type": "default"}}, {"cachePoint": {"type": "default"}})]},
    "cache of tomorrow": {"messages": [user({"text": "hi"}, {"cachePoint": {"type": "long"}})]},
    "image": {"messages": [user({"image": {"format": "png", "source": {"bytes": PNG}}})]},
    "image in S3": {"messages": [user({"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://b/a.jpg"}}}})]},
    "image in somebody's S3": {
        "messages": [user({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a", "bucketOwner": "1"}}}})]
    },
    "document": {"messages": [user({"document": {"format": "pdf", "name": "Document 1", "source": {"bytes": PNG}}})]},
    "document as text": {
        "messages": [
            user({
                "document": {
                    "format": "txt", "name": "a", "source": {"text": "ünï"}, "context": "HR", "citations": {"enabled": True},
                }
            })
        ]
    },
    "document as blocks": {"messages": [user({"document": {"name": "a", "source": {"content": [{"text": "x"}]}}})]},
    "video": {"messages": [user({"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/a.mp4"}}}})]},
    "audio": {"messages": [user({"audio": {"format": "mp3", "source": {"bytes": PNG}}})]},
    "guarded": {"messages": [user({"guardContent": {"text": {"text": "hi", "qualifiers": ["query"]}}})]},
    "guarded image": {"messages": [user({"guardContent": {"image": {"format": "png", "source": {"bytes": PNG}}}})]},
    "block of tomorrow": {"messages": [user({"hologram": {"depth": 3}}, {"text": "?"})]},
    "turn with thinking": {
        "messages": [
            user({"text": "hi"}),
            assistant(
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": base64.b64encode(b"EtkECk").decode()}},
                {"reasoningContent": {"redactedContent": "not base64!"}},
                {"text": "well"},
            ),
            user({"text": "so?"}),
        ]
    },
    "tools": {
        "messages": [
            user({"text": "hi"}),
            assistant({"text": "let me see"}, called(), called("2")),
            user(result({"text": "rain"}), result({"json": {"a": 1}}, number="2", status="error"), {"text": "and?"}),
        ],
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "weather", "description": "d", "inputSchema": {"json": {"type": "object"}}, "strict": True}},
                {"cachePoint": {"type": "default"}},
                {"systemTool": {"name": "nova_grounding"}},
            ],
            "toolChoice": {"tool": {"name": "weather"}},
        },
    },
    "results of every kind": {
        "messages": [
            user(
                result(
                    {"text": "t"}, {"json": [1, {"b": None}]}, {"image": {"format": "png", "source": {"bytes": PNG}}},
                    {"document": {"format": "csv", "name": "d", "source": {"bytes": PNG}}},
                    {"video": {"format": "mp4", "source": {"bytes": PNG}}}, status="success",
                ),
                {"cachePoint": {"type": "default"}},
            )
        ]
    },
    "an empty result": {"messages": [user(result())]},
    "cited": {
        "messages": [
            assistant({
                "citationsContent": {
                    "content": [{"text": "20 days"}],
                    "citations": [{"title": "t", "location": {"documentChar": {"documentIndex": 0, "start": 0, "end": 7}}}],
                }
            }),
            user({"text": "?"}),
        ]
    },
    "cited in pieces": {
        "messages": [assistant({"citationsContent": {"content": [{"text": "20 "}, {"text": "days"}], "citations": []}})]
    },
    "any tool": {"messages": [user({"text": "hi"})], "toolConfig": {"tools": [WEATHER], "toolChoice": {"any": {}}}},
    "a choice of tomorrow": {"messages": [user({"text": "hi"})], "toolConfig": {"tools": [WEATHER], "toolChoice": {"some": {"n": 2}}}},
    "schema": {
        "messages": [user({"text": "hi"})],
        "outputConfig": {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"name": "City", "description": "d", "schema": '{"type": "object"}'}},
            }
        },
    },
    "effort beside a schema": {"messages": [user({"text": "hi"})], "outputConfig": {"effort": "low"}},
    "thinking": {
        "messages": [user({"text": "hi"})],
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "top_k": 5, "anthropic_beta": ["x"]},
    },
    "no additional fields": {"messages": [user({"text": "hi"})], "additionalModelRequestFields": {}},
    "everything else": {
        "messages": [user({"text": "hi"})],
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"},
        "performanceConfig": {"latency": "optimized"},
        "serviceTier": {"type": "flex"},
        "requestMetadata": {"team": "x"},
        "promptVariables": {"a": {"text": "b"}},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "tomorrow": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("body", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_request_is_written_again_as_it_was_read(body: dict[str, Any]) -> None:
    assert written(body) == body
    assert CONVERSE.read_request(written(body)) == CONVERSE.read_request(body)


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        (CLAUDE, False, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"),
        (CLAUDE, True, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", False,
         "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fx/converse"),
        ("converse/amazon.nova-lite-v1:0", False, "/model/amazon.nova-lite-v1%3A0/converse"),
        ("us-gov-west-1/amazon.nova-lite-v1:0", False, "/model/amazon.nova-lite-v1%3A0/converse"),
        ("converse/eu-central-1/a.b", False, "/model/a.b/converse"),
    ],
)  # fmt: skip
def test_the_model_stands_in_the_path(model: str, stream: bool, path: str) -> None:
    target = Target("bedrock", model, "https://h", (("x", "y"),))
    sent = CONVERSE.write_request(msgspec.structs.replace(ASKED, stream=stream), target)
    assert (sent.method, sent.url) == ("POST", f"https://h{path}")
    assert sent.headers == (("content-type", "application/json"), ("x", "y"))


def test_what_the_hub_has_a_name_for_is_read_by_it() -> None:
    request = CONVERSE.read_request(
        {
            **REQUESTS["tools"],
            "modelId": "m",
            "system": [{"text": "be"}, {"cachePoint": {"type": "default"}}],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 1, "stopSequences": ["x"]},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "top_k": 5},
        }
    )
    assert (request.model, request.max_tokens, request.temperature, request.top_p, request.stop) == ("m", 9, 0.5, 1, ("x",))
    assert (request.thinking_budget, request.top_k) == (1024, 5)
    assert request.tool_choice == hub.ToolChoice(mode="tool", name="weather")
    assert [(tool.name, tool.type, tool.strict) for tool in request.tools] == [("weather", "function", True), ("", "systemTool", None)]
    system, asking, turn, *results, rest = request.messages
    assert system == hub.Message(role="system", content=(hub.Text(text="be", extra={"cache_control": {"type": "ephemeral"}}),))
    assert asking.text == "hi"
    assert [(call.id, call.name, json.loads(call.arguments)) for call in turn.tool_calls] == [
        ("tooluse_1", "weather", {"city": "Ulm"}), ("tooluse_2", "weather", {"city": "Ulm"}),
    ]  # fmt: skip
    assert [message.role for message in results] == ["tool", "tool"]
    first, second = (message.content[0] for message in results)
    assert isinstance(first, hub.ToolResult)
    assert isinstance(second, hub.ToolResult)
    assert (first.call_id, first.is_error, second.is_error) == ("tooluse_1", False, True)
    assert second.content == (hub.Text(text='{"a":1}', extra={"json": {"a": 1}}),)
    assert (rest.role, rest.text) == ("user", "and?")


def test_media_are_data_urls_in_the_hub() -> None:
    (message,) = CONVERSE.read_request(
        {
            "messages": [
                user(
                    {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
                    {"document": {"format": "docx", "name": "a", "source": {"bytes": PNG}}},
                    {"audio": {"format": "wav", "source": {"bytes": PNG}}},
                    {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png"}}}},
                )
            ]
        }
    ).messages
    image, document, audio, stored = message.content
    assert image == hub.Image(url=f"data:image/jpeg;base64,{PNG}")
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    assert document == hub.File(url=f"data:{word};base64,{PNG}", name="a")
    assert audio == hub.Audio(data=PNG, format="wav")
    assert stored == hub.Image(url="s3://b/a.png")


def test_reasoning_only_the_provider_reads_is_the_text_anthropic_gives() -> None:
    whole = base64.b64encode(b"EtkECk").decode()
    (message,) = CONVERSE.read_request({"messages": [assistant({"reasoningContent": {"redactedContent": whole}})]}).messages
    assert message.content == (hub.Thinking(data="EtkECk"),)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "messages must be a non-empty list"),
        ({"messages": {}}, "messages must be a list"),
        ({"messages": [1]}, r"messages\[0\] must be an object"),
        ({"messages": [{"role": "tool", "content": []}]}, r"messages\[0\]\.role must be user, assistant or system"),
        ({"messages": [{"role": "user", "content": "hi"}]}, r"messages\[0\]\.content must be a list"),
        ({"messages": [user("hi")]}, r"messages\[0\]\.content\[0\] must be an object"),
        ({"messages": [user({"toolResult": {"content": []}})]}, r"messages\[0\]\.content\[0\]\.toolResult\.toolUseId must be a string"),
        ({"messages": [assistant(called(input={"n": "\ud800"}))]}, r"toolUse\.input must be valid JSON without lone surrogates"),
        ({"messages": [user(result({"json": "\ud800"}))]}, r"toolResult\.content\[0\]\.json must be valid JSON without lone surrogates"),
        ({"messages": [assistant({"toolUse": 3})]}, r"messages\[0\]\.content\[0\]\.toolUse must be an object"),
        ({"messages": [user({"text": "x"})], "inferenceConfig": {"maxTokens": "9"}}, r"inferenceConfig\.maxTokens must be a whole number"),
        ({"messages": [user({"text": "x"})], "inferenceConfig": {"stopSequences": [1]}}, r"stopSequences\[0\] must be a string"),
        ({"messages": [user({"text": "x"})], "toolConfig": {"tools": [{"toolSpec": {}}]}}, r"tools\[0\]\.toolSpec\.name must be a string"),
        ({"messages": [user({"text": "x"})], "toolConfig": {"toolChoice": "auto"}}, r"toolConfig\.toolChoice must be an object"),
        ({"messages": [user({"text": "x"})], "additionalModelRequestFields": 1}, "additionalModelRequestFields must be an object"),
        (
            {
                "messages": [user({"text": "x"})],
                "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{"}}}},
            },
            r"jsonSchema\.schema must be JSON in a string",
        ),
    ],
)
def test_a_bad_request_is_told_which_field_and_what_to_do(body: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        CONVERSE.read_request(body)


# ---- requests of another dialect -------------------------------------------------------------------------------------------------------


def test_a_chat_in_openais_words_is_said_in_converses() -> None:
    sent = asked({
        "messages": [
            {"role": "system", "content": "be kind", "cache_control": {"type": "ephemeral"}},
            {"role": "user", "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}", "detail": "high"}},
                {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}},
            ]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}},
                {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": ""}},
            ], "refusal": None, "annotations": []},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "tool", "tool_call_id": "call_2", "content": ""},
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": "so?", "name": "ada"},
        ],
        "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": "x", "top_k": 4,
        "tools": [{"type": "function", "function": {"name": "weather", "description": "", "parameters": {"type": "object"}}}],
        "tool_choice": "required", "service_tier": "auto", "stream_options": {"include_usage": True}, "store": False,
    })  # fmt: skip
    call = {"toolUseId": "call_1", "name": "weather", "input": {"city": "Ulm"}}
    assert sent == {
        "system": [{"text": "be kind"}, {"cachePoint": {"type": "default"}}, {"text": "be brief"}],
        "messages": [
            user(
                {"text": "look"},
                {"cachePoint": {"type": "default", "ttl": "1h"}},
                {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
                {"audio": {"format": "mp3", "source": {"bytes": PNG}}},
            ),
            assistant({"toolUse": call}, {"toolUse": {**call, "toolUseId": "call_2", "input": {}}}),
            user(
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "rain"}]}},
                {"toolResult": {"toolUseId": "call_2", "content": []}},
                {"text": "so?"},
            ),
        ],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]},
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}],
            "toolChoice": {"any": {}},
        },
        "additionalModelRequestFields": {"top_k": 4},
        "serviceTier": {"type": "default"},
    }


@pytest.mark.parametrize(
    ("model", "given", "fields"),
    [
        (CLAUDE, {"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (CLAUDE, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (CLAUDE, {"reasoning_effort": "high", "max_tokens": 3000}, {"thinking": {"type": "enabled", "budget_tokens": 2999}}),
        (CLAUDE, {"reasoning_effort": "high", "max_tokens": 500}, None),
        (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        (CLAUDE, {"thinking": {"type": "disabled"}, "reasoning_effort": "high"}, {"thinking": {"type": "disabled"}}),
        (CLAUDE, {"anthropic_beta": ["x"], "top_k": 3}, {"anthropic_beta": ["x"], "top_k": 3}),
        ("us.anthropic.claude-opus-4-6-v1", {"reasoning_effort": "medium"},
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
        (NOVA, {"top_k": 3}, {"inferenceConfig": {"topK": 3}}),
        ("us.amazon.nova-2-lite-v1:0", {"reasoning_effort": "minimal"},
         {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
        ("us.amazon.nova-2-lite-v1:0", {"reasoning_effort": "none"}, {"reasoningConfig": {"type": "disabled"}}),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
    ],
)  # fmt: skip
def test_each_family_takes_an_effort_in_its_own_words(model: str, given: dict[str, Any], fields: dict[str, Any] | None) -> None:
    assert asked(given, model).get("additionalModelRequestFields") == fields


def test_a_thinking_budget_reaches_every_family() -> None:
    request = hub.ChatRequest(model="", messages=(), thinking_budget=1500)
    for model, fields in (
        (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 1500}}),
        ("us.amazon.nova-2-lite-v1:0", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}),
        ("openai.gpt-oss-20b-1:0", {"reasoning_effort": "medium"}),
    ):
        assert requests.write_body(request, Target("bedrock", model))["additionalModelRequestFields"] == fields


def test_claude_thinks_at_its_own_temperature() -> None:
    assert "inferenceConfig" not in asked({"temperature": 0.2, "reasoning_effort": "low"})
    assert asked({"temperature": 0.2, "reasoning_effort": "none"})["inferenceConfig"] == {"temperature": 0.2}
    assert asked({"temperature": 1, "thinking": {"type": "enabled", "budget_tokens": 2000}})["inferenceConfig"] == {"temperature": 1}


def test_converses_own_words_can_be_given_in_openais_call() -> None:
    own = {"guardrailConfig": {"guardrailIdentifier": "g"}, "performanceConfig": {"latency": "optimized"}, "requestMetadata": {"a": "b"}}
    sent = asked({**own, "additionalModelRequestFields": {"a": 1}, "custom": 2})
    assert {name: sent[name] for name in own} == own
    assert sent["additionalModelRequestFields"] == {"a": 1, "custom": 2}


@pytest.mark.parametrize(
    ("given", "unsaid"),
    [
        ({"n": 2}, ("n",)),
        ({"n": 1, "store": False, "stream_options": {"include_usage": True}, "logprobs": False, "parallel_tool_calls": True}, ()),
        ({"seed": 0, "user": "ada", "logprobs": True, "top_logprobs": 2}, ("seed", "logprobs", "top_logprobs", "user")),
        ({"presence_penalty": 0.5, "frequency_penalty": 1, "logit_bias": {"1": 2}},
         ("presence_penalty", "frequency_penalty", "logit_bias")),
        ({"response_format": {"type": "json_object"}}, ("response_format",)),
        ({"response_format": {"type": "text"}}, ()),
        ({"parallel_tool_calls": False, "tools": [{"type": "function", "function": {"name": "f"}}]}, ("parallel_tool_calls",)),
        ({"parallel_tool_calls": False}, ()),
    ],
)  # fmt: skip
def test_what_converse_has_no_word_for_is_named_and_left_out(given: dict[str, Any], unsaid: tuple[str, ...]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **given}
    assert CONVERSE.unsaid(OPENAI.read_request(body)) == unsaid
    assert set(asked(given)) <= {"messages", "toolConfig"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, r"messages\[0\]\.content\[0\]: .* does not fetch URLs"),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/tiff;base64,{PNG}"}},
            "does not accept images of the media type 'image/tiff'",
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, "does not store files"),
        ({"type": "hologram"}, "no content of type 'hologram'"),
        ({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}, "does not fetch URLs"),
    ],
)
def test_content_that_cannot_be_sent_is_named(content: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        asked({"messages": [{"role": "user", "content": [content, {"type": "text", "text": "?"}]}]})


def test_a_tool_of_openais_own_is_refused_by_its_place() -> None:
    with pytest.raises(BadRequestError, match=r"tools\[0\]: .*'web_search'"):
        asked({"tools": [{"type": "web_search"}]})


def test_media_find_their_block_by_their_type() -> None:
    data = [f"data:{kind};base64,{PNG}" for kind in ("application/pdf", "text/plain", "application/pdf", "video/mp4", "image/png")]
    names = ["Q3: report.final.pdf", "../../etc", "Q3: report.final.pdf", "v", "i"]
    files = [{"type": "file", "file": {"file_data": url, "filename": name}} for url, name in zip(data, names, strict=True)]
    video = {"type": "video_url", "video_url": {"url": f"data:video/webm;base64,{PNG}"}}
    (turn,) = asked({"messages": [{"role": "user", "content": [*files, video]}]})["messages"]
    assert [(kind, block["format"], block.get("name")) for entry in turn["content"] for kind, block in entry.items()] == [
        ("document", "pdf", "Q3 report final"), ("document", "txt", "etc"), ("document", "pdf", "Q3 report final 2"),
        ("video", "mp4", None), ("image", "png", None), ("video", "webm", None),
    ]  # fmt: skip


def test_ids_are_made_to_fit_alike_in_calls_and_results() -> None:
    long, odd = "x" * 80, "call|1/2"
    calls = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in (long, odd, "fine-1")]
    results = [{"role": "tool", "tool_call_id": id, "content": "r"} for id in (long, odd, "fine-1")]
    turn, back = asked({"messages": [{"role": "assistant", "tool_calls": calls}, *results]})["messages"]
    ids = [block["toolUse"]["toolUseId"] for block in turn["content"]]
    assert ids == [block["toolResult"]["toolUseId"] for block in back["content"]]
    assert ids[2] == "fine-1"
    assert len(set(ids)) == 3
    assert all(len(id) <= 64 and id.replace("_", "").replace("-", "").isalnum() for id in ids)


def test_arguments_that_are_no_object_are_kept_in_one() -> None:
    calls: list[Any] = [
        {"id": str(n), "type": "function", "function": {"name": "f", "arguments": text}} for n, text in enumerate(["{broken", "[1]", " "])
    ]
    calls.append({"id": "9", "type": "custom", "custom": {"name": "f", "input": "free text"}})
    (turn,) = asked({"messages": [{"role": "assistant", "tool_calls": calls}]})["messages"]
    said = [block["toolUse"]["input"] for block in turn["content"]]
    assert said == [{"arguments": "{broken"}, {"arguments": [1]}, {}, {"input": "free text"}]


def test_what_converse_refuses_and_nobody_misses_is_left_out() -> None:
    sent = asked({
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": "", "reasoning_content": "unsigned"},
            {"role": "user", "content": "still there?"},
        ]
    })  # fmt: skip
    assert sent["messages"] == [user({"text": "hi"}, {"text": "still there?"})]


def test_signed_reasoning_goes_back() -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "index": 0},
        {"type": "reasoning.encrypted", "data": "EtkECk", "index": 1},
        {"type": "reasoning.encrypted", "data": "gAAA", "format": "openai-responses-v1", "index": 2},
    ]
    turn = {"role": "assistant", "content": "well", "reasoning_details": details}
    (sent,) = asked({"messages": [turn]})["messages"]
    assert sent["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"EtkECk").decode()}},
        {"text": "well"},
    ]


def test_no_tool_at_all_is_said_by_sending_none() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert "toolConfig" not in asked({"tools": tools, "tool_choice": "none"})
    history: list[Any] = [
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "g", "arguments": ""}}]}
    ]
    spec = {"inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert asked({"messages": history, "tools": tools, "tool_choice": "none"})["toolConfig"] == {
        "tools": [{"toolSpec": {"name": "f", **spec}}]
    }
    assert asked({"messages": history})["toolConfig"] == {"tools": [{"toolSpec": {"name": "g", **spec}}]}


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "A", "schema": SCHEMA, "strict": True}}


def test_a_schema_is_said_where_the_model_has_schemas() -> None:
    sent = asked({"response_format": FORMAT})
    said = sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (said["name"], json.loads(said["schema"])) == ("A", SCHEMA)
    assert "toolConfig" not in sent


def test_a_schema_is_a_tool_where_it_has_none() -> None:
    sent = asked({"response_format": FORMAT}, NOVA)
    assert "outputConfig" not in sent
    assert sent["toolConfig"]["toolChoice"] == {"tool": {"name": "json_tool_call"}}
    assert sent["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"] == {"json": SCHEMA}
    with_others = asked({"response_format": FORMAT, "tools": [{"type": "function", "function": {"name": "f"}}]}, NOVA)
    assert with_others["toolConfig"]["toolChoice"] == {"any": {}}
    assert "toolChoice" not in asked({"response_format": FORMAT}, "meta.llama3-1-70b-instruct-v1:0")["toolConfig"]


def test_its_call_is_the_answer() -> None:
    body = {"model": NOVA, "messages": [{"role": "user", "content": "hi"}], "response_format": FORMAT}
    target = Target("bedrock", NOVA, "https://h", (), "openai_chat")
    translation = translate("bedrock_converse", target, "chat", body, {})
    use = {"toolUse": {"toolUseId": "t", "name": "json_tool_call", "input": {"a": 1}}}
    reply = HttpResponse(200, Headers(), json.dumps(answered({"text": "Sure."}, use, stop="tool_use")).encode())
    (choice,) = translation.read(reply)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a":1}', "stop")
    assert "tool_calls" not in choice["message"]
    request = OPENAI.read_request(body)
    pieces = [
        START, delta(0, text="Sure."), event("contentBlockStop", {"contentBlockIndex": 0}),
        event("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "json_tool_call"}}}),
        delta(1, toolUse={"input": '{"a"'}), delta(1, toolUse={"input": ": 1}"}), event("messageStop", {"stopReason": "tool_use"}),
    ]  # fmt: skip
    (whole,) = collect(events_of(b"".join(pieces), request, target)).choices
    assert (whole.message.text, whole.finish, whole.message.tool_calls) == ('{"a": 1}', "stop", ())
    (plain,) = collect(events_of(START + delta(0, text="No.") + STOP, request, target)).choices
    assert (plain.message.text, plain.finish) == ("No.", "stop")
    kept = read(answered(called(), use, stop="tool_use"), request, target).choices[0]
    assert (kept.finish, [call.name for call in kept.message.tool_calls], kept.message.text) == ("tool_calls", ["weather"], '{"a":1}')
