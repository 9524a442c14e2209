"""Refusals of Bedrock, by the name AWS gives each, in an HTTP reply and in mid-stream."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.dialects import failures
from headrace.dialects.base import Target
from headrace.errors import POLICY, Failure, Kind, LimitScope
from headrace.types import Json
from headrace.wire import Headers, HttpResponse

_NAMES: Final[Mapping[str, tuple[Kind, LimitScope | None]]] = {
    "accessdeniedexception": (Kind.PERMISSION, None),
    "optinrequired": (Kind.PERMISSION, None),
    "unrecognizedclientexception": (Kind.AUTHENTICATION, None),
    "invalidsignatureexception": (Kind.AUTHENTICATION, None),
    "incompletesignatureexception": (Kind.AUTHENTICATION, None),
    "signaturedoesnotmatch": (Kind.AUTHENTICATION, None),
    "missingauthenticationtokenexception": (Kind.AUTHENTICATION, None),
    "missingauthenticationtoken": (Kind.AUTHENTICATION, None),
    "invalidclienttokenid": (Kind.AUTHENTICATION, None),
    "expiredtokenexception": (Kind.AUTHENTICATION, None),
    "expiredtoken": (Kind.AUTHENTICATION, None),
    "requestexpired": (Kind.AUTHENTICATION, None),
    "notauthorized": (Kind.PERMISSION, None),
    "resourcenotfoundexception": (Kind.NOT_FOUND, None),
    "unknownoperationexception": (Kind.NOT_FOUND, None),
    "validationexception": (Kind.BAD_REQUEST, None),
    "validationerror": (Kind.BAD_REQUEST, None),
    "serializationexception": (Kind.BAD_REQUEST, None),
    "conflictexception": (Kind.BAD_REQUEST, None),
    "throttlingexception": (Kind.RATE_LIMIT, None),
    "throttling": (Kind.RATE_LIMIT, None),
    "toomanyrequestsexception": (Kind.RATE_LIMIT, None),
    "servicequotaexceededexception": (Kind.QUOTA_EXHAUSTED, None),
    "modelnotreadyexception": (Kind.OVERLOADED, "capacity"),
    "serviceunavailableexception": (Kind.OVERLOADED, "capacity"),
    "serviceunavailable": (Kind.OVERLOADED, "capacity"),
    "modeltimeoutexception": (Kind.TIMEOUT, None),
    "modelerrorexception": (Kind.SERVER, None),
    "modelstreamerrorexception": (Kind.SERVER, None),
    "internalserverexception": (Kind.SERVER, None),
    "internalfailure": (Kind.SERVER, None),
    "internalservererror": (Kind.SERVER, None),
}
"""API_runtime_Converse, API_runtime_ConverseStream and CommonErrors of Bedrock's reference, read 2026-11; in lower case."""

_TOO_LONG: Final = re.compile(
    r"input tokens exceeded|input is too long|prompt is too long|exceeds? (?:the )?maximum (?:input )?(?:length|context)|"
    r"maximum context length|context (?:window|length)|too many input tokens|too large for model",
    re.IGNORECASE,
)
_NO_MODEL: Final = re.compile(r"model identifier is invalid|could not resolve the foundation model|model .{0,80}not found", re.IGNORECASE)
_BLOCKED: Final = re.compile(r"content filter(?:ing|s)?\b|content (?:filtering )?policy|blocked by", re.IGNORECASE)
_WHO: Final = re.compile(r"security token|signature|api key|authentication|credential", re.IGNORECASE)
"""Said with status 403 of credentials that are no good, where nothing names the error; the others are good for something else."""
_DAY: Final = re.compile(r"per day|daily", re.IGNORECASE)
_TOKENS: Final = re.compile(r"\btokens\b", re.IGNORECASE)

_CANONICAL: Final = re.compile(r"\s*The Canonical String for this request.*", re.IGNORECASE | re.DOTALL)
"""A refused signature is answered with all that was signed, the session's token included."""


def read_error(response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure:
    """What an error reply means: AWS names it in a header, older services in the body."""
    bare = _decoded(response.body)
    safe = HttpResponse(response.status, response.headers, _without_canonical(response.body))
    failure = failures.read_error(safe, provider=target.provider, model=target.model, now_wall=now_wall)
    name = _short(response.headers.get("x-amzn-errortype") or "") or _named(bare)
    message = _said(bare)
    if message is not None:
        failure = msgspec.structs.replace(failure, message=f"{target.provider}: {failures.mask(message)}")
    return _classified(failure, name, message or "", response.status)


def read_inside(name: str, data: bytes, target: Target) -> Failure:
    """What an exception among a stream's messages means, or an error in the body of a reply with status 200."""
    body = _decoded(data)
    message = _said(body) or (data[:500].decode("utf-8", "replace") if data and not isinstance(body, Mapping) else "no message")
    told = failures.mask(f"{name}: {message}" if name else message)
    failure = Failure(Kind.SERVER, f"{target.provider}: {told}", provider=target.provider, model=target.model, body=body)
    return _classified(failure, name or _named(body), message, 0)


def _classified(failure: Failure, name: str, message: str, status: int) -> Failure:
    row = _NAMES.get(name.lower())
    kind, scope = row or (failure.kind, failure.scope)
    if kind is Kind.BAD_REQUEST and status in (0, 400, 413):
        kind = _of_validation(message)
    if row is None and kind is Kind.PERMISSION and _WHO.search(message):
        kind = Kind.AUTHENTICATION
    if kind in (Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED):
        scope = "day" if _DAY.search(message) else "tokens" if _TOKENS.search(message) else scope or failure.scope or "requests"
        kind = Kind.QUOTA_EXHAUSTED if scope == "day" else kind
    return msgspec.structs.replace(failure, kind=kind, scope=scope, code=name or failure.code)


def _of_validation(message: str) -> Kind:
    """A ValidationException has no finer name, only its text."""
    for pattern, kind in ((_TOO_LONG, Kind.CONTEXT_WINDOW), (_NO_MODEL, Kind.NOT_FOUND), (_BLOCKED, Kind.CONTENT_POLICY)):
        if pattern.search(message):
            return kind
    return Kind.BAD_REQUEST


def error_type(body: Mapping[str, Json]) -> str:
    """The error a body under status 200 names: AWS's front end answers so for a path it does not know. Empty for none."""
    output = body.get("Output")
    return _named(body) or _named(output)


def _named(body: Json) -> str:
    given = body.get("__type") if isinstance(body, Mapping) else None
    return _short(given) if isinstance(given, str) else ""


def _short(name: str) -> str:
    """`com.amazon.coral.service#ThrottlingException:http://…` is called ThrottlingException."""
    return name.partition(":")[0].rpartition("#")[2].strip()


def _said(body: Json) -> str | None:
    if not isinstance(body, Mapping):
        return None
    given = next((body[name] for name in ("message", "Message", "errorMessage") if isinstance(body.get(name), str)), None)
    return None if not given else _CANONICAL.sub("", given)


def _decoded(data: bytes) -> Json:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _without_canonical(body: bytes) -> bytes:
    if b"Canonical String" not in body:
        return body
    decoded = _decoded(body)
    if not isinstance(decoded, Mapping):
        return b""
    return msgspec.json.encode({name: _CANONICAL.sub("", it) if isinstance(it, str) else it for name, it in decoded.items()})


# ---- writing -----------------------------------------------------------------------------------------------------------------------

_WRITTEN: Final[Mapping[Kind, str]] = {
    Kind.AUTHENTICATION: "UnrecognizedClientException",
    Kind.PERMISSION: "AccessDeniedException",
    Kind.PAYMENT: "AccessDeniedException",
    Kind.NOT_FOUND: "ResourceNotFoundException",
    Kind.RATE_LIMIT: "ThrottlingException",
    Kind.QUEUE_FULL: "ThrottlingException",
    Kind.QUEUE_TIMEOUT: "ThrottlingException",
    Kind.BUDGET: "ServiceQuotaExceededException",
    Kind.QUOTA_EXHAUSTED: "ServiceQuotaExceededException",
    Kind.OVERLOADED: "ServiceUnavailableException",
    Kind.TIMEOUT: "ModelTimeoutException",
    Kind.SERVER: "InternalServerException",
    Kind.BAD_GATEWAY: "ModelErrorException",
    Kind.BAD_RESPONSE: "ModelErrorException",
    Kind.CONNECTION: "ModelErrorException",
    Kind.TRUNCATED: "ModelStreamErrorException",
    Kind.CONFIGURATION: "InternalServerException",
}

_IN_STREAM: Final = frozenset({
    "InternalServerException", "ModelStreamErrorException", "ServiceUnavailableException", "ThrottlingException", "ValidationException",
})  # fmt: skip
"""The exceptions that ConverseStream's clients know."""


def write_error(failure: Failure) -> HttpResponse:
    """AWS's error reply."""
    headers = {"content-type": "application/json", "x-amzn-errortype": _WRITTEN.get(failure.kind, "ValidationException")}
    if failure.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(failure.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(failure.retry_after * 1000)))
    status = failure.status if failure.status and failure.status >= 400 else POLICY[failure.kind].status
    return HttpResponse(status, Headers.of(headers), msgspec.json.encode({"message": failure.message}))


def write_inside(failure: Failure) -> tuple[str, dict[str, Json]]:
    """The exception's name and payload, for a stream that is under way."""
    name = _WRITTEN.get(failure.kind, "ValidationException")
    name = name if name in _IN_STREAM else "ModelStreamErrorException"
    return name[0].lower() + name[1:], {"message": failure.message}
