"""A Router's calls in dialects other than Chat Completions: Responses, Messages and generateContent.

A deployment whose provider speaks the caller's dialect receives the request unchanged; for any other it is translated.
The id of a response names the deployment that stores it, so retrieving, continuing, cancelling and deleting it go
there, from any process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from headrace.errors import BadRequestError
from headrace.served import (
    CONTENT,
    MESSAGES,
    RESPONSE,
    RESPONSE_CANCEL,
    RESPONSE_COMPACT,
    RESPONSE_DELETE,
    RESPONSE_ITEMS,
    RESPONSES,
    content_options,
    read_id,
    response_options,
)

if TYPE_CHECKING:
    from headrace.served import (
        AnthropicMessage,
        DeleteResponseResult,
        GenerateContentResponse,
        ResponseItemList,
        ResponsesAPIResponse,
        ResponsesAPIStreamingResponse,
    )
    from headrace.streams import AsyncStream, Stream


class Speaking:
    """A Router's methods for other dialects. `Face` describes `_suspending` and `_blocking`."""

    _suspending: Any
    _blocking: Any

    @overload
    def responses(
        self, input: str | Sequence[Any], model: str, *, stream: Literal[True], **options: Any
    ) -> Stream[ResponsesAPIStreamingResponse]: ...
    @overload
    def responses(
        self, input: str | Sequence[Any], model: str, *, stream: Literal[False] | None = None, **options: Any
    ) -> ResponsesAPIResponse: ...
    def responses(self, input: str | Sequence[Any], model: str, *, stream: bool | None = None, **options: Any) -> Any:
        """A response in the format of OpenAI's Responses, from the group `model`; with `stream=True` a `Stream` of
        events.

        With `previous_response_id` it comes from the deployment that stores that response.
        """
        return self._blocking(RESPONSES, model, input, bool(stream), response_options(options))

    @overload
    async def aresponses(
        self, input: str | Sequence[Any], model: str, *, stream: Literal[True], **options: Any
    ) -> AsyncStream[ResponsesAPIStreamingResponse]: ...
    @overload
    async def aresponses(
        self, input: str | Sequence[Any], model: str, *, stream: Literal[False] | None = None, **options: Any
    ) -> ResponsesAPIResponse: ...
    async def aresponses(self, input: str | Sequence[Any], model: str, *, stream: bool | None = None, **options: Any) -> Any:
        """`responses`, async."""
        return await self._suspending(RESPONSES, model, input, bool(stream), response_options(options))

    def get_responses(self, response_id: str, **options: Any) -> ResponsesAPIResponse:
        """A stored response, by the id that this Router, or one with the same deployments, gave out."""
        answer: ResponsesAPIResponse = self._blocking(RESPONSE, **_kept(response_id, options))
        return answer

    async def aget_responses(self, response_id: str, **options: Any) -> ResponsesAPIResponse:
        answer: ResponsesAPIResponse = await self._suspending(RESPONSE, **_kept(response_id, options))
        return answer

    def delete_responses(self, response_id: str, **options: Any) -> DeleteResponseResult:
        """Delete a stored response."""
        answer: DeleteResponseResult = self._blocking(RESPONSE_DELETE, **_kept(response_id, options))
        return answer

    async def adelete_responses(self, response_id: str, **options: Any) -> DeleteResponseResult:
        answer: DeleteResponseResult = await self._suspending(RESPONSE_DELETE, **_kept(response_id, options))
        return answer

    def cancel_responses(self, response_id: str, **options: Any) -> ResponsesAPIResponse:
        """Cancel a background response."""
        answer: ResponsesAPIResponse = self._blocking(RESPONSE_CANCEL, **_kept(response_id, options))
        return answer

    async def acancel_responses(self, response_id: str, **options: Any) -> ResponsesAPIResponse:
        answer: ResponsesAPIResponse = await self._suspending(RESPONSE_CANCEL, **_kept(response_id, options))
        return answer

    def list_input_items(self, response_id: str, **options: Any) -> ResponseItemList:
        """The input items of a response."""
        answer: ResponseItemList = self._blocking(RESPONSE_ITEMS, **_kept(response_id, options))
        return answer

    async def alist_input_items(self, response_id: str, **options: Any) -> ResponseItemList:
        answer: ResponseItemList = await self._suspending(RESPONSE_ITEMS, **_kept(response_id, options))
        return answer

    def compact_responses(self, input: str | Sequence[Any], model: str, **options: Any) -> ResponsesAPIResponse:
        """A compacted conversation, from the group `model`.

        With `previous_response_id`, from the deployment that stores that response.
        """
        answer: ResponsesAPIResponse = self._blocking(RESPONSE_COMPACT, model, input, False, options)
        return answer

    async def acompact_responses(self, input: str | Sequence[Any], model: str, **options: Any) -> ResponsesAPIResponse:
        answer: ResponsesAPIResponse = await self._suspending(RESPONSE_COMPACT, model, input, False, options)
        return answer

    @overload
    def anthropic_messages(
        self, max_tokens: int, messages: Sequence[Any], model: str, *, stream: Literal[True], **options: Any
    ) -> Stream[AnthropicMessage]: ...
    @overload
    def anthropic_messages(
        self, max_tokens: int, messages: Sequence[Any], model: str, *, stream: Literal[False] | None = None, **options: Any
    ) -> AnthropicMessage: ...
    def anthropic_messages(
        self, max_tokens: int, messages: Sequence[Any], model: str, *, stream: bool | None = None, **options: Any
    ) -> Any:
        """A response in the format of Anthropic's Messages, from the group `model`.

        With `stream=True` a `Stream` of its events.
        """
        return self._blocking(MESSAGES, model, messages, bool(stream), {"max_tokens": max_tokens, **options})

    @overload
    async def aanthropic_messages(
        self, max_tokens: int, messages: Sequence[Any], model: str, *, stream: Literal[True], **options: Any
    ) -> AsyncStream[AnthropicMessage]: ...
    @overload
    async def aanthropic_messages(
        self, max_tokens: int, messages: Sequence[Any], model: str, *, stream: Literal[False] | None = None, **options: Any
    ) -> AnthropicMessage: ...
    async def aanthropic_messages(
        self, max_tokens: int, messages: Sequence[Any], model: str, *, stream: bool | None = None, **options: Any
    ) -> Any:
        return await self._suspending(MESSAGES, model, messages, bool(stream), {"max_tokens": max_tokens, **options})

    @overload
    def generate_content(
        self, model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: Literal[True], **options: Any
    ) -> Stream[GenerateContentResponse]: ...
    @overload
    def generate_content(
        self, model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: Literal[False] | None = None, **options: Any
    ) -> GenerateContentResponse: ...
    def generate_content(
        self, model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: bool | None = None, **options: Any
    ) -> Any:
        """A response in the format of Gemini's generateContent, from the group `model`.

        With `stream=True` a `Stream` of its chunks.
        """
        return self._blocking(CONTENT, model, *content_options(contents, config, options, stream=bool(stream)))

    @overload
    async def agenerate_content(
        self, model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: Literal[True], **options: Any
    ) -> AsyncStream[GenerateContentResponse]: ...
    @overload
    async def agenerate_content(
        self, model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: Literal[False] | None = None, **options: Any
    ) -> GenerateContentResponse: ...
    async def agenerate_content(
        self, model: str, contents: Any, config: Mapping[str, Any] | None = None, *, stream: bool | None = None, **options: Any
    ) -> Any:
        return await self._suspending(CONTENT, model, *content_options(contents, config, options, stream=bool(stream)))

    def generate_content_stream(
        self, model: str, contents: Any, config: Mapping[str, Any] | None = None, **options: Any
    ) -> Stream[GenerateContentResponse]:
        """`generate_content` with `stream=True`."""
        return self.generate_content(model, contents, config, stream=True, **options)

    async def agenerate_content_stream(
        self, model: str, contents: Any, config: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncStream[GenerateContentResponse]:
        return await self.agenerate_content(model, contents, config, stream=True, **options)


def _kept(response_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call about a stored response. Raises BadRequestError for an id that does not name its deployment."""
    given = dict(options)
    model = given.pop("model", None)
    if model is None and (not isinstance(response_id, str) or read_id(response_id) is None):
        raise BadRequestError(
            "response_id does not name the deployment that stores the response: give an id that a Router returned, or model= with the "
            "group of the deployment"
        )
    return {"model": model or "-", "prompt": None, "stream": False, "options": given, "place": {"id": response_id}}
