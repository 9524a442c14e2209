"""Enums and plain values under litellm's names."""

from __future__ import annotations

import enum
from typing import Any, Final, Literal, TypeAlias

from headrace.compat.litellm.stand_in import VERSION
from headrace.objects import EmbeddingResponse, ImageResponse, JsonObject, ModelResponse, ModelResponseStream, TextCompletionResponse
from headrace.providers.catalog import catalog
from headrace.served import ResponseItem, ResponsesAPIStreamingResponse

version: Final = VERSION
MAX_CALLBACKS: Final = 100

_FINISH_REASON_MAP: Final = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls", "STOP": "stop", "MAX_TOKENS": "length",
    "SAFETY": "content_filter", "content_filtered": "content_filter", "COMPLETE": "stop", "eos_token": "stop",
}  # fmt: skip


class _Text(str, enum.Enum):  # noqa: UP042  # as in litellm
    """A str that is also an enum member."""


LlmProviders = _Text("LlmProviders", {row.name.upper().replace("-", "_"): row.name for row in catalog()})  # type: ignore[call-overload]
LlmProvidersSet: Final = {row.name for row in catalog()}

_CALLS: Final = (
    "completion", "acompletion", "text_completion", "atext_completion", "embedding", "aembedding", "image_generation",
    "aimage_generation", "moderation", "amoderation", "transcription", "atranscription", "speech", "aspeech", "rerank", "arerank",
    "responses", "aresponses", "anthropic_messages", "generate_content", "agenerate_content", "image_edit", "aimage_edit", "ocr",
    "aocr",
)  # fmt: skip
CallTypes = _Text("CallTypes", {name: name for name in _CALLS})  # type: ignore[call-overload]
CallTypesLiteral: TypeAlias = str


class GuardrailEventHooks(_Text):
    pre_call = "pre_call"
    post_call = "post_call"
    during_call = "during_call"
    logging_only = "logging_only"
    pre_mcp_call = "pre_mcp_call"
    during_mcp_call = "during_mcp_call"


_EVENTS: Final = (
    "created", "in_progress", "queued", "completed", "failed", "incomplete", "output_item.added", "output_item.done", "content_part.added",
    "content_part.done", "output_text.delta", "output_text.done", "output_text.annotation.added", "refusal.delta", "refusal.done",
    "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.added", "reasoning_text.delta",
    "function_call_arguments.delta", "function_call_arguments.done",
)  # fmt: skip
ResponsesAPIStreamEvents = _Text(  # type: ignore[call-overload]
    "ResponsesAPIStreamEvents",
    {("RESPONSE_" if "." not in name and name != "queued" else "") + name.replace(".", "_").upper(): f"response.{name}" for name in _EVENTS}
    | {"ERROR": "error"},
)


class _Event(type):
    """Metaclass for litellm's event classes: here all events are one class, told apart by `type`."""

    says: str

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, ResponsesAPIStreamingResponse) and instance.type == cls.says


def _event(name: str, says: str) -> Any:
    return _Event(name, (), {"says": says, "__module__": "litellm.types.llms.openai"})


OutputTextDeltaEvent = _event("OutputTextDeltaEvent", "response.output_text.delta")
RefusalDeltaEvent = _event("RefusalDeltaEvent", "response.refusal.delta")
ReasoningSummaryTextDeltaEvent = _event("ReasoningSummaryTextDeltaEvent", "response.reasoning_summary_text.delta")
ResponseCompletedEvent = _event("ResponseCompletedEvent", "response.completed")
ResponseIncompleteEvent = _event("ResponseIncompleteEvent", "response.incomplete")
ResponseFailedEvent = _event("ResponseFailedEvent", "response.failed")
ErrorEvent = _event("ErrorEvent", "error")


class _Call(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, ResponseItem) and instance.type == "function_call"


class ResponseFunctionToolCall(metaclass=_Call):
    """An item of the Responses API that calls a function."""


OutputFunctionToolCall = ResponseFunctionToolCall


class _Policy(JsonObject):
    """Counts by kind of failure; missing fields read as None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return None


class RetryPolicy(_Policy):
    """For `Router(retry_policy=…)`: `TimeoutErrorRetries=3`, …"""


class AllowedFailsPolicy(_Policy):
    """For `Router(allowed_fails_policy=…)`: `InternalServerErrorAllowedFails=5`, …"""


class GenericLiteLLMParams(_Policy):
    """Options of a deployment; missing fields read as None."""


class RouterConfig(_Policy):
    """A Router's parameters: `Router(**config.model_dump())`."""


LiteLLM_Params = GenericLiteLLMParams


class Deployment(JsonObject):
    """An entry of a `model_list`: `Deployment(model_name=…, litellm_params=LiteLLM_Params(…))`."""

    _parts = (("litellm_params", LiteLLM_Params.wrap, False), ("model_info", GenericLiteLLMParams.wrap, False))

    def to_json(self, **options: Any) -> dict[str, Any]:  # type: ignore[override]  # litellm's returns a dict
        return self.model_dump(**options)


class ChoiceLogprobs(JsonObject):
    _parts = (("content", JsonObject.wrap, True),)

    content: Any = None


class CustomRoutingStrategyBase:
    """Base class for `Router.set_custom_routing_strategy`. Both methods receive `model`, `messages`, `input` and
    `request_kwargs`, and return the entry of `model_list` that should serve the call, or its id.
    """

    async def async_get_available_deployment(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no async_get_available_deployment")

    def get_available_deployment(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no get_available_deployment")


class ServerToolUse(JsonObject):
    web_search_requests: int | None = None


class UserAPIKeyAuth(_Policy):
    """The caller's key at LiteLLM's proxy; for annotations."""


BaseLiteLLMOpenAIResponseObject = JsonObject
ModelResponseBase = JsonObject
CompletionTokensDetailsWrapper = PromptTokensDetailsWrapper = JsonObject
LLMResponseTypes: TypeAlias = ModelResponse | ModelResponseStream | EmbeddingResponse | TextCompletionResponse | ImageResponse
ChatCompletionModality = Literal["text", "audio"]

Mapping_: TypeAlias = dict[str, Any]
"""litellm's TypedDicts: plain dicts, which any of these names builds from keywords."""

AllMessageValues = OpenAIMessageContent = ChatCompletionUserMessage = ChatCompletionSystemMessage = Mapping_
ChatCompletionAssistantMessage = ChatCompletionToolMessage = ChatCompletionDeveloperMessage = Mapping_
ChatCompletionToolCallFunctionChunk = ChatCompletionToolCallChunk = ChatCompletionToolParam = Mapping_
ChatCompletionToolParamFunctionChunk = ChatCompletionTextObject = ChatCompletionImageObject = Mapping_
ChatCompletionAnnotation = ChatCompletionMessageParam = ChatCompletionUserMessageParam = Mapping_
ChatCompletionSystemMessageParam = ChatCompletionAssistantMessageParam = ChatCompletionAudioParam = Mapping_
AnthropicThinkingParam = ChatCompletionPredictionContentParam = OpenAIWebSearchOptions = Mapping_
ChatCompletionThinkingBlock = ChatCompletionCachedContent = StandardLoggingPayload = PartType = Mapping_
DeploymentTypedDict = ModelInfo = CostPerToken = SearchContextCostPerQuery = LiteLLMParamsTypedDict = Mapping_
GenericStreamingChunk = ChatCompletionUsageBlock = ChatCompletionDeltaChunk = Mapping_
ResponseTextConfig = ResponsesAPIOptionalRequestParams = ChatCompletionTokenLogprob = Mapping_
ResponseInputParam: TypeAlias = str | list[Any]
