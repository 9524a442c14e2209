"""litellm's exceptions beyond headrace's own, each a subclass of one of those."""

from __future__ import annotations

from typing import Any

from headrace.errors import APIConnectionError, BadRequestError, HeadraceError, NotFoundError, RateLimitError, ServiceUnavailableError

OpenAIError = HeadraceError
AzureOpenAIError = HeadraceError
InvalidRequestError = BadRequestError
ModelNotMappedError = NotFoundError


class RouterRateLimitError(RateLimitError):
    """No deployment of a group has capacity; headrace itself raises `QueueFull` and `QueueTimeout`."""


class JSONSchemaValidationError(APIConnectionError):
    """A response that does not match the requested schema."""

    def __init__(self, model: str, llm_provider: str, raw_response: str, schema: str) -> None:
        super().__init__("the response does not match the requested schema", llm_provider, model)
        self.raw_response, self.schema = raw_response, schema


class ImageFetchError(BadRequestError):
    """An image that could not be fetched."""


class MockException(HeadraceError):
    def __init__(self, status_code: int, message: str, llm_provider: str, model: str, request: Any = None, **_: Any) -> None:
        super().__init__(message, llm_provider, model)
        self.status_code = status_code


class MidStreamFallbackError(ServiceUnavailableError):
    """An interrupted stream; headrace's own errors carry what was received (`received`)."""


class GuardrailRaisedException(Exception):
    def __init__(self, guardrail_name: str | None = None, message: str = "", **_: Any) -> None:
        super().__init__(message)
        self.guardrail_name, self.message = guardrail_name, message
