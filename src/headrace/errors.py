"""One table of failures: whose fault, whether a retry can help, what should cool down, and which exception is raised.

    HeadraceError
    ├── ConfigurationError             (also ValueError)
    ├── BadRequestError 400
    │   ├── ContextWindowExceededError
    │   ├── ContentPolicyViolationError
    │   ├── UnsupportedParamsError
    │   ├── PaymentRequiredError 402
    │   └── NeverFits                  a request larger than a limit
    ├── AuthenticationError 401 · PermissionDeniedError 403 · NotFoundError 404
    ├── Timeout 408 · UnprocessableEntityError 422
    ├── RateLimitError 429
    │   ├── QueueFull · QueueTimeout   refused by headrace's own queue; `retry_after` says when to retry
    │   └── BudgetExceededError
    ├── InternalServerError 500 · BadGatewayError 502 · ServiceUnavailableError 503
    ├── APIError 500 · APIConnectionError 500
    │   └── TruncatedStream            a stream that ended before it was complete
    └── APIResponseValidationError     a response that cannot be parsed

The class names are those of litellm and the OpenAI SDK, and siblings there are siblings here: `except APIError`
does not catch a RateLimitError.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Mapping
from typing import Any, Final, Literal, Self, TypeVar

import msgspec
from msgspec import Struct

from headrace.wire import Fault, TransportError


class Kind(enum.Enum):
    """The kind of a failure. Retries, fallbacks and cooldowns are decided by it."""

    BAD_REQUEST = "bad_request"
    CONTEXT_WINDOW = "context_window"
    CONTENT_POLICY = "content_policy"
    UNSUPPORTED_PARAMS = "unsupported_params"
    NEVER_FITS = "never_fits"
    AUTHENTICATION = "authentication"
    PAYMENT = "payment"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    UNPROCESSABLE = "unprocessable"
    RATE_LIMIT = "rate_limit"
    QUOTA_EXHAUSTED = "quota_exhausted"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    BUDGET = "budget"
    OVERLOADED = "overloaded"
    SERVER = "server"
    BAD_GATEWAY = "bad_gateway"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TRUNCATED = "truncated"
    BAD_RESPONSE = "bad_response"
    CONFIGURATION = "configuration"


LimitScope = Literal["requests", "tokens", "day", "concurrency", "capacity", "spend"]
"""Which limit a 429 was about, where the provider says so."""


class Failure(Struct, frozen=True):
    """One failed attempt, classified once where the response was read, never again from its text."""

    kind: Kind
    message: str
    status: int | None = None
    provider: str = ""
    model: str = ""
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    """Seconds, as the provider requested."""
    scope: LimitScope | None = None
    sent: bool = True
    """Whether the provider may have started processing the request."""
    retryable: bool | None = None
    """The provider's own statement (`x-should-retry`); takes precedence over the table."""
    body: Any = None
    """The error body as the provider sent it: parsed JSON, else text."""
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"<Failure {self.kind.value} {self.status or ''} {self.provider}/{self.model}: {self.message}>"


class Policy(Struct, frozen=True):
    """What a kind of failure means for the next step."""

    fault: Literal["caller", "key", "provider", "network", "us"]
    here: bool
    """Whether a retry on the same deployment can help."""
    elsewhere: bool
    """Whether another deployment can help."""
    cool: Literal["limit", "deployment", "key", "model"] | None
    """What cools down: nothing, the limit that was hit, the deployment, its key, or the underlying model."""
    status: int
    """HTTP status for our caller if the provider gave none."""


def _row(fault: Any, here: bool, elsewhere: bool, cool: Any, status: int) -> Policy:
    return Policy(fault, here, elsewhere, cool, status)


POLICY: Final[Mapping[Kind, Policy]] = {
    #                               fault       here   elsewhere  cool          status
    Kind.BAD_REQUEST:          _row("caller",   False, False,     None,         400),
    Kind.CONTEXT_WINDOW:       _row("caller",   False, False,     None,         400),
    Kind.CONTENT_POLICY:       _row("caller",   False, False,     None,         400),
    Kind.UNSUPPORTED_PARAMS:   _row("caller",   False, False,     None,         400),
    # A request that exceeds one deployment's limit may fit another's.
    Kind.NEVER_FITS:           _row("caller",   False, True,      None,         400),
    Kind.AUTHENTICATION:       _row("key",      False, True,      "key",        401),
    Kind.PAYMENT:              _row("key",      False, True,      "key",        402),
    Kind.PERMISSION:           _row("key",      False, True,      "key",        403),
    Kind.NOT_FOUND:            _row("caller",   False, True,      "model",      404),
    Kind.UNPROCESSABLE:        _row("caller",   False, False,     None,         422),
    Kind.RATE_LIMIT:           _row("provider", True,  True,      "limit",      429),
    # A spend cap or a used-up daily quota does not recover within a call: cool down the key, go elsewhere.
    Kind.QUOTA_EXHAUSTED:      _row("key",      False, True,      "key",        429),
    Kind.QUEUE_FULL:           _row("us",       False, False,     None,         429),
    Kind.QUEUE_TIMEOUT:        _row("us",       False, False,     None,         429),
    Kind.BUDGET:               _row("caller",   False, False,     None,         429),
    # Capacity across all callers (529, 503): another key will not help, another provider may.
    Kind.OVERLOADED:           _row("provider", True,  True,      "deployment", 503),
    Kind.SERVER:               _row("provider", True,  True,      "deployment", 500),
    Kind.BAD_GATEWAY:          _row("provider", True,  True,      "deployment", 502),
    Kind.TIMEOUT:              _row("provider", True,  True,      "deployment", 408),
    Kind.CONNECTION:           _row("network",  True,  True,      "deployment", 500),
    Kind.TRUNCATED:            _row("provider", True,  True,      "deployment", 502),
    Kind.BAD_RESPONSE:         _row("provider", False, True,      "deployment", 502),
    Kind.CONFIGURATION:        _row("us",       False, False,     None,         500),
}  # fmt: skip


class ErrorResponse(Struct, frozen=True):
    """The response behind an exception, readable like httpx's. Keys repeated in it are masked."""

    status_code: int
    headers: Mapping[str, str]
    body: Any = None

    @property
    def text(self) -> str:
        return self.body if isinstance(self.body, str) else "" if self.body is None else msgspec.json.encode(self.body).decode()

    @property
    def content(self) -> bytes:
        return self.text.encode()

    def json(self) -> Any:
        """The parsed body. Raises ValueError if it is not JSON."""
        return msgspec.json.decode(self.text) if isinstance(self.body, str) else self.body

    def __repr__(self) -> str:
        return f"<ErrorResponse {self.status_code}>"


def _response_of(failure: Failure) -> ErrorResponse | None:
    return None if failure.status is None else ErrorResponse(failure.status, failure.headers, failure.body)


def _type_of(failure: Failure) -> str:
    """The provider's `error.type` where it has one, else the failure kind."""
    body = failure.body[0] if isinstance(failure.body, list) and failure.body else failure.body
    error = body.get("error") if isinstance(body, Mapping) else None
    own = error.get("type") if isinstance(error, Mapping) else None
    return own if isinstance(own, str) and own else failure.kind.value


E = TypeVar("E", bound=BaseException)


def again(error: E) -> E:
    """A copy of a stored error, to be raised in its place.

    A traceback references every frame it passed and their locals. Raising the stored error itself would create a
    reference cycle that only the garbage collector frees.
    """
    twin = copy.copy(error).with_traceback(None)
    twin.__cause__ = error.__cause__
    return twin


class HeadraceError(Exception):
    """Base class of everything headrace raises. `message` may be reassigned and `str()` follows, as programs written
    for litellm expect."""

    kind: Kind = Kind.SERVER
    received: str | None = None
    """The text of a Router's stream that had arrived before this error ended it."""

    def __init__(
        self,
        message: str,
        llm_provider: str | None = None,
        model: str | None = None,
        response: Any = None,
        *,
        body: Any = None,
        failure: Failure | None = None,
        litellm_debug_info: str | None = None,
        max_retries: int | None = None,
        num_retries: int | None = None,
        **_: Any,
    ) -> None:
        self._set(message, llm_provider, model, response, body, failure)
        self.litellm_debug_info = litellm_debug_info
        self.max_retries = max_retries
        self.num_retries = num_retries

    def _set(self, message: str, provider: str | None, model: str | None, response: Any, body: Any, failure: Failure | None) -> None:
        Exception.__init__(self, message)  # not super(): the OpenAI SDK's classes may be further bases (compat.litellm.openai_bases)
        self.failure = failure or Failure(
            type(self).kind, message, getattr(response, "status_code", None), provider or "", model or "", body=body
        )
        self.message = message
        self.llm_provider = provider or self.failure.provider
        self.model = model or self.failure.model
        self.response = response if response is not None else _response_of(self.failure)
        self.body = body if body is not None else self.failure.body
        self.status_code = self.failure.status or POLICY[self.failure.kind].status
        self.code = self.failure.code
        self.param = self.failure.param
        self.type: str | None = _type_of(self.failure)

    @classmethod
    def of(cls, failure: Failure) -> Self:
        """The exception for `failure`, independent of the constructor's argument order."""
        error = cls.__new__(cls)
        HeadraceError.__init__(error, failure.message, failure.provider, failure.model, failure=failure)
        return error

    @property
    def retry_after(self) -> float | None:
        """Seconds until a retry makes sense; None if unknown."""
        return self.failure.retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        return self.failure.headers

    litellm_response_headers = headers

    @property
    def request_id(self) -> str | None:
        headers = self.failure.headers
        return headers.get("x-request-id") or headers.get("request-id")

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        where = "/".join(part for part in (self.llm_provider, self.model) if part)
        return f"<{type(self).__name__} {self.status_code}{' ' + where if where else ''}: {self.message}>"

    def __reduce__(self) -> tuple[object, ...]:
        plain = msgspec.structs.replace(self.failure, headers=dict(self.failure.headers), message=self.message)
        return _rebuild, (type(self), plain)


def _rebuild(cls: type[HeadraceError], failure: Failure) -> HeadraceError:
    return cls.of(failure)


class _ModelFirst(HeadraceError):
    """Base of the classes whose second positional argument is the model, as in litellm."""

    def __init__(
        self, message: str, model: str | None = None, llm_provider: str | None = None, response: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(message, llm_provider, model, response, **kwargs)


class ConfigurationError(HeadraceError, ValueError):
    """Invalid configuration. The message names the field, the shape of its value and the fix."""

    kind = Kind.CONFIGURATION


class BadRequestError(_ModelFirst):
    kind = Kind.BAD_REQUEST


class ContextWindowExceededError(BadRequestError):
    kind = Kind.CONTEXT_WINDOW


class ContentPolicyViolationError(BadRequestError):
    kind = Kind.CONTENT_POLICY


class UnsupportedParamsError(BadRequestError):
    """A parameter that the provider's dialect cannot express; `drop_params=True` omits it instead."""

    kind = Kind.UNSUPPORTED_PARAMS


class NeverFits(BadRequestError):
    """A request larger than a limit that applies to it: waiting would not help."""

    kind = Kind.NEVER_FITS


class AuthenticationError(HeadraceError):
    kind = Kind.AUTHENTICATION


class PaymentRequiredError(BadRequestError):
    kind = Kind.PAYMENT


class PermissionDeniedError(HeadraceError):
    kind = Kind.PERMISSION


class NotFoundError(_ModelFirst):
    kind = Kind.NOT_FOUND


class UnprocessableEntityError(_ModelFirst):
    kind = Kind.UNPROCESSABLE


class Timeout(_ModelFirst):
    kind = Kind.TIMEOUT


class RateLimitError(HeadraceError):
    """The provider's limit, or ours. `retry_after` holds the seconds to wait, if known."""

    kind = Kind.RATE_LIMIT

    @property
    def category(self) -> str:
        """Whose limit it was, as litellm spells it."""
        return "litellm_rate_limit" if self.failure.kind in _OURS else "vendor_rate_limit"

    @property
    def rate_limit_type(self) -> str | None:
        """Which limit it was, as litellm spells it; `failure.scope` also tells daily and capacity limits."""
        if self.failure.kind is Kind.BUDGET:
            return "budget"
        return _LIMIT_TYPES.get(self.failure.scope or "")


_OURS: Final = frozenset({Kind.QUEUE_FULL, Kind.QUEUE_TIMEOUT, Kind.BUDGET})
_LIMIT_TYPES: Final[Mapping[str, str]] = {
    "requests": "requests", "tokens": "tokens", "concurrency": "concurrent_requests", "spend": "budget",
}  # fmt: skip


class QueueFull(RateLimitError):
    kind = Kind.QUEUE_FULL


class QueueTimeout(RateLimitError):
    """The call could not have started before its deadline. Raised at once, without waiting."""

    kind = Kind.QUEUE_TIMEOUT


class BudgetExceededError(RateLimitError):
    """A budget is spent. Also accepts litellm's form, `BudgetExceededError(current_cost, max_budget)` in dollars."""

    kind = Kind.BUDGET
    current_cost: float | None = None
    max_budget: float | None = None

    def __init__(
        self,
        message: str | float | None = None,
        llm_provider: str | float | None = None,
        model: str | None = None,
        response: Any = None,
        *,
        current_cost: float | None = None,
        max_budget: float | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(message, int | float):
            message, current_cost = None, message
        if isinstance(llm_provider, int | float):
            llm_provider, max_budget = None, llm_provider
        said = message or f"Budget has been exceeded! Current cost: {current_cost}, Max budget: {max_budget}"
        super().__init__(said, llm_provider, model, response, **kwargs)
        self.current_cost, self.max_budget = current_cost, max_budget


class InternalServerError(HeadraceError):
    kind = Kind.SERVER


class BadGatewayError(HeadraceError):
    kind = Kind.BAD_GATEWAY


class ServiceUnavailableError(HeadraceError):
    kind = Kind.OVERLOADED


class APIError(HeadraceError):
    """A failure whose status has no class of its own."""

    kind = Kind.SERVER

    def __init__(
        self,
        status_code: int | str = 500,
        message: str = "",
        llm_provider: str | None = None,
        model: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(message, llm_provider, model, **kwargs)
        self.status_code = int(status_code) if str(status_code).isdigit() else 500
        self.request = request


class APIConnectionError(HeadraceError):
    kind = Kind.CONNECTION


class TruncatedStream(APIConnectionError):
    """A stream that ended before it was complete. What had arrived by then was already handed out."""

    kind = Kind.TRUNCATED


class APIResponseValidationError(HeadraceError):
    """A response that violates its dialect: broken JSON, an HTML page, a missing field."""

    kind = Kind.BAD_RESPONSE


EXCEPTION: Final[Mapping[Kind, type[HeadraceError]]] = {
    cls.kind: cls
    for cls in (
        BadRequestError, ContextWindowExceededError, ContentPolicyViolationError, UnsupportedParamsError, NeverFits,
        AuthenticationError, PaymentRequiredError, PermissionDeniedError, NotFoundError, UnprocessableEntityError,
        Timeout, RateLimitError, QueueFull, QueueTimeout, BudgetExceededError, InternalServerError, BadGatewayError,
        ServiceUnavailableError, APIConnectionError, TruncatedStream, APIResponseValidationError, ConfigurationError,
    )
} | {Kind.QUOTA_EXHAUSTED: RateLimitError}  # fmt: skip


def error_of(failure: Failure) -> HeadraceError:
    """The exception to raise for `failure`."""
    return EXCEPTION[failure.kind].of(failure)


KIND_OF_FAULT: Final[Mapping[Fault, Kind]] = {
    Fault.CONNECT: Kind.CONNECTION,
    Fault.TLS: Kind.CONNECTION,
    Fault.PROXY: Kind.CONNECTION,
    Fault.CLOSED: Kind.CONNECTION,
    Fault.CONNECT_TIMEOUT: Kind.TIMEOUT,
    Fault.FIRST_BYTE_TIMEOUT: Kind.TIMEOUT,
    Fault.BETWEEN_BYTES_TIMEOUT: Kind.TIMEOUT,
    Fault.TOTAL_TIMEOUT: Kind.TIMEOUT,
    Fault.PROTOCOL: Kind.BAD_RESPONSE,
    Fault.TOO_LARGE: Kind.BAD_RESPONSE,
}


def failure_of(error: TransportError, *, provider: str, model: str, host: str, streaming: bool = False) -> Failure:
    """A transport error as a Failure. `streaming`: the response had begun to reach the caller, so a close means truncation."""
    kind = Kind.TRUNCATED if streaming and error.fault is Fault.CLOSED else KIND_OF_FAULT[error.fault]
    return Failure(kind, f"{host}: {error}", provider=provider, model=model, sent=error.sent)
