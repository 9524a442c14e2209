"""Where litellm's names are found: a table of names and their objects, and one of import paths and their names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

import headrace
from headrace import errors
from headrace.compat.litellm.model_sets import MODEL_SETS
from headrace.routing.unsupported import INSTEAD

_HERE: Final = "headrace.compat.litellm"

_RESPONSES: Final = ("responses", "get_responses", "delete_responses", "cancel_responses", "list_input_items", "compact_responses")
_CONTENT: Final = ("generate_content", "agenerate_content", "generate_content_stream", "agenerate_content_stream")

_MCP: Final = (
    "transform_mcp_tool_to_openai_tool", "transform_openai_tool_call_request_to_mcp_tool_call_request", "load_mcp_tools",
    "call_openai_tool",
)  # fmt: skip

_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "headrace.models.parameters": ("get_supported_openai_params", "OPENAI_CHAT_COMPLETION_PARAMS"),
    f"{_HERE}.questions": (
        "get_llm_provider", "validate_environment", "check_valid_key", "get_model_cost_map", "model_cost",
        "model_list", "provider_list", "models_by_provider", "all_embedding_models", "openai_compatible_providers", "get_valid_models",
        "exception_type", "get_secret_bool", "supports_function_calling", "supports_vision",
        "supports_response_schema", "supports_reasoning", "supports_tool_choice", "supports_pdf_input", "supports_audio_input",
        "supports_audio_output", "supports_prompt_caching", "supports_parallel_function_calling", "supports_system_messages",
        "supports_web_search", "get_response_cost_from_hidden_params", "get_optional_params", "load_credentials_from_list",
        "validate_and_fix_thinking_param", "responses_api_bridge_check", "peek_reasoning_summary_aliases",
        "ProviderConfigManager", "get_secret", "get_secret_str",
        "get_standard_openai_params", "get_content_from_model_response", "supports_computer_use", "supports_native_structured_output",
        *MODEL_SETS,
    ),
    f"{_HERE}.texts": (
        "encode", "decode", "encoding", "create_pretrained_tokenizer", "create_tokenizer", "trim_messages", "function_to_dict",
        "validate_schema", "safe_deep_copy", "type_to_response_format_param",
    ),
    f"{_HERE}.patched": ("_extract_response_obj_and_hidden_params", "_in_memory_loggers", "_init_custom_logger_compatible_class"),
    f"{_HERE}.pictures": ("get_image_dimensions",),
    f"{_HERE}.many": (
        "batch_completion", "abatch_completion", "batch_completion_models", "batch_completion_models_all_responses",
        "completion_with_retries", "acompletion_with_retries", "responses_with_retries", "aresponses_with_retries",
        "completion_with_fallbacks", "mock_completion",
    ),
    f"{_HERE}.budgets": ("BudgetManager",),
    f"{_HERE}.thinking": ("stream_chunk_builder",),
    f"{_HERE}.langfuse": ("LangfuseOtelLogger",),
    f"{_HERE}.opik": ("OpikLogger",),
    f"{_HERE}.integrations": ("MlflowLogger", "OpenTelemetry", "PrometheusLogger"),
    f"{_HERE}.listening": ("CustomLogger", "CustomBatchLogger", "CustomGuardrail", "log_guardrail_information", "Logging"),
    f"{_HERE}.caching": (
        "Cache", "CacheMode", "DualCache", "InMemoryCache", "LiteLLMCacheType", "enable_cache", "disable_cache", "update_cache",
    ),
    f"{_HERE}.custom": ("CustomLLM", "CustomLLMError", "custom_llm_setup"),
    f"{_HERE}.tools": (*_MCP, "anthropic_messages_pt"),
    f"{_HERE}.guards": ("add_guardrail_to_applied_guardrails_header",),
    f"{_HERE}.clients": ("HTTPHandler", "AsyncHTTPHandler"),
    f"{_HERE}.more_errors": (
        "InvalidRequestError", "RouterRateLimitError", "JSONSchemaValidationError", "ImageFetchError", "MockException",
        "MidStreamFallbackError", "GuardrailRaisedException", "ModelNotMappedError", "OpenAIError", "AzureOpenAIError",
    ),
    f"{_HERE}.logs": (
        "verbose_logger", "verbose_proxy_logger", "verbose_router_logger", "_disable_debugging", "_turn_on_debug", "print_verbose",
        "_turn_on_json", "executor",
    ),
    f"{_HERE}.values": (
        "RetryPolicy", "AllowedFailsPolicy", "LlmProviders", "LlmProvidersSet", "CallTypes", "CallTypesLiteral", "GuardrailEventHooks",
        "ResponsesAPIStreamEvents", "CostPerToken", "GenericLiteLLMParams", "LiteLLM_Params", "Deployment", "DeploymentTypedDict",
        "ModelInfo", "LLMResponseTypes", "ModelResponseBase", "AllMessageValues", "OpenAIMessageContent", "ChatCompletionUserMessage",
        "ChatCompletionSystemMessage", "ChatCompletionAssistantMessage", "ChatCompletionToolMessage", "ChatCompletionDeveloperMessage",
        "ChatCompletionToolCallFunctionChunk", "ChatCompletionToolCallChunk", "ChatCompletionToolParam", "ResponseTextConfig",
        "ChatCompletionToolParamFunctionChunk", "ChatCompletionTextObject", "ChatCompletionImageObject", "ChatCompletionAnnotation",
        "ChatCompletionTokenLogprob", "ChatCompletionMessageParam", "ChatCompletionUserMessageParam", "ChatCompletionSystemMessageParam",
        "ChatCompletionAssistantMessageParam", "ChatCompletionModality", "ChatCompletionAudioParam", "AnthropicThinkingParam",
        "ChatCompletionPredictionContentParam", "OpenAIWebSearchOptions", "ResponseInputParam", "ChoiceLogprobs", "ServerToolUse",
        "BaseLiteLLMOpenAIResponseObject", "UserAPIKeyAuth", "PartType", "ChatCompletionThinkingBlock", "CompletionTokensDetailsWrapper",
        "ChatCompletionCachedContent", "PromptTokensDetailsWrapper", "StandardLoggingPayload", "OutputFunctionToolCall",
        "ResponseFunctionToolCall", "OutputTextDeltaEvent", "RefusalDeltaEvent", "ReasoningSummaryTextDeltaEvent", "ErrorEvent",
        "ResponseCompletedEvent", "ResponseIncompleteEvent", "ResponseFailedEvent", "MAX_CALLBACKS", "_FINISH_REASON_MAP", "version",
        "SearchContextCostPerQuery", "GenericStreamingChunk", "ChatCompletionUsageBlock", "ChatCompletionDeltaChunk",
        "LiteLLMParamsTypedDict", "ResponsesAPIOptionalRequestParams", "CustomRoutingStrategyBase", "RouterConfig",
    ),
}  # fmt: skip

_SAME: Final[Mapping[str, tuple[str, str]]] = {
    "CustomStreamWrapper": (f"{_HERE}.wrapper", "CustomStreamWrapper"),
    "anthropic_messages": ("headrace.speaking", "aanthropic_messages"),  # a coroutine function there
    "ResponseAPIUsage": ("headrace.served", "ResponseUsage"),
    "ResponsesAPIStreamingIterator": ("headrace.streams", "AsyncStream"),
    "SyncResponsesAPIStreamingIterator": ("headrace.streams", "Stream"),
    "ModelGroupInfo": ("headrace.routing.groups", "ModelGroupInfo"),
    "supports_temperature": (f"{_HERE}.questions", "supports_temperature"),
}
"""Names that differ here."""

_EXCEPTIONS: Final = {
    name: ("headrace.errors", name)
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.HeadraceError)
}

_NOT_THEIRS: Final = frozenset(
    {"install_as_litellm", "Settings", "settings", "providers", "register_provider", "Event", "subscribe", "Timeouts"}
)

NAMES: Final[Mapping[str, tuple[str, str]]] = {
    **{name: ("headrace", name) for name in vars(headrace)["__all__"] if name not in _NOT_THEIRS},
    **_EXCEPTIONS,
    **{name: (home, name) for home, group in _OWN.items() for name in group},
    **_SAME,
}
"""Every name, with the module and attribute it refers to."""

_ANY: Final = ("*",)

PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "litellm": _ANY,
    "litellm.main": _ANY,
    "litellm.utils": _ANY,
    "litellm.types": (),
    "litellm.types.utils": _ANY,
    "litellm.types.router": _ANY,
    "litellm.types.completion": _ANY,
    "litellm.types.guardrails": ("GuardrailEventHooks",),
    "litellm.types.caching": ("LiteLLMCacheType",),
    "litellm.types.llms": (),
    "litellm.types.llms.openai": _ANY,
    "litellm.types.llms.base": ("BaseLiteLLMOpenAIResponseObject",),
    "litellm.types.llms.vertex_ai": ("PartType",),
    "litellm.types.responses": (),
    "litellm.types.responses.main": ("OutputFunctionToolCall",),
    "litellm.exceptions": (*_EXCEPTIONS, *_OWN[f"{_HERE}.more_errors"]),
    "litellm.router": _ANY,
    "litellm.cost_calculator": _ANY,
    "litellm.budget_manager": ("BudgetManager",),
    "litellm.constants": ("MAX_CALLBACKS",),
    "litellm._version": ("version",),
    "litellm._logging": _OWN[f"{_HERE}.logs"],
    "litellm.caching": _OWN[f"{_HERE}.caching"],
    "litellm.caching.caching": _OWN[f"{_HERE}.caching"],
    "litellm.caching.dual_cache": ("DualCache",),
    "litellm.caching.in_memory_cache": ("InMemoryCache",),
    "litellm.anthropic": (),
    "litellm.anthropic.messages": ("create", "acreate"),
    "litellm.anthropic_interface": (),
    "litellm.anthropic_interface.messages": ("create", "acreate"),
    "litellm.google_genai": _CONTENT,
    "litellm.responses": (),
    "litellm.responses.main": (*_RESPONSES, *(f"a{name}" for name in _RESPONSES), "ResponsesAPIResponse"),
    "litellm.responses.streaming_iterator": ("ResponsesAPIStreamingIterator", "SyncResponsesAPIStreamingIterator"),
    "litellm.integrations": (),
    "litellm.integrations.custom_logger": ("CustomLogger",),
    "litellm.integrations.custom_batch_logger": ("CustomBatchLogger",),
    "litellm.integrations.custom_guardrail": ("CustomGuardrail", "log_guardrail_information"),
    "litellm.integrations.langfuse": (),
    "litellm.integrations.langfuse.langfuse_otel": ("LangfuseOtelLogger",),
    "litellm.integrations.opik": (),
    "litellm.integrations.opik.opik": ("OpikLogger",),
    "litellm.integrations.mlflow": ("MlflowLogger",),
    "litellm.integrations.opentelemetry": ("OpenTelemetry",),
    "litellm.integrations.prometheus": ("PrometheusLogger",),
    "litellm.experimental_mcp_client": _MCP,
    "litellm.experimental_mcp_client.tools": _MCP,
    "litellm.llms": (),
    "litellm.llms.custom_llm": ("CustomLLM", "CustomLLMError"),
    "litellm.llms.custom_httpx": (),
    "litellm.llms.custom_httpx.http_handler": ("HTTPHandler", "AsyncHTTPHandler"),
    "litellm.litellm_core_utils": (),
    "litellm.litellm_core_utils.core_helpers": ("safe_deep_copy", "_FINISH_REASON_MAP"),
    "litellm.litellm_core_utils.get_llm_provider_logic": ("get_llm_provider",),
    "litellm.litellm_core_utils.get_model_cost_map": ("get_model_cost_map",),
    "litellm.litellm_core_utils.get_supported_openai_params": ("get_supported_openai_params",),
    "litellm.litellm_core_utils.json_validation_rule": ("validate_schema",),
    "litellm.litellm_core_utils.litellm_logging": ("Logging", *_OWN[f"{_HERE}.patched"]),
    "litellm.litellm_core_utils.prompt_templates": (),
    "litellm.litellm_core_utils.prompt_templates.factory": ("anthropic_messages_pt",),
    "litellm.litellm_core_utils.streaming_handler": _ANY,
    "litellm.litellm_core_utils.thread_pool_executor": ("executor",),
    "litellm.litellm_core_utils.token_counter": ("token_counter", "get_image_dimensions"),
    "litellm.proxy": (),
    "litellm.proxy._types": ("UserAPIKeyAuth",),
    "litellm.proxy.common_utils": (),
    "litellm.proxy.common_utils.callback_utils": ("add_guardrail_to_applied_guardrails_header",),
}
"""Every import path, and its names; `*` for all of `NAMES`."""

_AT: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    (path, name): ("headrace.speaking", ours)
    for path in ("litellm.anthropic.messages", "litellm.anthropic_interface.messages")
    for name, ours in (("create", "anthropic_messages"), ("acreate", "aanthropic_messages"))
} | {("litellm", "openai"): ("openai", "")}
"""Names with a meaning of their own at one path."""

BOTH: Final = frozenset(("litellm", name) for name in ("responses",))
"""Functions that share their name with a submodule, whose import must not replace them."""

_SHOWN_ERRORS: Final = frozenset({
    "APIConnectionError", "APIError", "APIResponseValidationError", "AuthenticationError", "BadGatewayError", "BadRequestError",
    "BudgetExceededError", "ContentPolicyViolationError", "ContextWindowExceededError", "ImageFetchError", "InternalServerError",
    "InvalidRequestError", "JSONSchemaValidationError", "NotFoundError", "OpenAIError", "RateLimitError", "RouterRateLimitError",
    "ServiceUnavailableError", "UnprocessableEntityError", "UnsupportedParamsError",
})  # fmt: skip
"""The exceptions that `dir(litellm)` lists: aider refuses to start if there are others."""


def home_of(path: str, name: str) -> tuple[str, str] | None:
    """The module and attribute that `path.name` refers to; the attribute is empty for the module itself."""
    if found := _AT.get((path, name)):
        return found
    within = PATHS.get(path, ())
    return NAMES.get(name) if name in within or within == _ANY else None


def listed(path: str) -> frozenset[str]:
    """The names that `dir` of a module lists."""
    within = NAMES if PATHS[path] == _ANY else PATHS[path]
    if path != "litellm":
        return frozenset(within)
    return frozenset(name for name in within if not name.endswith("Error") or name in _SHOWN_ERRORS)


_INSTEAD: Final[tuple[tuple[str, str], ...]] = (
    ("completion_extras", "chats and Responses are translated automatically: use completion or responses"),
    (
        "langfuse",
        "use litellm.success_callback = ['langfuse'], or LangfuseOtelLogger of litellm.integrations.langfuse.langfuse_otel",
    ),
    ("proxy_server", "the gateway is headrace's own: headrace serve"),
    ("litellm.llms.", "litellm's provider internals do not exist here; add providers with register_provider or CustomLLM"),
    ("llm_cost_calc", "use completion_cost or cost_per_token, which include the cost of tools"),
    ("cost_per_token", "use cost_per_token(model='provider/model', …), which covers every provider"),
    ("VertexMultimodalEmbedding", "use embedding(model='vertex_ai/multimodalembedding@001', …)"),
    ("litellm_logging", "set callbacks with litellm.callbacks and litellm.success_callback"),
    *INSTEAD,
)
"""What to use in place of a missing name, by a substring of its path."""


def missing(path: str, name: str) -> str:
    """The error message for a missing name."""
    close = difflib.get_close_matches(name, NAMES, 1, 0.8)
    instead = next((use for part, use in _INSTEAD if part in f"{path}.{name}"), "") or (
        f"did you mean {close[0]}?" if close else "use headrace's own API, or litellm itself"
    )
    return f"headrace does not offer {path}.{name}: {instead}"
