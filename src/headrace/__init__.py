"""headrace: one fast, fair channel to every LLM.

    import headrace

    answer = headrace.completion("openai/gpt-4o-mini", [{"role": "user", "content": "Hello"}])
    print(answer.choices[0].message.content)

Public names are resolved on first use: importing the package loads no other module, opens no socket and starts no thread.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "headrace.api": ("Router", "acompletion", "aembedding", "atext_completion", "completion", "embedding", "text_completion"),
    "headrace.compat.litellm": ("install_as_litellm",),
    "headrace.endpoints": (
        "aaudio_translation", "acount_tokens", "aimage_edit", "aimage_generation", "aimage_variation", "alist_models",
        "amoderation", "aocr", "arerank", "aspeech", "atranscription", "audio_translation", "count_tokens", "image_edit",
        "image_generation", "image_variation", "list_models", "moderation", "ocr", "rerank", "speech", "transcription",
    ),
    "headrace.errors": (
        "APIConnectionError", "APIError", "APIResponseValidationError", "AuthenticationError", "BadGatewayError", "BadRequestError",
        "BudgetExceededError", "ConfigurationError", "ContentPolicyViolationError", "ContextWindowExceededError", "HeadraceError",
        "InternalServerError", "NeverFits", "NotFoundError", "PaymentRequiredError", "PermissionDeniedError", "QueueFull",
        "QueueTimeout", "RateLimitError", "ServiceUnavailableError", "Timeout", "TruncatedStream", "UnprocessableEntityError",
        "UnsupportedParamsError",
    ),
    "headrace.keeping": (
        "acancel_batch", "acreate_batch", "acreate_file", "afile_content", "afile_delete", "afile_list", "afile_retrieve",
        "alist_batches", "aretrieve_batch", "cancel_batch", "create_batch", "create_file", "file_content", "file_delete",
        "file_list", "file_retrieve", "list_batches", "retrieve_batch",
    ),
    "headrace.models.counting": ("token_counter",),
    "headrace.models.info": ("completion_cost", "cost_per_token", "get_max_tokens", "get_model_info", "register_model"),
    "headrace.objects": (
        "BinaryResponse", "ChatCompletionDeltaToolCall", "ChatCompletionMessageToolCall", "Choices", "Delta", "Embedding",
        "EmbeddingResponse", "Function", "ImageObject", "ImageResponse", "ImageStreamEvent", "Message", "ModelResponse",
        "ModelResponseStream", "ModerationResponse", "OCRResponse", "RerankResponse", "StreamingChoices", "TextChoices",
        "TextCompletionResponse", "TranscriptionResponse", "TranscriptionStreamEvent", "Usage",
    ),
    "headrace.providers.catalog": ("providers", "register_provider"),
    "headrace.rebuild": ("stream_chunk_builder",),
    "headrace.routing.events": ("Event", "subscribe"),
    "headrace.runtime.caches": ("Cache",),
    "headrace.served": (
        "AnthropicMessage", "DeleteResponseResult", "GenerateContentResponse", "ResponseItemList", "ResponsesAPIResponse",
        "ResponsesAPIStreamingResponse",
    ),
    "headrace.settings": ("Settings", "settings"),
    "headrace.speaking": (
        "aanthropic_messages", "acancel_responses", "acompact_responses", "adelete_responses", "agenerate_content",
        "agenerate_content_stream", "aget_responses", "alist_input_items", "anthropic_messages", "aresponses", "cancel_responses",
        "compact_responses", "delete_responses", "generate_content", "generate_content_stream", "get_responses", "list_input_items",
        "responses",
    ),
    "headrace.streams": ("AsyncStream", "Stream"),
    "headrace.wire": ("Timeouts",),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [*sorted(_WHERE)]  # noqa: PLE0604 - all are names; the stub __init__.pyi serves type checkers, and a test keeps the two in step


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        return _litellm(name)
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def _litellm(name: str) -> Any:
    """An attribute that only litellm has, for `import headrace as litellm`. Never shadows a submodule of headrace."""
    from importlib.util import find_spec

    if not name.startswith("__") and find_spec(f"headrace.{name}") is None:
        try:
            return import_module("headrace.compat.litellm").offer(name)
        except AttributeError as error:
            raise AttributeError(f"module 'headrace' has no attribute {name!r} ({error})") from None
    raise AttributeError(f"module 'headrace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _shared(name: str) -> property:
    """A public object that shares its name with a submodule. Importing the submodule does not replace it."""

    def read(face: ModuleType) -> Any:
        return vars(face)[name] if name in vars(face) else getattr(import_module(_WHERE[name]), name)

    def bind(face: ModuleType, value: Any) -> None:
        if not isinstance(value, ModuleType):
            vars(face)[name] = value

    def unbind(face: ModuleType) -> None:
        vars(face).pop(name, None)

    return property(read, bind, unbind)


class _Face(ModuleType):
    settings = _shared("settings")
    providers = _shared("providers")

    def __setattr__(self, name: str, value: Any) -> None:
        """Support `litellm.drop_params = True` with `import headrace as litellm`: settings are stored where calls look them up."""
        if name in _WHERE or name.startswith("__") or isinstance(value, ModuleType):
            super().__setattr__(name, value)
        else:
            import_module("headrace.compat.litellm").accept(name, value)


sys.modules[__name__].__class__ = _Face
