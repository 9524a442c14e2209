"""Gemini's generateContent: what every field means, in both halves, and what must hold of any value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.call_ids import made_up
from headrace.dialects.gemini.parts import BROKEN
from headrace.dialects.gemini.schemas import reduced, standard
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Message, Text
from headrace.wire import Headers, HttpResponse

DIALECT: Any = load("gemini")
OPENAI = load("openai_chat")
BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
KEY = (("x-goog-api-key", "secret"),)
OWN = Target("gemini", "gemini-2.5-flash", BASE_URL, KEY)
FOREIGN = Target("gemini", "gemini-2.5-flash", BASE_URL, KEY, "openai_chat")
ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)

HI = {"role": "user", "parts": [{"text": "hi"}]}
SAID_HI = {"role": "user", "content": "hi"}
PNG = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def body_of(request: ChatRequest, target: Target = OWN) -> Any:
    return json.loads(DIALECT.write_request(request, target).body)


def from_openai(model: str = "gemini-2.5-flash", **body: Any) -> Any:
    """What is sent for a request in OpenAI's words."""
    to = Target("gemini", model, BASE_URL, KEY, "openai_chat")
    return body_of(OPENAI.read_request({"model": "m", "messages": [SAID_HI], **body}), to)


def config(model: str = "gemini-2.5-flash", **body: Any) -> Any:
    return from_openai(model, **body).get("generationConfig")


def contents(*messages: dict[str, Any], model: str = "gemini-2.5-flash") -> Any:
    return from_openai(model, messages=list(messages))["contents"]


def reply(body: Any) -> HttpResponse:
    return HttpResponse(200, Headers(), json.dumps(body).encode())


# ---- requests, there and back ------------------------------------------------------------------------------------------------------

CALL = {"functionCall": {"name": "f", "args": {"a": [1, 2.5, None]}}}
RESULT = {"functionResponse": {"name": "f", "response": {"output": "done"}}}


def turn(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def result(response: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"contents": [HI, turn("model", CALL), turn("user", {"functionResponse": {"name": "f", "response": response, **more}})]}


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a system instruction": {"systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Yes."}]}},
    "a system instruction with a role": {"systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]}},
    "an empty system instruction": {"systemInstruction": {"parts": []}},
    "no role": {"contents": [{"parts": [{"text": "hi"}]}]},
    "no parts": {"contents": [HI, {"role": "model"}]},
    "an older role": {"contents": [HI, turn("model", CALL), turn("function", RESULT)]},
    "two turns of one role": {"contents": [HI, HI]},
    "an image": {"contents": [turn("user", PNG, {"text": "what?"})]},
    "a resolution": {"contents": [turn("user", {**PNG, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}})]},
    "an image with a name": {"contents": [turn("user", {"inlineData": {**PNG["inlineData"], "displayName": "cat"}})]},
    "a sound": {"contents": [turn("user", {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}})]},
    "a sound in another word": {"contents": [turn("user", {"inlineData": {"mimeType": "audio/mpeg", "data": "AAAA"}})]},
    "a sound with parameters": {"contents": [turn("user", {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}})]},
    "an empty image": {"contents": [turn("user", {"inlineData": {"mimeType": "image/png", "data": ""}})]},
    "a document": {"contents": [turn("user", {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}})]},
    "a file": {"contents": [turn("user", {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/a.mp4"}})]},
    "a file without a type": {"contents": [turn("user", {"fileData": {"fileUri": "https://youtu.be/a.png"}})]},
    "a video's metadata": {
        "contents": [turn("user", {"fileData": {"fileUri": "https://youtu.be/x"}, "videoMetadata": {"startOffset": "1s"}})]
    },
    "a file nobody can address": {"contents": [turn("user", {"fileData": {"fileUri": "x"}})]},
    "thoughts": {
        "contents": [HI, turn("model", {"text": "hm", "thought": True}, {"text": "so", "thought": True, "thoughtSignature": "c2ln"})]
    },
    "a signed text": {"contents": [HI, turn("model", {"text": "a"}, {"text": "", "thoughtSignature": "c2ln"}, {"text": "b"})]},
    "thought: false": {"contents": [HI, turn("model", {"text": "a", "thought": False})]},
    "calls and results": {
        "contents": [HI, turn("model", {**CALL, "thoughtSignature": "c2ln"}, CALL), turn("user", RESULT, RESULT, {"text": "and?"})]
    },
    "results in turns of their own": {"contents": [HI, turn("model", CALL, CALL), turn("user", RESULT), turn("user", RESULT)]},
    "calls with ids": {
        "contents": [
            HI,
            turn("model", {"functionCall": {"id": "c1", "name": "f"}}),
            turn("user", {"functionResponse": {"id": "c1", "name": "f", "response": {}}}),
        ]
    },
    "an id on the call alone": {
        "contents": [HI, turn("model", {"functionCall": {"id": "c1", "name": "f", "args": {}}}), turn("user", RESULT)]
    },
    "a result before any call": {"contents": [turn("user", RESULT)]},
    "a call without arguments": {"contents": [HI, turn("model", {"functionCall": {"name": "f"}})]},
    "a call with null for arguments": {"contents": [HI, turn("model", {"functionCall": {"name": "f", "args": None}})]},
    "a result under another name": result({"result": "done"}),
    "a failure": result({"error": "broken"}),
    "a result that is JSON": result({"output": '{"a": 1}'}),
    "a failure that is JSON": result({"error": '{"a": 1}'}),
    "a result that is an object": result({"a": {"b": [1, None]}, "output": "x"}),
    "a result with files": result({"output": ""}, parts=[PNG, {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/x"}}]),
    "a result that goes on": result({"output": "one"}, willContinue=True, scheduling="SILENT"),
    "a result that is no object": {"contents": [turn("user", {"functionResponse": {"name": "f", "response": "x"}})]},
    "code": {
        "contents": [
            HI,
            turn(
                "model",
                {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "c2ln"},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            ),
        ]
    },
    "a part nobody knows": {"contents": [turn("user", {"hologram": {"x": 1}, "thought": None})]},
    "functions": {"tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}, {"name": "g"}]}]},
    "a function with Google's schema": {
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}},
                    {"name": "g", "parameters": SCHEMA, "response": {"type": "STRING"}, "behavior": "BLOCKING"},
                ]
            }
        ]
    },
    "two lists of functions": {"tools": [{"functionDeclarations": [{"name": "f"}]}, {"functionDeclarations": [{"name": "g"}]}]},
    "Google's tools": {"tools": [{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}, {"fileSearch": {"topK": 3}}]},
    "a tool beside functions": {"tools": [{"googleSearch": {"x": 1}, "functionDeclarations": [{"name": "f"}]}]},
    "no functions": {"tools": [{"functionDeclarations": []}, {}]},
    "any call": {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
    "one of two": {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}}},
    "one call": {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}},
    "validated": {"toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "includeServerSideToolInvocations": True}},
    "an empty tool config": {"toolConfig": {}},
    "where one is": {"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}, "retrievalConfig": {"latLng": {"latitude": 1}}}},
    "sampling": {
        "generationConfig": {
            "temperature": 0,
            "topP": 0.5,
            "topK": 40,
            "candidateCount": 2,
            "maxOutputTokens": 9,
            "seed": 1,
            "presencePenalty": 0.5,
            "frequencyPenalty": -1,
            "responseLogprobs": True,
            "logprobs": 3,
            "stopSequences": ["a", ""],
        }
    },
    "an empty configuration": {"generationConfig": {}},
    "nulls": {"generationConfig": {"temperature": None, "stopSequences": None, "thinkingConfig": None}, "tools": None, "labels": None},
    "a budget": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
    "a budget of the model's own": {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1, "includeThoughts": True}}},
    "a level": {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}},
    "a level in capitals": {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": False}}},
    "JSON": {"generationConfig": {"responseMimeType": "application/json"}},
    "plain text": {"generationConfig": {"responseMimeType": "text/plain"}},
    "a JSON Schema": {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
    "Google's schema": {"generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY"}}},
    "a schema in small letters": {"generationConfig": {"responseMimeType": "application/json", "responseSchema": SCHEMA}},
    "an enum": {"generationConfig": {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}},
    "both schemas": {"generationConfig": {"responseMimeType": "application/json", "responseSchema": {}, "responseJsonSchema": {}}},
    "sound": {
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        }
    },
    "everything beside": {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/1",
        "labels": {"team_name": "a"},
        "modelArmorConfig": {"prompt_template_name": "x"},
        "new_field": [1],
    },
}


@pytest.mark.parametrize("given_body", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_request_is_written_again_as_it_was_read(given_body: dict[str, Any]) -> None:
    body = {"contents": [HI], **given_body}
    request = DIALECT.read_request(body)
    assert body_of(request) == body
    assert DIALECT.read_request(body_of(request)) == request


SNAKES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"system_instruction": {"parts": {"text": "x"}}}, {"systemInstruction": {"parts": [{"text": "x"}]}}),
    ({"generation_config": {"top_p": 0.5, "stop_sequences": ["a"]}}, {"generationConfig": {"topP": 0.5, "stopSequences": ["a"]}}),
    (
        {"generation_config": {"thinking_config": {"thinking_budget": 5, "include_thoughts": True}}},
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True}}},
    ),
    (
        {"generation_config": {"response_mime_type": "application/json", "response_schema": SCHEMA}},
        {"generationConfig": {"responseMimeType": "application/json", "responseSchema": SCHEMA}},
    ),
    (
        {"tools": {"function_declarations": {"name": "f", "parameters_json_schema": {"type": "object", "top_p": {}}}}},
        {"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object", "top_p": {}}}]}]},
    ),
    ({"tools": [{"google_search": {}}, {"url_context": {}}]}, {"tools": [{"googleSearch": {}}, {"urlContext": {}}]}),
    (
        {"tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}}},
        {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}},
    ),
    (
        {"contents": {"parts": {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}}},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}]},
    ),
    (
        {"contents": [{"parts": [[{"file_data": {"mime_type": "a/b", "file_uri": "gs://x"}}], {"text": "x"}]}]},
        {"contents": [{"parts": [{"fileData": {"mimeType": "a/b", "fileUri": "gs://x"}}, {"text": "x"}]}]},
    ),
    (
        {"contents": [turn("model", {"function_call": {"name": "f", "args": {"a_b": 1}}, "thought_signature": "c2ln"})]},
        {"contents": [turn("model", {"functionCall": {"name": "f", "args": {"a_b": 1}}, "thoughtSignature": "c2ln"})]},
    ),
    (
        {"contents": [turn("user", {"function_response": {"name": "f", "response": {"mime_type": 1}}})]},
        {"contents": [turn("user", {"functionResponse": {"name": "f", "response": {"mime_type": 1}}})]},
    ),
]


@pytest.mark.parametrize(("snake", "camel"), SNAKES)
def test_snake_case_and_single_objects_mean_the_same(snake: dict[str, Any], camel: dict[str, Any]) -> None:
    read = DIALECT.read_request({"contents": [HI], **snake})
    assert read == DIALECT.read_request({"contents": [HI], **camel})
    assert body_of(read) == {"contents": [HI], **camel}


def test_what_the_hub_means() -> None:
    request = DIALECT.read_request(
        {
            "model": "models/gemini-x",
            "stream": True,
            "systemInstruction": "Be brief.",
            "contents": [
                HI,
                turn(
                    "model",
                    {"text": "hm", "thought": True},
                    {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"},
                    CALL,
                ),
                turn("user", {"functionResponse": {"name": "f", "response": {"error": "no"}}}, RESULT, {"text": "well?"}),
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "nullable": True}}]}, {"googleSearch": {}}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
            "generationConfig": {"maxOutputTokens": 5, "candidateCount": 2, "thinkingConfig": {"thinkingLevel": "LOW"}},
        }
    )
    assert (request.model, request.stream, request.include_usage) == ("gemini-x", True, True)
    assert [message.role for message in request.messages] == ["system", "user", "assistant", "tool", "tool", "user"]
    calls = request.messages[2].tool_calls
    results = [message.content[0] for message in request.messages[3:5]]
    assert [(call.name, call.arguments, call.signature) for call in calls] == [("f", '{"a":1}', "s"), ("f", '{"a":[1,2.5,null]}', None)]
    assert [found.call_id for found in results] == [call.id for call in calls]
    assert all(made_up(call.id) for call in calls)
    assert [(found.name, found.is_error, found.content[0].text) for found in results] == [("f", True, "no"), ("f", False, "done")]
    assert request.tools[0].parameters == {"type": ["object", "null"]}
    assert (request.tools[1].type, request.tool_choice.mode) == ("googleSearch", "required")
    assert (request.max_tokens, request.n, request.effort) == (5, 2, "low")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "the body must be an object, got a list of 0 items"),
        ({}, "contents must be a non-empty list"),
        ({"contents": [{"role": "system", "parts": []}]}, r"contents\[0\].role must be user or model, got a string of 6 characters"),
        ({"contents": [{"role": 1, "parts": []}]}, r"contents\[0\].role"),
        ({"contents": [5]}, r"contents\[0\] must be an object"),
        ({"contents": [{"parts": [5]}]}, r"contents\[0\].parts\[0\] must be an object"),
        ({"contents": [HI], "tools": "x"}, "tools must be a list"),
        ({"contents": [HI], "tools": [{"functionDeclarations": [{"name": 1}]}]}, r"tools\[0\].functionDeclarations\[0\].name"),
        ({"contents": [HI], "toolConfig": []}, "toolConfig must be an object"),
        ({"contents": [HI], "generationConfig": 1}, "generationConfig must be an object"),
        ({"contents": [HI], "generationConfig": {"topK": "many"}}, "generationConfig.topK must be a whole number"),
        ({"contents": [HI], "generationConfig": {"stopSequences": [1]}}, r"generationConfig.stopSequences\[0\] must be a string"),
        ({"contents": [HI], "systemInstruction": 1}, "systemInstruction must be an object"),
        ({"contents": [HI], "stream": "yes"}, "stream must be true or false"),
    ],
)
def test_a_bad_request_names_the_field(body: Any, named: str) -> None:
    with pytest.raises(BadRequestError, match=named):
        DIALECT.read_request(body)


# ---- from OpenAI's words -----------------------------------------------------------------------------------------------------------


def test_the_address_holds_the_model_and_the_method() -> None:
    asked = ChatRequest(model="m", messages=(Message(role="user", content=(Text(text="hi"),)),))
    assert DIALECT.write_request(asked, OWN).url == f"{BASE_URL}/models/gemini-2.5-flash:generateContent"
    streamed = msgspec.structs.replace(asked, stream=True)
    compatible = Target("gemini", "tunedModels/mine", f"{BASE_URL}/openai/", KEY)
    assert DIALECT.write_request(streamed, compatible).url == f"{BASE_URL}/tunedModels/mine:streamGenerateContent?alt=sse"
    assert DIALECT.write_request(streamed, OWN).headers == (("content-type", "application/json"), *KEY)


@pytest.mark.parametrize(
    ("model", "body", "thinking"),
    [
        ("gemini-2.5-flash", {"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "medium", "max_tokens": 100}, {"thinkingBudget": 128, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 128, "includeThoughts": False}),
        ("gemini-3-flash-preview", {"reasoning_effort": "minimal"}, {"thinkingLevel": "minimal", "includeThoughts": True}),
        ("gemini-3-pro-preview", {"reasoning_effort": "minimal"}, {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", {"reasoning_effort": "xhigh"}, {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-flash-latest", {"reasoning_effort": "none"}, {"thinkingLevel": "minimal", "includeThoughts": False}),
        ("gemini-2.5-flash", {"thinking": {"type": "disabled"}}, {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-flash", {"thinkingConfig": {"thinkingBudget": -1}, "reasoning_effort": "low"}, {"thinkingBudget": -1}),
    ],
)
def test_how_hard_to_think_is_said_as_the_model_takes_it(model: str, body: dict[str, Any], thinking: dict[str, Any]) -> None:
    assert config(model, **body)["thinkingConfig"] == thinking


def test_a_model_that_does_not_think_is_not_told_to() -> None:
    assert config("gemini-2.0-flash", reasoning_effort="low") is None
    asked = ChatRequest(model="gemini-2.0-flash", messages=(), effort="low")
    assert DIALECT.unsaid(asked) == ("reasoning_effort",)
    assert DIALECT.unsaid(msgspec.structs.replace(asked, model="gemini-2.5-flash")) == ()


def test_unsaid_names_what_would_change_the_answer() -> None:
    body = {
        "logit_bias": {"1": 1}, "user": "u", "store": True, "service_tier": "flex", "parallel_tool_calls": False, "n": 3, "seed": 1,
        "logprobs": True, "top_logprobs": 2, "presence_penalty": 1, "stream_options": {"include_usage": True}, "metadata": {"a": "b"},
        "tools": [{"type": "function", "function": {"name": "f"}}], "verbosity": "low",
    }  # fmt: skip
    request = OPENAI.read_request({"model": "m", "messages": [SAID_HI], **body})
    assert set(DIALECT.unsaid(request)) == {"logit_bias", "user", "store", "service_tier", "parallel_tool_calls"}
    sent = body_of(request, FOREIGN)
    assert set(sent) == {"contents", "generationConfig", "tools"}
    assert sent["generationConfig"] == {
        "candidateCount": 3, "seed": 1, "responseLogprobs": True, "logprobs": 2, "presencePenalty": 1
    }  # fmt: skip


def test_zeros_and_ones_that_mean_as_usual_are_not_sent() -> None:
    assert config(n=1, logprobs=False, stop="", response_format={"type": "text"}) is None


def test_tools_of_google_and_of_others() -> None:
    tools: list[Any] = [{"googleSearch": {"timeRangeFilter": {}}}, {"type": "code_interpreter"}, {"type": "web_fetch_20250910"}]
    assert from_openai(tools=[*tools, {"type": "url_context"}])["tools"] == [
        {"googleSearch": {"timeRangeFilter": {}}},
        {"codeExecution": {}},
        {"urlContext": {}},
    ]
    with pytest.raises(BadRequestError, match=r"tools\[0\]: Gemini has no tool of type computer_20250124"):
        from_openai(tools=[{"type": "computer_20250124"}])
    written = OPENAI.write_request(OPENAI.read_request({"model": "m", "messages": [SAID_HI], "tools": tools}), Target("openai", "m"))
    assert json.loads(written.body)["tools"] == tools


def test_functions_and_the_choice_among_them() -> None:
    function = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
    sent = from_openai(
        tools=[{"type": "function", "function": function}, {"type": "function", "function": {"name": "g"}}], tool_choice="none"
    )
    assert sent["tools"] == [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}, {"name": "g"}]}]
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "NONE"}}
    old = from_openai("gemini-1.5-pro", tools=[{"type": "function", "function": function}])
    assert old["tools"][0]["functionDeclarations"][0]["parameters"] == SCHEMA


def test_system_messages_are_gathered_and_alone_they_are_asked() -> None:
    sent = from_openai(messages=[{"role": "system", "content": "a"}, SAID_HI, {"role": "developer", "content": "b"}])
    assert sent["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert sent["contents"] == [HI]
    alone = from_openai(messages=[{"role": "system", "content": "a"}])
    assert alone == {"contents": [turn("user", {"text": "a"})]}


def test_empty_texts_are_left_out() -> None:
    assert contents({"role": "user", "content": ""}, {"role": "assistant", "content": ""}) == [turn("user", {"text": " "})]
    signed = {"role": "assistant", "content": "", "extra_content": {"google": {"thought_signature": "c2ln"}}}
    assert contents(SAID_HI, signed)[1] == turn("model", {"text": "", "thoughtSignature": "c2ln"})


def test_only_geminis_own_thinking_goes_back() -> None:
    details = [
        {"type": "reasoning.text", "text": "ours", "signature": "a", "format": "google-gemini-v1", "index": 0},
        {"type": "reasoning.text", "text": "theirs", "signature": "b", "format": "anthropic-claude-v1", "index": 1},
        {"type": "reasoning.text", "text": "nobody's", "index": 2},
    ]
    sent = contents(SAID_HI, {"role": "assistant", "content": "x", "reasoning_details": details})
    assert sent[1]["parts"] == [{"text": "ours", "thought": True, "thoughtSignature": "a"}, {"text": "x"}]


def test_blocks_of_another_dialect_are_not_replayed() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    blocks = [{"type": "server_tool_use", "id": "s", "input": {}}, {"type": "compaction", "text": "x"}, code]
    sent = contents(SAID_HI, {"role": "assistant", "content": "x", "content_blocks": blocks})
    assert sent[1]["parts"] == [code, {"text": "x"}]


def call(id_: str, arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def test_arguments_are_objects_whatever_was_written() -> None:
    calls = [call("a", ""), call("b", "{broken"), call("c", "[1]"), {"id": "d", "type": "custom", "custom": {"name": "f", "input": "x"}}]
    sent = contents(SAID_HI, {"role": "assistant", "tool_calls": calls})
    given_args = [part["functionCall"]["args"] for part in sent[1]["parts"]]
    assert given_args == [{}, {BROKEN: "{broken"}, {BROKEN: "[1]"}, {"input": "x"}]


def test_results_of_one_turn_stand_in_one_content() -> None:
    asked: list[Any] = [SAID_HI, {"role": "assistant", "tool_calls": [call("a"), call("b")]}]
    results = [{"role": "tool", "tool_call_id": id_, "content": text} for id_, text in (("b", "two"), ("a", '{"one": 1}'))]
    sent = contents(*asked, *results, SAID_HI)
    assert [part["functionResponse"] for part in sent[2]["parts"]] == [
        {"id": "b", "name": "f", "response": {"output": "two"}},
        {"id": "a", "name": "f", "response": {"one": 1}},
    ]
    assert sent[3] == HI


def test_images_in_results_stand_inside_from_gemini_3_on_and_beside_before() -> None:
    shown = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    asked: list[Any] = [SAID_HI, {"role": "assistant", "tool_calls": [call("a")]}, {"role": "tool", "tool_call_id": "a", "content": shown}]
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    told = {"id": "a", "name": "f", "response": {"output": "see"}}
    assert contents(*asked)[2]["parts"] == [{"functionResponse": told}, image]
    assert contents(*asked, model="gemini-3-flash")[2]["parts"] == [{"functionResponse": {**told, "parts": [image]}}]


def test_only_the_first_unsigned_call_of_a_turn_gets_a_stand_in() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    own = contents(SAID_HI, {"role": "assistant", "tool_calls": [call("a", **signed), call("b")]}, model="gemini-3-flash")
    assert [part.get("thoughtSignature") for part in own[1]["parts"]] == ["c2ln", None]
    foreign = contents(SAID_HI, {"role": "assistant", "tool_calls": [call("a"), call("b")]}, model="gemini-3-flash")
    assert [part.get("thoughtSignature") for part in foreign[1]["parts"]] == ["skip_thought_signature_validator", None]


@pytest.mark.parametrize("url", ["data:nothing", "file-abc"])
def test_media_that_cannot_be_said_are_named(url: str) -> None:
    with pytest.raises(BadRequestError, match=r"messages\[0\].content\[0\]"):
        contents({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})
    with pytest.raises(BadRequestError, match=r"messages\[0\].content\[0\].*hologram"):
        contents({"role": "user", "content": [{"type": "hologram"}]})


def test_a_data_url_without_base64_and_a_file_of_the_store() -> None:
    sent = contents(
        {
            "role": "user",
            "content": [
                {"type": "file", "file": {"file_data": "data:text/plain,hi%20you"}},
                {"type": "file", "file": {"file_id": "files/abc", "format": "application/pdf"}},
            ],
        }
    )
    assert sent[0]["parts"] == [
        {"inlineData": {"mimeType": "text/plain", "data": "aGkgeW91"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": f"{BASE_URL}/files/abc"}},
    ]


def test_a_schema_for_old_models_has_no_references() -> None:
    schema = {
        "$defs": {"Place": {"type": "object", "properties": {"up": {"$ref": "#/$defs/Place"}}, "additionalProperties": False}},
        "type": "object",
        "properties": {
            "kind": {"const": "a"},
            "name": {"type": ["string", "null"]},
            "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "some": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
            "list": {"type": "array", "items": {"allOf": [{"type": "string"}], "title": "t"}},
            "many": {"type": ["string", "integer"]},
        },
    }
    made = reduced(schema)
    assert made["properties"] == {
        "kind": {"enum": ["a"]},
        "name": {"type": "string", "nullable": True},
        "either": {"type": "integer", "nullable": True},
        "some": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "list": {"type": "array", "items": {"type": "string", "title": "t"}},
        "many": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    }
    assert len(json.dumps(reduced({"$ref": "#/$defs/Place", **schema}))) < 10_000
    assert standard({"type": "STRING", "nullable": True, "enum": ["STRING"]}) == {"type": ["string", "null"], "enum": ["STRING"]}
    assert standard({"properties": {"type": {"type": "NUMBER"}}}) == {"properties": {"type": {"type": "number"}}}
    sent = config("gemini-1.5-pro", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 1}}})
    assert sent == {"responseMimeType": "application/json", "responseSchema": {"enum": [1]}}


def test_types_that_google_generativeai_sends_as_numbers_were_no_schema() -> None:
    """Its REST transport numbers them as the protocol buffer does."""
    given = {"type": 6, "properties": {"city": {"type": 1}, "days": {"type": 5, "items": {"type": 3}}}, "required": ["city"]}
    assert standard(given) == {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
        "required": ["city"],
    }
