"""Error replies of OpenAI-compatible providers as `Failure`s: code before status, a text only where there is no code.

The shapes are those of research on recorded traffic (2024-10 to 2026-09): an `error` object, an `error` text, `detail`,
`message` beside `code`, a list, a bare text, an HTML page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from headrace.dialects.durations import hinted, seconds
from headrace.dialects.quota import read_quota
from headrace.errors import Failure, Kind, LimitScope
from headrace.wire import HttpResponse


@dataclass(frozen=True, slots=True)
class Said:
    """What an error body says, whatever its shape."""

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    hint: float | None = None
    """Seconds to wait, from the body's own field."""


_CODES: Final[Mapping[str, tuple[Kind, LimitScope | None]]] = {
    "context_length_exceeded": (Kind.CONTEXT_WINDOW, None),
    "too_many_tokens": (Kind.CONTEXT_WINDOW, None),
    "too_many_prompt_tokens": (Kind.CONTEXT_WINDOW, None),
    "model_max_prompt_tokens_exceeded": (Kind.CONTEXT_WINDOW, None),
    "string_above_max_length": (Kind.CONTEXT_WINDOW, None),
    "content_filter": (Kind.CONTENT_POLICY, None),
    "content_policy_violation": (Kind.CONTENT_POLICY, None),
    "data_inspection_failed": (Kind.CONTENT_POLICY, None),
    "moderation_blocked": (Kind.CONTENT_POLICY, None),
    "invalid_api_key": (Kind.AUTHENTICATION, None),
    "incorrect_api_key": (Kind.AUTHENTICATION, None),
    "api_key_invalid": (Kind.AUTHENTICATION, None),
    "authentication_error": (Kind.AUTHENTICATION, None),
    "permission_error": (Kind.PERMISSION, None),
    "account_deactivated": (Kind.PERMISSION, None),
    "unsupported_country_region_territory": (Kind.PERMISSION, None),
    "model_not_found": (Kind.NOT_FOUND, None),
    "not_found_error": (Kind.NOT_FOUND, None),
    "deploymentnotfound": (Kind.NOT_FOUND, None),
    "modelnotfound": (Kind.NOT_FOUND, None),
    "invalidendpointormodel.notfound": (Kind.NOT_FOUND, None),
    "rate_limit_exceeded": (Kind.RATE_LIMIT, None),
    "rate_limit_reached_error": (Kind.RATE_LIMIT, None),
    "rate_limit_error": (Kind.RATE_LIMIT, None),
    "ratelimitreached": (Kind.RATE_LIMIT, None),
    "throttling.ratequota": (Kind.RATE_LIMIT, "requests"),
    "throttling.allocationquota": (Kind.RATE_LIMIT, "tokens"),
    "throttling.burstrate": (Kind.RATE_LIMIT, "requests"),
    "limit_requests": (Kind.RATE_LIMIT, "requests"),
    "limit_burst_rate": (Kind.RATE_LIMIT, "requests"),
    "ratelimitexceeded.endpointrpmexceeded": (Kind.RATE_LIMIT, "requests"),
    "ratelimitexceeded.endpointtpmexceeded": (Kind.RATE_LIMIT, "tokens"),
    "modelaccountrpmratelimitexceeded": (Kind.RATE_LIMIT, "requests"),
    "modelaccounttpmratelimitexceeded": (Kind.RATE_LIMIT, "tokens"),
    "modelaccountipmratelimitexceeded": (Kind.RATE_LIMIT, "requests"),
    "accountratelimitexceeded": (Kind.RATE_LIMIT, "requests"),
    "insufficient_quota": (Kind.QUOTA_EXHAUSTED, "spend"),
    "exceeded_current_quota_error": (Kind.QUOTA_EXHAUSTED, "spend"),
    "enforced_spend_limit_reached": (Kind.QUOTA_EXHAUSTED, "spend"),
    "quotaexceeded": (Kind.QUOTA_EXHAUSTED, "day"),
    "billing_hard_limit_reached": (Kind.PAYMENT, "spend"),
    "billing_not_active": (Kind.PAYMENT, "spend"),
    "billing_error": (Kind.PAYMENT, "spend"),
    "accountoverdueerror": (Kind.PAYMENT, "spend"),
    "arrearage": (Kind.PAYMENT, "spend"),
    "overloaded_error": (Kind.OVERLOADED, "capacity"),
    "engine_overloaded_error": (Kind.OVERLOADED, "capacity"),
    "serveroverloaded": (Kind.OVERLOADED, "capacity"),
    "capacity_exceeded": (Kind.OVERLOADED, "capacity"),
    "server_overloaded": (Kind.OVERLOADED, "capacity"),
}
"""Codes and types that providers give, in lower case."""

# docs.z.ai/api-reference/api-code, read 2026-11: Z.ai says everything in its own numbers, arrears as 429 too.
_ZAI: Final[Mapping[str, tuple[Kind, LimitScope | None]]] = {
    "1113": (Kind.PAYMENT, "spend"),
    "1301": (Kind.CONTENT_POLICY, None),
    "1302": (Kind.RATE_LIMIT, "concurrency"),
    "1303": (Kind.RATE_LIMIT, "requests"),
    "1304": (Kind.QUOTA_EXHAUSTED, "day"),
    "1305": (Kind.OVERLOADED, "capacity"),
    "1308": (Kind.QUOTA_EXHAUSTED, "day"),
}
_OWN_CODES: Final = {"zai": _ZAI, "zhipuai": _ZAI, "bigmodel": _ZAI}

_STATUSES: Final[Mapping[int, Kind]] = {
    400: Kind.BAD_REQUEST,
    401: Kind.AUTHENTICATION,
    402: Kind.PAYMENT,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    405: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.SERVER,
    413: Kind.BAD_REQUEST,
    422: Kind.UNPROCESSABLE,
    425: Kind.SERVER,
    429: Kind.RATE_LIMIT,
    498: Kind.OVERLOADED,  # Groq: no flex capacity
    500: Kind.SERVER,
    502: Kind.BAD_GATEWAY,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    524: Kind.TIMEOUT,  # Cloudflare: the origin did not answer in time
    529: Kind.OVERLOADED,
}

_TOO_LONG: Final = re.compile(
    r"maximum context length|context (?:length|window)|prompt (?:is )?too long|maximum number of tokens|token limit|"
    r"too many (?:input |prompt )?tokens|input is too long|exceeded max context",
    re.IGNORECASE,
)
"""What providers say of a prompt beyond the context window where they give no code for it."""

_BAD_KEY: Final = re.compile(r"(?:incorrect|invalid) api key|api key not valid", re.IGNORECASE)
"""Said with status 400 by xAI and Gemini."""

_SCOPES: Final[tuple[tuple[LimitScope, re.Pattern[str]], ...]] = (
    ("day", re.compile(r"per day|\b[RT]PD\b|\bIPD\b|daily", re.IGNORECASE)),
    ("concurrency", re.compile(r"concurren", re.IGNORECASE)),
    ("tokens", re.compile(r"tokens? per min|\b[IO]?TPM\b|\btokens\b", re.IGNORECASE)),
    ("requests", re.compile(r"requests? per|\bRPM\b|\bRPS\b|\brequests\b|\bQPM\b", re.IGNORECASE)),
)

_SECRET: Final = re.compile(r"\b((?:sk|pk|rk|gsk|xai|pplx|hf|nvapi|csk|fw|tgp|key|Bearer)[-_ ]|AIza)[\w.*-]{8,}")


def read_error(response: HttpResponse, *, provider: str, model: str, now_wall: float | None = None) -> Failure:
    """What an error reply means. Texts are kept but for anything that looks like a key."""
    body = _parsed(response.body)
    said = read_said(body, response)
    kind, scope = classify(said, response.status, provider)
    return Failure(
        kind,
        f"{provider}: " + _SECRET.sub(r"\1…", said.message),
        status=response.status,
        provider=provider,
        model=model,
        code=said.code or said.type,
        param=said.param,
        retry_after=_retry_after(response, said, kind, now_wall),
        scope=scope,
        retryable=_retryable(response, said),
        body=body,
        headers=response.headers,
    )


def _parsed(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body[:4096].decode("utf-8", "replace")


def read_said(body: Any, response: HttpResponse) -> Said:
    """The parts of an error body."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, str):
        return Said(_page(body, response))
    if not isinstance(body, Mapping):
        return Said(f"status {response.status} with a body of {len(response.body)} bytes")
    error = body.get("error")
    if isinstance(error, Mapping):
        return _error_object(error)
    if error is not None:
        return Said(_text(error), _code(body.get("code")))
    if "detail" in body:
        return Said(_text(body["detail"]), _code(body.get("code")), _code(body.get("type")))
    message = body.get("message") or body.get("msg") or body.get("errorMessage")
    code = _code(body.get("code")) or _code(body.get("error_type")) or _aws_type(response)
    return Said(_text(message) if message else f"status {response.status}", code, _code(body.get("type")), _code(body.get("param")))


def _error_object(error: Mapping[str, Any]) -> Said:
    message = _text(error.get("message") or error.get("type") or error.get("code") or "no message")
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("raw"):
        message = f"{message} ({_text(metadata['raw'])})"  # OpenRouter: the provider's own words
    reason, hint = _details(error.get("details"))
    code = reason or _code(error.get("code")) or _code(error.get("status"))
    return Said(message, code, _code(error.get("type")), _code(error.get("param")), hint)


def _details(details: Any) -> tuple[str | None, float | None]:
    """Google's error details: the reason, and the delay it asks for."""
    reason: str | None = None
    delay: float | None = None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            reason = reason or _code(detail.get("reason"))
            if isinstance(given := detail.get("retryDelay"), str):
                delay = seconds(given)
    return reason, delay


def _code(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(_text(item) for item in value)
    if isinstance(value, Mapping):
        return _text(value.get("message") or value.get("msg") or sorted(value))
    return str(value)


def _page(text: str, response: HttpResponse) -> str:
    text = text.strip()
    if not text:
        return f"status {response.status} with an empty body"
    if text[:1] == "<":
        title = re.search(r"<title>([^<]{1,200})</title>", text, re.IGNORECASE)
        return f"status {response.status} with an HTML page{f': {title.group(1).strip()}' if title else ''}"
    return text[:500]


def _aws_type(response: HttpResponse) -> str | None:
    given = response.headers.get("x-amzn-errortype")
    return None if given is None else given.partition(":")[0]


def classify(said: Said, status: int, provider: str) -> tuple[Kind, LimitScope | None]:
    """The kind of an error, and which limit a refusal was about. Code, then type, then status; texts for what neither says."""
    own = _OWN_CODES.get(provider, {})
    for code in (said.code, said.type):
        if code is not None and (row := own.get(code) or _CODES.get(code.lower())):
            kind, scope = row
            if kind is Kind.RATE_LIMIT and status == 413:
                return Kind.NEVER_FITS, "tokens"  # Groq: one request above the whole minute's tokens
            return kind, scope or (_scope(said) if kind is Kind.RATE_LIMIT else None)
    kind = _STATUSES.get(status) or (Kind.BAD_RESPONSE if status < 400 else Kind.BAD_REQUEST if status < 500 else Kind.SERVER)
    if status in (400, 413, 422, 500) and _TOO_LONG.search(said.message):
        return Kind.CONTEXT_WINDOW, None
    if status == 400 and _BAD_KEY.search(said.message):
        return Kind.AUTHENTICATION, None
    return kind, _scope(said) if kind is Kind.RATE_LIMIT else "capacity" if kind is Kind.OVERLOADED else None


def _scope(said: Said) -> LimitScope | None:
    if said.type in ("tokens", "requests"):
        return "tokens" if said.type == "tokens" else "requests"
    return next((scope for scope, pattern in _SCOPES if pattern.search(said.message)), None)


def _retryable(response: HttpResponse, said: Said) -> bool | None:
    """The provider's own word on trying again."""
    given = response.headers.get("x-should-retry")
    if given in ("true", "false"):
        return given == "true"
    # Groq: what the model wrote did not fit the tool's schema; another draw may.
    return True if said.code == "tool_use_failed" else None


_WAITS: Final = frozenset({Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED, Kind.OVERLOADED, Kind.SERVER, Kind.BAD_GATEWAY, Kind.TIMEOUT})


def _retry_after(response: HttpResponse, said: Said, kind: Kind, wall: float | None) -> float | None:
    """Seconds asked for; None where nobody said. Zero says nothing: Azure sends it (seen 2025), and obeying it is a hot loop."""
    if kind not in _WAITS:
        return None
    headers = response.headers
    milliseconds = seconds(headers.get("retry-after-ms", ""), wall)
    given = (
        None if milliseconds is None else milliseconds / 1000,
        seconds(headers.get("retry-after", ""), wall),
        said.hint,
        hinted(said.message),
        _exhausted_reset(response, wall),
    )
    return next((wait for wait in given if wait), None)


def _exhausted_reset(response: HttpResponse, wall: float | None) -> float | None:
    """The longest reset among limits that have nothing left."""
    resets = [view.reset for view in read_quota(response.headers, now_wall=wall) if view.remaining == 0 and view.reset]
    return max(resets, default=None)
