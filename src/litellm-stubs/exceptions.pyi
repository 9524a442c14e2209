from typing import Any

from headrace.errors import APIConnectionError as APIConnectionError
from headrace.errors import APIError as APIError
from headrace.errors import APIResponseValidationError as APIResponseValidationError
from headrace.errors import AuthenticationError as AuthenticationError
from headrace.compat.litellm.more_errors import AzureOpenAIError as AzureOpenAIError
from headrace.errors import BadGatewayError as BadGatewayError
from headrace.errors import BadRequestError as BadRequestError
from headrace.errors import BudgetExceededError as BudgetExceededError
from headrace.errors import ConfigurationError as ConfigurationError
from headrace.errors import ContentPolicyViolationError as ContentPolicyViolationError
from headrace.errors import ContextWindowExceededError as ContextWindowExceededError
from headrace.compat.litellm.more_errors import GuardrailRaisedException as GuardrailRaisedException
from headrace.errors import HeadraceError as HeadraceError
from headrace.compat.litellm.more_errors import ImageFetchError as ImageFetchError
from headrace.errors import InternalServerError as InternalServerError
from headrace.compat.litellm.more_errors import InvalidRequestError as InvalidRequestError
from headrace.compat.litellm.more_errors import JSONSchemaValidationError as JSONSchemaValidationError
from headrace.compat.litellm.more_errors import MidStreamFallbackError as MidStreamFallbackError
from headrace.compat.litellm.more_errors import MockException as MockException
from headrace.compat.litellm.more_errors import ModelNotMappedError as ModelNotMappedError
from headrace.errors import NeverFits as NeverFits
from headrace.errors import NotFoundError as NotFoundError
from headrace.compat.litellm.more_errors import OpenAIError as OpenAIError
from headrace.errors import PaymentRequiredError as PaymentRequiredError
from headrace.errors import PermissionDeniedError as PermissionDeniedError
from headrace.errors import QueueFull as QueueFull
from headrace.errors import QueueTimeout as QueueTimeout
from headrace.errors import RateLimitError as RateLimitError
from headrace.compat.litellm.more_errors import RouterRateLimitError as RouterRateLimitError
from headrace.errors import ServiceUnavailableError as ServiceUnavailableError
from headrace.errors import Timeout as Timeout
from headrace.errors import TruncatedStream as TruncatedStream
from headrace.errors import UnprocessableEntityError as UnprocessableEntityError
from headrace.errors import UnsupportedParamsError as UnsupportedParamsError
from headrace.errors import _ModelFirst as _ModelFirst

__all__ = ["APIConnectionError", "APIError", "APIResponseValidationError", "AuthenticationError", "AzureOpenAIError", "BadGatewayError", "BadRequestError", "BudgetExceededError", "ConfigurationError", "ContentPolicyViolationError", "ContextWindowExceededError", "GuardrailRaisedException", "HeadraceError", "ImageFetchError", "InternalServerError", "InvalidRequestError", "JSONSchemaValidationError", "MidStreamFallbackError", "MockException", "ModelNotMappedError", "NeverFits", "NotFoundError", "OpenAIError", "PaymentRequiredError", "PermissionDeniedError", "QueueFull", "QueueTimeout", "RateLimitError", "RouterRateLimitError", "ServiceUnavailableError", "Timeout", "TruncatedStream", "UnprocessableEntityError", "UnsupportedParamsError", "_ModelFirst"]

def __getattr__(name: str) -> Any: ...
