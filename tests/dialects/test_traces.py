"""What a provider's own tools did, as a caller of Responses is told it: whole, and in a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response

from dialects.test_openai_responses import clients_events
from headrace.dialects import load
from headrace.dialects.answers import InCommon, answer_in_common
from headrace.dialects.base import Target
from headrace.framing import SseReader
from headrace.types import ChatRequest
from headrace.wire import Headers, HttpResponse

ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)
TARGET = Target("provider", "m")

ASK = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "mills in Uppsala"}}
FOUND = [{"type": "web_search_result", "url": "https://mills.example/1", "title": "Mills", "encrypted_content": "E"}]
FOUND_IT = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": FOUND}
FOUND_NOTHING = {**FOUND_IT, "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}}
RUN = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "bash_code_execution", "input": {"command": "ls"}}
RAN = {"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_2", "content": {"stdout": "a\n", "stderr": "", "return_code": 0}}
CALL = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "add", "server_name": "sums", "input": {"a": 1}}
CALLED = {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": [{"type": "text", "text": "2"}]}

SEARCH = {"type": "search", "query": "mills in Uppsala", "queries": ["mills in Uppsala"]}
SEARCHED = {"id": "srvtoolu_1", "status": "completed", "type": "web_search_call", "action": SEARCH}
CASES: dict[str, tuple[list[Any], Any]] = {
    "a search": ([ASK, FOUND_IT], {**SEARCHED, "action": {**SEARCH, "sources": [{"type": "url", "url": "https://mills.example/1"}]}}),
    "a search that failed": ([ASK, FOUND_NOTHING], {**SEARCHED, "status": "failed"}),
    "a search of which nothing is told": ([ASK], SEARCHED),
    "a program": ([RUN, RAN], {
        "id": "srvtoolu_2", "status": "completed", "type": "code_interpreter_call", "code": "ls", "container_id": "",
        "outputs": [{"type": "logs", "logs": "a\n"}],
    }),
    "a call of a server": ([CALL, CALLED], {
        "id": "mcptoolu_1", "status": "completed", "type": "mcp_call", "name": "add", "server_label": "sums", "arguments": '{"a":1}',
        "output": "2", "error": None,
    }),
}  # fmt: skip
BLOCKS = pytest.mark.parametrize(("blocks", "item"), CASES.values(), ids=CASES)


def whole(dialect: str, body: Any) -> list[Any]:
    hub = load(dialect).read_response(HttpResponse(200, Headers(), json.dumps(body).encode()), ASKED, TARGET)
    made = load("openai_responses").write_response(answer_in_common(hub, "openai_responses"))
    Response.model_validate(made)
    return made["output"]


def streamed(dialect: str, frames: bytes) -> tuple[list[Any], list[Any]]:
    """The items of the whole response at the end, and the kinds of all events."""
    reader, writer = load(dialect).read_stream(ASKED, TARGET), load("openai_responses").write_stream(ASKED)
    common = InCommon("openai_responses")
    events = [event for frame in load(dialect).framing().feed(frames) for event in reader.feed(frame)] + reader.close()
    data = b"".join([writer.feed(told) for event in events for told in common.feed(event)]) + writer.close()
    told = [json.loads(frame.data) for frame in SseReader().feed(data)]
    for event in told:
        clients_events().validate_python(event)
    return told[-1]["response"]["output"], [event["type"] for event in told]


def message(blocks: list[Any]) -> Any:
    text = {"type": "text", "text": "There are two."}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [*blocks, text], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 4},
    }  # fmt: skip


def as_stream(body: Any) -> bytes:
    events = [{"type": "message_start", "message": {**body, "content": [], "stop_reason": None}}]
    for index, block in enumerate(body["content"]):
        given, begun = block.get("input"), {**block, **{name: type(block[name])() for name in ("text", "input") if name in block}}
        delta = {"type": "text_delta", "text": block.get("text")}
        if given is not None:
            delta = {"type": "input_json_delta", "partial_json": json.dumps(given)}
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta}] if "text" in block or given is not None else []
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": body["usage"]}, {"type": "message_stop"}]
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


@BLOCKS
def test_what_anthropics_tools_did_is_an_item_of_responses(blocks: list[Any], item: Any) -> None:
    output = whole("anthropic_messages", message(blocks))
    assert item in output
    assert [it["content"][0]["text"] for it in output if it["type"] == "message"] == ["There are two."]


@BLOCKS
def test_what_anthropics_tools_did_is_streamed_as_an_item(blocks: list[Any], item: Any) -> None:
    output, kinds = streamed("anthropic_messages", as_stream(message(blocks)))
    assert item in output
    if item["type"] == "web_search_call":
        assert [kind.rsplit(".", 1)[1] for kind in kinds if "web_search" in kind] == ["in_progress", "searching", "completed"]


GEMINI = {
    "candidates": [{
        "content": {"role": "model", "parts": [
            {"executableCode": {"language": "PYTHON", "code": "print(2)"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2\n"}},
            {"text": "It is two."},
        ]},
        "finishReason": "STOP", "index": 0, "groundingMetadata": {"webSearchQueries": ["two", "deux"]},
    }],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}, "modelVersion": "m", "responseId": "r",
}  # fmt: skip


def test_what_geminis_tools_did_are_items_of_responses_also_in_a_stream() -> None:
    output = whole("gemini", GEMINI)
    told, _ = streamed("gemini", b"data: " + json.dumps(GEMINI).encode() + b"\r\n\r\n")
    for items in (output, told):
        by_type = {item["type"]: item for item in items}
        assert by_type["code_interpreter_call"]["code"] == "print(2)"
        assert by_type["code_interpreter_call"]["outputs"] == [{"type": "logs", "logs": "2\n"}]
        assert by_type["web_search_call"]["action"] == {"type": "search", "query": "two", "queries": ["two", "deux"]}
        assert by_type["message"]["content"][0]["text"] == "It is two."


def test_callers_of_other_dialects_are_told_the_answer_alone() -> None:
    hub = load("anthropic_messages").read_response(
        HttpResponse(200, Headers(), json.dumps(message([ASK, FOUND_IT])).encode()), ASKED, TARGET
    )
    parts = load("gemini").write_response(answer_in_common(hub, "gemini"))["candidates"][0]["content"]["parts"]
    assert parts == [{"text": "There are two."}]
