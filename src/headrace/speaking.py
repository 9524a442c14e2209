"""Calls in dialects other than Chat Completions: OpenAI's Responses, Anthropic's Messages, Gemini's generateContent.

Each has a blocking form and an async `a…` form, and works with every provider. Where the provider speaks the same
dialect, request and response pass through unchanged; otherwise they are translated, and parameters that cannot be
expressed are refused by name. Streams yield the dialect's own events. All take the options of every call
(`headrace.options.CallOptions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from headrace.api import blocking, suspending
from headrace.served import (
    CONTENT,
    MESSAGES,
    RESPONSE,
    RESPONSE_CANCEL,
    RESPONSE_COMPACT,
    RESPONSE_DELETE,
    RESPONSE_ITEMS,
    RESPONSES,
    AnthropicMessage,
    DeleteResponseResult,
    GenerateContentResponse,
    ResponseItemList,
    ResponsesAPIResponse,
    ResponsesAPIStreamingResponse,
    content_options,
    response_options,
)
from headrace.streams import AsyncStream, Stream


@overload
def responses(
    input: str | Sequence[Any], model: str, *, stream: Literal[True], **options: Any
) -> Stream[ResponsesAPIStreamingResponse]: ...
@overload
def responses(input: str | Sequence[Any], model: str, *, stream: Literal[False] | None = None, **options: Any) -> ResponsesAPIResponse: ...
def responses(input: str | Sequence[Any], model: str, *, stream: bool | None = None, **options: Any) -> Any:
    """A response of OpenAI's Responses API: a `ResponsesAPIResponse`; with `stream=True`, a `Stream` of its events.

    `instructions`, `tools`, `text`, `reasoning`, `previous_response_id`, … as at OpenAI; `text_format` may be a
    pydantic class.
    """
    return blocking(RESPONSES, model, input, bool(stream), response_options(options))


@overload
async def aresponses(
    input: str | Sequence[Any], model: str, *, stream: Literal[True], **options: Any
) -> AsyncStream[ResponsesAPIStreamingResponse]: ...
@overload
async def aresponses(
    input: str | Sequence[Any], model: str, *, stream: Literal[False] | None = None, **options: Any
) -> ResponsesAPIResponse: ...
async def aresponses(input: str | Sequence[Any], model: str, *, stream: bool | None = None, **options: Any) -> Any:
    return await suspending(RESPONSES, model, input, bool(stream), response_options(options))


def _at(provider: str) -> str:
    """A model name that resolves to the provider but to none of its models."""
    return f"{provider}/-"


def get_responses(response_id: str, custom_llm_provider: str = "openai", **options: Any) -> ResponsesAPIResponse:
    """A response stored at the provider, finished or not. `include` as at OpenAI."""
    answer: ResponsesAPIResponse = blocking(RESPONSE, _at(custom_llm_provider), None, False, options, {"id": response_id})
    return answer


async def aget_responses(response_id: str, custom_llm_provider: str = "openai", **options: Any) -> ResponsesAPIResponse:
    answer: ResponsesAPIResponse = await suspending(RESPONSE, _at(custom_llm_provider), None, False, options, {"id": response_id})
    return answer


def delete_responses(response_id: str, custom_llm_provider: str = "openai", **options: Any) -> DeleteResponseResult:
    """Delete a response at the provider."""
    answer: DeleteResponseResult = blocking(RESPONSE_DELETE, _at(custom_llm_provider), None, False, options, {"id": response_id})
    return answer


async def adelete_responses(response_id: str, custom_llm_provider: str = "openai", **options: Any) -> DeleteResponseResult:
    answer: DeleteResponseResult = await suspending(RESPONSE_DELETE, _at(custom_llm_provider), None, False, options, {"id": response_id})
    return answer


def cancel_responses(response_id: str, custom_llm_provider: str = "openai", **options: Any) -> ResponsesAPIResponse:
    """Cancel a response that is being made in the background."""
    answer: ResponsesAPIResponse = blocking(RESPONSE_CANCEL, _at(custom_llm_provider), None, False, options, {"id": response_id})
    return answer


async def acancel_responses(response_id: str, custom_llm_provider: str = "openai", **options: Any) -> ResponsesAPIResponse:
    answer: ResponsesAPIResponse = await suspending(RESPONSE_CANCEL, _at(custom_llm_provider), None, False, options, {"id": response_id})
    return answer


def list_input_items(response_id: str, custom_llm_provider: str = "openai", **options: Any) -> ResponseItemList:
    """The input items of a response, filtered by `limit`, `order`, `after`, `before`, `include`."""
    answer: ResponseItemList = blocking(RESPONSE_ITEMS, _at(custom_llm_provider), None, False, options, {"id": response_id})
    return answer


async def alist_input_items(response_id: str, custom_llm_provider: str = "openai", **options: Any) -> ResponseItemList:
    answer: ResponseItemList = await suspending(RESPONSE_ITEMS, _at(custom_llm_provider), None, False, options, {"id": response_id})
    return answer


def compact_responses(input: str | Sequence[Any], model: str, **options: Any) -> ResponsesAPIResponse:
    """A conversation compacted by the provider: its `output`, which is encrypted, serves as `input` of the next
    `responses`.

    `instructions` and `previous_response_id` as at OpenAI.
    """
    answer: ResponsesAPIResponse = blocking(RESPONSE_COMPACT, model, input, False, options)
    return answer


async def acompact_responses(input: str | Sequence[Any], model: str, **options: Any) -> ResponsesAPIResponse:
    answer: ResponsesAPIResponse = await suspending(RESPONSE_COMPACT, model, input, False, options)
    return answer


@overload
def anthropic_messages(
    max_tokens: int, messages: Sequence[Any], model: str, *, stream: Literal[True], **options: Any
) -> Stream[AnthropicMessage]: ...
@overload
def anthropic_messages(
    max_tokens: int, messages: Sequence[Any], model: str, *, stream: Literal[False] | None = None, **options: Any
) -> AnthropicMessage: ...
def anthropic_messages(max_tokens: int, messages: Sequence[Any], model: str, *, stream: bool | None = None, **options: Any) -> Any:
    """A response of Anthropic's Messages API: an `AnthropicMessage`; with `stream=True`, a `Stream` of its events.

    `system`, `tools`, `thinking`, `metadata`, … as at Anthropic.
    """
    return blocking(MESSAGES, model, messages, bool(stream), {"max_tokens": max_tokens, **options})


@overload
async def aanthropic_messages(
    max_tokens: int, messages: Sequence[Any], model: str, *, stream: Literal[True], **options: Any
) -> AsyncStream[AnthropicMessage]: ...
@overload
async def aanthropic_messages(
    max_tokens: int, messages: Sequence[Any], model: str, *, stream: Literal[False] | None = None, **options: Any
) -> AnthropicMessage: ...
async def aanthropic_messages(max_tokens: int, messages: Sequence[Any], model: str, *, stream: bool | None = None, **options: Any) -> Any:
    return await suspending(MESSAGES, model, messages, bool(stream), {"max_tokens": max_tokens, **options})


@overload
def generate_content(
    model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: Literal[True], **options: Any
) -> Stream[GenerateContentResponse]: ...
@overload
def generate_content(
    model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: Literal[False] | None = None, **options: Any
) -> GenerateContentResponse: ...
def generate_content(
    model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: bool | None = None, **options: Any
) -> Any:
    """A response of Gemini's generateContent: a `GenerateContentResponse`; with `stream=True`, a `Stream` of its chunks.

    contents: a text, or Google's list of contents. config: as Google's client takes it, in snake or camel case;
    `generationConfig`, `systemInstruction`, `tools`, … may also be given as options.
    """
    return blocking(CONTENT, model, *content_options(contents, config, options, stream=bool(stream)))


@overload
async def agenerate_content(
    model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: Literal[True], **options: Any
) -> AsyncStream[GenerateContentResponse]: ...
@overload
async def agenerate_content(
    model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: Literal[False] | None = None, **options: Any
) -> GenerateContentResponse: ...
async def agenerate_content(
    model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: bool | None = None, **options: Any
) -> Any:
    return await suspending(CONTENT, model, *content_options(contents, config, options, stream=bool(stream)))


def generate_content_stream(
    model: str, contents: Any, config: Mapping[str, Any] | None = None, **options: Any
) -> Stream[GenerateContentResponse]:
    """`generate_content` with `stream=True`."""
    return generate_content(model, contents, config, stream=True, **options)


async def agenerate_content_stream(
    model: str, contents: Any, config: Mapping[str, Any] | None = None, **options: Any
) -> AsyncStream[GenerateContentResponse]:
    return await agenerate_content(model, contents, config, stream=True, **options)
