"""A program in the words of other dialects, as its user writes it."""

from typing import assert_type

import headrace
from headrace import (
    AnthropicMessage,
    AsyncStream,
    GenerateContentResponse,
    ResponsesAPIResponse,
    ResponsesAPIStreamingResponse,
    Router,
    Stream,
)

MESSAGES = [{"role": "user", "content": "Name a mill that still runs."}]


def answered(router: Router) -> str:
    response = router.responses("Hello", "chat", instructions="Be brief.")
    assert_type(response, ResponsesAPIResponse)
    events = router.responses(input="Hello", model="chat", stream=True)
    assert_type(events, Stream[ResponsesAPIStreamingResponse])
    message = router.anthropic_messages(100, MESSAGES, "chat")
    assert_type(message, AnthropicMessage)
    content = router.generate_content("chat", "Hello")
    assert_type(content, GenerateContentResponse)
    return response.output_text + content.text + "".join(event.type for event in events)


async def awaited(router: Router) -> None:
    assert_type(await router.aresponses("Hello", "chat"), ResponsesAPIResponse)
    assert_type(await router.aresponses("Hello", "chat", stream=True), AsyncStream[ResponsesAPIStreamingResponse])
    assert_type(await router.aanthropic_messages(100, MESSAGES, "chat", stream=True), AsyncStream[AnthropicMessage])
    assert_type(await router.agenerate_content_stream("chat", "Hello"), AsyncStream[GenerateContentResponse])
    kept = await router.aget_responses("resp_1")
    assert_type(kept, ResponsesAPIResponse)


def direct() -> str:
    response = headrace.responses("Hello", "openai/gpt-4o-mini")
    assert_type(response, ResponsesAPIResponse)
    pieces = headrace.generate_content("gemini/gemini-2.5-flash", "Hello", stream=True)
    assert_type(pieces, Stream[GenerateContentResponse])
    return "".join(piece.text for piece in pieces)
