"""What backs a text is told to every caller, where his dialect looks for it, whichever provider told it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects import load
from headrace.dialects.answers import InCommon, answer_in_common
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.translate import TranslatedChunks, in_one_text
from headrace.types import ChatRequest, ChatResponse, Finished, Json, Noted, Started, StreamEvent, TextDelta
from headrace.wire import Frame, Headers, HttpResponse

ASKED = ChatRequest(model="m", messages=(), stream=True)
URL = "https://example.com/mill"
SAID = "The mill stands at the río. It turns"
BACKED = "It turns"
"""What the source is named for: it stands behind a letter of two bytes."""
START = SAID.index(BACKED)

URL_CITATION = {"url": URL, "title": "Mill", "start_index": START, "end_index": len(SAID)}
WEB = {"type": "web_search_result_location", "url": URL, "title": "Mill", "cited_text": "turning", "encrypted_index": "x"}


def answer(dialect: str, body: Any) -> ChatResponse:
    return load(dialect).read_response(HttpResponse(200, Headers(), json.dumps(body).encode()), ASKED, Target("p", "m"))


CHAT = {"choices": [{"index": 0, "finish_reason": "stop", "message": {
    "role": "assistant", "content": SAID, "annotations": [{"type": "url_citation", "url_citation": URL_CITATION}],
}}]}  # fmt: skip
RESPONSES = {"id": "r", "status": "completed", "output": [{"type": "message", "id": "m", "role": "assistant", "content": [
    {"type": "output_text", "text": SAID, "annotations": [{"type": "url_citation", **URL_CITATION}]},
]}]}  # fmt: skip
ANTHROPIC = {"stop_reason": "end_turn", "content": [
    {"type": "text", "text": SAID[:START]}, {"type": "text", "text": BACKED, "citations": [WEB]},
]}  # fmt: skip
PARTS = {"role": "model", "parts": [{"text": SAID[:START]}, {"text": BACKED}]}
GEMINI = {"candidates": [{"finishReason": "STOP", "content": PARTS, "groundingMetadata": {
    "groundingChunks": [{"web": {"uri": URL, "title": "Mill"}}],
    "groundingSupports": [{"segment": {"startIndex": START + 1, "endIndex": len(SAID) + 1, "text": BACKED}, "groundingChunkIndices": [0]}],
}}]}  # fmt: skip
BEDROCK = {"stopReason": "end_turn", "output": {"message": {"role": "assistant", "content": [
    {"text": SAID[:START]},
    {"citationsContent": {"content": [{"text": BACKED}], "citations": [{"title": "Mill", "location": {"web": {"url": URL}}}]}},
]}}}  # fmt: skip
COHERE = {"finish_reason": "COMPLETE", "message": {"role": "assistant", "content": [{"type": "text", "text": SAID}], "citations": [{
    "start": START, "end": len(SAID), "text": BACKED,
    "sources": [{"type": "document", "id": "d", "document": {"title": "Mill", "url": URL}}],
}]}}  # fmt: skip

PROVIDERS = {
    "openai_chat": CHAT, "openai_responses": RESPONSES, "anthropic_messages": ANTHROPIC, "gemini": GEMINI, "bedrock_converse": BEDROCK,
    "cohere": COHERE,
}  # fmt: skip
FROM_EVERY = pytest.mark.parametrize("provider", PROVIDERS)


@FROM_EVERY
def test_a_caller_of_chat_completions_finds_sources_on_the_message(provider: str) -> None:
    [choice] = load("openai_chat").write_response(in_one_text(answer(provider, PROVIDERS[provider])))["choices"]
    [told] = [one["url_citation"] for one in choice["message"]["annotations"]]
    assert (told["url"], told["title"]) == (URL, "Mill")
    assert choice["message"]["content"][told["start_index"] : told["end_index"]] == BACKED


@FROM_EVERY
def test_a_caller_of_responses_finds_them_on_the_part_of_the_text(provider: str) -> None:
    body = load("openai_responses").write_response(answer_in_common(answer(provider, PROVIDERS[provider]), "openai_responses"))
    parts = [part for item in body["output"] for part in item["content"]]
    [(part, told)] = [(part, one) for part in parts for one in part["annotations"]]
    assert (told["type"], told["url"], told["title"]) == ("url_citation", URL, "Mill")
    assert part["text"][told["start_index"] : told["end_index"]] == BACKED


@FROM_EVERY
def test_a_caller_of_messages_finds_them_on_a_block_of_the_words_they_back(provider: str) -> None:
    body = load("anthropic_messages").write_response(answer_in_common(answer(provider, PROVIDERS[provider]), "anthropic_messages"))
    assert "".join(block["text"] for block in body["content"]) == SAID
    [block] = [block for block in body["content"] if block.get("citations")]
    assert block["text"] == BACKED
    assert [(one["url"], one["title"]) for one in block["citations"]] == [(URL, "Mill")]


@FROM_EVERY
def test_a_caller_of_gemini_finds_them_by_bytes(provider: str) -> None:
    [candidate] = load("gemini").write_response(answer_in_common(answer(provider, PROVIDERS[provider]), "gemini"))["candidates"]
    grounding = candidate["groundingMetadata"]
    [support] = grounding["groundingSupports"]
    said = "".join(part["text"] for part in candidate["content"]["parts"]).encode()
    assert said[support["segment"]["startIndex"] : support["segment"]["endIndex"]].decode() == BACKED
    assert grounding["groundingChunks"][support["groundingChunkIndices"][0]]["web"] == {"uri": URL, "title": "Mill"}


# ---- streams -----------------------------------------------------------------------------------------------------------------------

BLOCKS: list[StreamEvent] = [
    Started(id="r", model="m"),
    TextDelta(text=SAID[:START]),
    TextDelta(text="", block=1, extra={"citations": [WEB]}),  # told before the words it backs
    TextDelta(text=BACKED, block=1),
    Finished(finish="stop"),
]
BESIDE: list[StreamEvent] = [
    Started(id="r", model="m"),
    TextDelta(text=SAID),
    Noted(level="message", extra={"annotations": CHAT["choices"][0]["message"]["annotations"]}),  # type: ignore[index]
    Finished(finish="stop"),
]
EITHER = pytest.mark.parametrize("events", [BLOCKS, BESIDE], ids=["on a block", "beside the text"])


class Scripted:
    """A provider's stream of these events."""

    def __init__(self, events: list[StreamEvent]) -> None:
        self.events = events

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        return self.events

    def close(self) -> list[StreamEvent]:
        return []


def written(events: list[StreamEvent], to: str) -> list[dict[str, Any]]:
    dialect, common = load(to), InCommon(to)
    writer, frames = dialect.write_stream(ASKED), dialect.framing()
    data = b"".join(writer.feed(told) for event in events for told in common.feed(event)) + writer.close()
    return [json.loads(frame.data) for frame in [*frames.feed(data), *frames.close()]]


@EITHER
def test_a_stream_of_chunks_tells_them_in_a_delta(events: list[StreamEvent]) -> None:
    chunks = TranslatedChunks(Scripted(events), ASKED, "chat").chunks(Frame(b"-"))
    [told] = [one for chunk in chunks for choice in chunk["choices"] for one in choice["delta"].get("annotations") or ()]
    said = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert told["url_citation"]["url"] == URL
    assert said[told["url_citation"]["start_index"] : told["url_citation"]["end_index"]] == BACKED


@EITHER
def test_a_stream_of_responses_tells_them_as_events_on_the_part(events: list[StreamEvent]) -> None:
    told = written(events, "openai_responses")
    [added] = [event for event in told if event["type"] == "response.output_text.annotation.added"]
    part = told[-1]["response"]["output"][added["output_index"]]["content"][added["content_index"]]
    assert part["annotations"] == [added["annotation"]]
    assert part["text"][added["annotation"]["start_index"] : added["annotation"]["end_index"]] == BACKED


@EITHER
def test_a_stream_of_messages_tells_them_on_the_block_that_is_open(events: list[StreamEvent]) -> None:
    deltas = [event["delta"] for event in written(events, "anthropic_messages") if event["type"] == "content_block_delta"]
    assert [delta["citation"]["url"] for delta in deltas if delta["type"] == "citations_delta"] == [URL]
    assert "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta") == SAID


@EITHER
def test_a_stream_of_gemini_tells_them_with_its_end(events: list[StreamEvent]) -> None:
    chunks = written(events, "gemini")
    [support] = chunks[-1]["candidates"][0]["groundingMetadata"]["groundingSupports"]
    assert SAID.encode()[support["segment"]["startIndex"] : support["segment"]["endIndex"]].decode() == BACKED


# ---- what has no place, or no address -------------------------------------------------------------------------------------------------


def perplexity(text: str) -> ChatResponse:
    found = [{"url": "https://one.example", "title": "One"}, {"url": "https://two.example", "title": "Two"}]
    message = {"role": "assistant", "content": text}
    return answer("openai_chat", {"search_results": found, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})


def test_numbers_in_a_text_name_perplexitys_sources() -> None:
    body = load("openai_responses").write_response(answer_in_common(perplexity("It turns.[2]"), "openai_responses"))
    [part] = body["output"][0]["content"]
    told = [(one["url"], one["title"], part["text"][one["start_index"] : one["end_index"]]) for one in part["annotations"]]
    assert told == [("https://two.example", "Two", "[2]"), ("https://one.example", "One", "")]


def test_numbers_in_a_streams_text_name_them_as_well() -> None:
    found = [{"url": "https://one.example", "title": "One"}]
    events = [Started(extra={"search_results": found}), TextDelta(text="It "), TextDelta(text="turns.[1]"), Finished(finish="stop")]
    told = written(list(events), "openai_responses")
    [part] = told[-1]["response"]["output"][0]["content"]
    [cited] = part["annotations"]
    assert part["text"][cited["start_index"] : cited["end_index"]] == "[1]"


def test_documents_without_an_address_are_told_as_files() -> None:
    location = {"type": "char_location", "document_index": 0, "document_title": "Rules", "file_id": "f_1", "cited_text": "turn"}
    hub = answer("anthropic_messages", {"stop_reason": "end_turn", "content": [{"type": "text", "text": "hi", "citations": [location]}]})
    [item] = load("openai_responses").write_response(answer_in_common(hub, "openai_responses"))["output"]
    assert item["content"][0]["annotations"] == [{"type": "file_citation", "file_id": "f_1", "filename": "Rules", "index": 2}]
    [choice] = load("openai_chat").write_response(in_one_text(hub))["choices"]
    assert choice["message"]["citations"] == [location]
    assert "annotations" not in choice["message"], "clients of Chat Completions know annotations of the web only"


def test_files_cited_beside_a_text_find_their_way_back() -> None:
    cited = {"type": "file_citation", "file_id": "f_1", "filename": "rules.pdf", "index": 2}
    part = {"type": "output_text", "text": "hi", "annotations": [cited]}
    hub = answer(
        "openai_responses", {"id": "r", "status": "completed", "output": [{"type": "message", "role": "assistant", "content": [part]}]}
    )
    [choice] = load("openai_chat").write_response(in_one_text(hub))["choices"]
    again = load("openai_chat").read_request({"model": "m", "messages": [choice["message"]]})
    target = Target("openai", "m", "https://e.com", (), "openai_chat")
    [item] = json.loads(load("openai_responses").write_request(again, target).body)["input"]
    assert item["content"][0]["annotations"] == [cited]


def test_sources_without_a_title_or_a_place_get_what_clients_insist_on() -> None:
    message = {"role": "assistant", "content": "hi", "annotations": [{"type": "url_citation", "url_citation": {"url": URL}}]}
    hub = answer("openai_chat", {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
    [item] = load("openai_responses").write_response(answer_in_common(hub, "openai_responses"))["output"]
    assert item["content"][0]["annotations"] == [{"type": "url_citation", "url": URL, "title": "", "start_index": 0, "end_index": 2}]


def test_where_sources_overlap_each_piece_has_those_that_back_it() -> None:
    def of(url: str, start: int, end: int) -> Json:
        return {"type": "url_citation", "url_citation": {"url": url, "title": "", "start_index": start, "end_index": end}}

    message = {
        "role": "assistant",
        "content": "abcdef",
        "annotations": [of("https://a", 0, 4), of("https://b", 2, 6), of("https://c", 9, 9)],
    }
    hub = answer("openai_chat", {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
    blocks = load("anthropic_messages").write_response(answer_in_common(hub, "anthropic_messages"))["content"]
    assert [(block["text"], [one["url"] for one in block.get("citations") or ()]) for block in blocks] == [
        ("ab", ["https://a"]),
        ("cd", ["https://a", "https://b"]),
        ("ef", ["https://b", "https://c"]),
    ]


@pytest.mark.parametrize(
    "broken", [[None], ["x"], [{"type": 1}], [{"type": "url_citation"}], [{"type": "url_citation", "url_citation": 3}]]
)
@pytest.mark.parametrize("to", ["openai_responses", "anthropic_messages", "gemini", "bedrock_converse"])
def test_citations_that_are_none_break_nothing(broken: Json, to: str) -> None:
    for name in ("annotations", "citations"):
        message = {"role": "assistant", "content": "hi", name: broken}
        hub = answer("openai_chat", {name: broken, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
        assert "hi" in json.dumps(load(to).write_response(answer_in_common(hub, to)))
        assert collect(InCommon(to).feed(TextDelta(text="hi", extra={name: broken}))).choices[0].message.text == "hi"
