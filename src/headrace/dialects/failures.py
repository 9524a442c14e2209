"""Error replies as `Failure`s, whatever their shape: code before status, a text only where there is no code.

Shapes seen in recorded traffic (2024-10 to 2026-09) or documented: an `error` object, an `error` text, `detail`, `message` beside `code`,
a list, a bare text, an HTML page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects.durations import hinted, seconds
from headrace.dialects.quota import DAY, read_quota
from headrace.errors import Failure, Kind, LimitScope
from headrace.limits.view import QuotaView
from headrace.wire import Headers, HttpResponse


class Said(Struct, frozen=True):
    """What an error body says, whatever its shape."""

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    hint: float | None = None
    """Seconds to wait, from the body's own field."""
    status: int | None = None
    """The HTTP status the body itself speaks of: all there is to go by under a 200."""
    quota: str = ""
    """Google's names of the quotas that were hit."""


_CODES: Final[Mapping[str, tuple[Kind, LimitScope | None]]] = {
    "context_length_exceeded": (Kind.CONTEXT_WINDOW, None),
    "too_many_tokens": (Kind.CONTEXT_WINDOW, None),
    "too_many_prompt_tokens": (Kind.CONTEXT_WINDOW, None),
    "model_max_prompt_tokens_exceeded": (Kind.CONTEXT_WINDOW, None),
    "string_above_max_length": (Kind.CONTEXT_WINDOW, None),
    "exceed_context_size_error": (Kind.CONTEXT_WINDOW, None),
    "request_too_large": (Kind.BAD_REQUEST, None),
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
    "model_decommissioned": (Kind.NOT_FOUND, None),
    "invalid_model": (Kind.NOT_FOUND, None),
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
    "insufficient_system_resource": (Kind.OVERLOADED, "capacity"),
    "timeout_error": (Kind.TIMEOUT, None),
}
"""Codes and types that providers give, in lower case."""

_ALONE: Final[Mapping[str, Kind]] = {
    "invalid_request_error": Kind.BAD_REQUEST,
    "invalid_request": Kind.BAD_REQUEST,
    "requests": Kind.RATE_LIMIT,
    "tokens": Kind.RATE_LIMIT,
    "service_unavailable": Kind.OVERLOADED,
    "timeout": Kind.TIMEOUT,
}
"""Types that say less than a status, for errors that come without one: inside a stream."""

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
# help.aliyun.com/model-studio/error-code, read 2026-11: the minute's allocation is used up, not the account's money.
_DASHSCOPE: Final[Mapping[str, tuple[Kind, LimitScope | None]]] = {"insufficient_quota": (Kind.RATE_LIMIT, "tokens")}
# docs.siliconflow.com/en/faqs/error-code, read 2026-11
_SILICONFLOW: Final[Mapping[str, tuple[Kind, LimitScope | None]]] = {"20012": (Kind.NOT_FOUND, None)}
_OWN_CODES: Final = {"zai": _ZAI, "zhipuai": _ZAI, "bigmodel": _ZAI, "dashscope": _DASHSCOPE, "siliconflow": _SILICONFLOW}

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
    r"maximum context length|context (?:length|window|size)|prompt (?:is )?too long|maximum number of tokens|(?:model|input) token limit|"
    r"too many (?:input |prompt )?tokens|input is too long|exceeded max context|max_seq_len|`inputs` tokens \+",
    re.IGNORECASE,
)
"""What providers say of a prompt beyond the context window where they give no code for it."""

_BAD_KEY: Final = re.compile(r"(?:incorrect|invalid) api key|api key not valid", re.IGNORECASE)
"""Said with status 400 by xAI and Gemini."""

_NO_MODEL: Final = re.compile(
    r"\bmodel\b.{0,100}?(?:does not exist|not found)|not a valid model|model identifier is invalid|unknown model|invalid model\b",
    re.IGNORECASE,
)
"""Said with status 400 by OpenRouter, Bedrock and others."""

_BLOCKED: Final = re.compile(r"content (?:filtering|management) policy|safety system", re.IGNORECASE)

_NO_MONEY: Final = re.compile(
    r"insufficient (?:account |paid )?balance|balance (?:is )?(?:insufficient|not enough)|in arrears|余额不足|欠费", re.IGNORECASE
)
"""Said with status 403 by SiliconFlow, 402 or 429 by others."""

_ABOVE_THE_LIMIT: Final = re.compile(r"^request too large for", re.IGNORECASE)
"""OpenAI (429) and Groq (413): this one request is larger than a whole minute's tokens, so waiting never helps."""

_TEXTS: Final[tuple[tuple[frozenset[int], re.Pattern[str], Kind, LimitScope | None], ...]] = (
    (frozenset({400, 413, 422, 500}), _TOO_LONG, Kind.CONTEXT_WINDOW, None),
    (frozenset({400}), _BAD_KEY, Kind.AUTHENTICATION, None),
    (frozenset({400, 422}), _NO_MODEL, Kind.NOT_FOUND, None),
    (frozenset({400}), _BLOCKED, Kind.CONTENT_POLICY, None),
    (frozenset({400, 401, 403, 429}), _NO_MONEY, Kind.PAYMENT, "spend"),
    (frozenset({413, 429}), _ABOVE_THE_LIMIT, Kind.NEVER_FITS, "tokens"),
)
"""Statuses, what the text says, and what it means: the last resort."""

_SCOPES: Final[tuple[tuple[LimitScope, re.Pattern[str]], ...]] = (
    ("capacity", re.compile(r"high demand|upstream|capacity|overloaded|too busy", re.IGNORECASE)),
    ("day", re.compile(r"per ?day|\b[RT]PD\b|\bIPD\b|daily", re.IGNORECASE)),
    ("concurrency", re.compile(r"concurren", re.IGNORECASE)),
    ("tokens", re.compile(r"tokens? (?:per min|rate limit)|\b[IO]?TPM\b|\btokens\b|TokenCount|TokensPer", re.IGNORECASE)),
    ("requests", re.compile(r"requests? ?per|\b[RI]PM\b|\bRPS\b|\brequests\b|\bQPM\b|too many requests", re.IGNORECASE)),
)

_SECRET: Final = re.compile(
    r"\b((?:sk|pk|rk|gsk|xai|pplx|hf|nvapi|csk|fw|tgp|r8)[-_]|AIza)[\w.*-]{8,}"
    r"|\b((?:Bearer|Basic) )(?=[\w.*+/-]*[\d*])[\w.*+/=-]{8,}"
    r"|((?:api|access|secret)[ _-]?(?:key|token)[^:=\n]{0,24}[:=]\s*[\"'\\<]{0,2})(?=[\w.*+/-]*[\d*])[\w.*+/-]{6,}",
    re.IGNORECASE,
)
"""A known prefix, or what follows a scheme or a label and holds a digit or asterisks."""


def mask(text: str) -> str:
    """`text` without anything that looks like a key: some providers repeat the one they refuse."""
    return _SECRET.sub(r"\1\2\3…", text)


def read_error(response: HttpResponse, *, provider: str, model: str, now_wall: float | None = None) -> Failure:
    """What an error reply means. Texts are kept but for anything that looks like a key.

    now_wall: epoch seconds, for providers that name a moment to come back and not a span.
    """
    body = _parsed(response.body)
    said = read_said(body, response)
    kind, scope = classify(said, response.status, provider)
    views = read_quota(response.headers, now_wall=now_wall) if kind in _WAITS else ()
    if scope is None and kind is Kind.RATE_LIMIT:
        scope = _exhausted(views)
    return Failure(
        kind,
        f"{provider}: {said.message}",
        status=response.status,
        provider=provider,
        model=model,
        code=said.code or said.type,
        param=said.param,
        retry_after=_retry_after(response, said, views, now_wall) if kind in _WAITS else None,
        scope=scope,
        retryable=_retryable(response, said),
        body=body,
        headers=response.headers,
    )


def read_error_inside(body: Mapping[str, Any], *, provider: str, model: str) -> Failure:
    """What an error means that came under status 200, in a body or inside a stream: its own status where it names one."""
    body = _masked(body)
    said = read_said(body, HttpResponse(200, Headers(), b""))
    known = said if said.status is None or said.code != str(said.status) else msgspec.structs.replace(said, code=None)
    kind, scope = classify(known, said.status or 0, provider)
    return Failure(
        kind,
        f"{provider}: {said.message}",
        provider=provider,
        model=model,
        code=said.code or said.type,
        param=said.param,
        retry_after=(said.hint or hinted(said.message)) if kind in _WAITS else None,
        scope=scope,
        retryable=True if said.code in _ANOTHER_DRAW else None,
        body=body,
    )


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return {name: _masked(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _parsed(body: bytes) -> Any:
    try:
        return _masked(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return mask(body[:4096].decode("utf-8", "replace"))


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
        return Said(_text(error), _code(body.get("code")), status=_status(body))
    if "detail" in body:
        return Said(_text(body["detail"]), _code(body.get("code")), _code(body.get("type")))
    message = body.get("message") or body.get("msg") or body.get("errorMessage")
    code = _code(body.get("code")) or _code(body.get("error_type")) or _aws_type(response)
    text = _text(message) if message else f"status {response.status}"
    return Said(text, code, _code(body.get("type")), _code(body.get("param")), status=_status(body))


def _error_object(error: Mapping[str, Any]) -> Said:
    message = _text(error.get("message") or error.get("type") or error.get("code") or "no message")
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("raw"):
        message = f"{message} ({_text(metadata['raw'])})"  # OpenRouter: the provider's own words
    details = [detail for detail in _list(error.get("details")) if isinstance(detail, Mapping)]
    code = next((reason for detail in details if (reason := _code(detail.get("reason")))), None)
    return Said(
        message,
        code or _code(error.get("code")) or _code(error.get("status")),
        _code(error.get("type")),
        _code(error.get("param")),
        next((seconds(delay) for detail in details if isinstance(delay := detail.get("retryDelay"), str)), None),
        _status(error),
        " ".join(_text(violation.get("quotaId")) for detail in details for violation in _list(detail.get("violations"))),
    )


def _status(error: Mapping[str, Any]) -> int | None:
    """The first of the error's numbers that is an HTTP status of a failure."""
    for name in ("status_code", "code", "status"):
        value = error.get(name)
        number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 3 else value
        if isinstance(number, int) and 400 <= number < 600:
            return number
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


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
    """The kind of an error, and which limit a refusal was about. Code, then type, then status; texts for what neither says.

    status: 0 when there is none but 200.
    """
    row = _by_code(said, provider)
    by_text = next(((kind, scope) for statuses, text, kind, scope in _TEXTS if status in statuses and text.search(said.message)), None)
    if row is None:
        row = by_text or (_by_status(said, status), None)
    elif row[0] is Kind.RATE_LIMIT and (status == 413 or _ABOVE_THE_LIMIT.match(said.message)):
        row = (Kind.NEVER_FITS, "tokens")
    kind, scope = row
    if kind is Kind.RATE_LIMIT:
        return kind, scope or _scope(said)
    return kind, "capacity" if kind is Kind.OVERLOADED else scope


def _by_code(said: Said, provider: str) -> tuple[Kind, LimitScope | None] | None:
    own = _OWN_CODES.get(provider, {})
    for code in (said.code, said.type):
        if code is not None and (row := own.get(code) or _CODES.get(code.lower())):
            return row
    return None


def _by_status(said: Said, status: int) -> Kind:
    if status == 0:
        return _ALONE.get(said.type or "", Kind.SERVER)
    return _STATUSES.get(status) or (Kind.BAD_RESPONSE if status < 400 else Kind.BAD_REQUEST if status < 500 else Kind.SERVER)


def _scope(said: Said) -> LimitScope | None:
    if said.type == "tokens" or said.type == "requests":
        day = _SCOPES[1][1].search(said.message)
        return "day" if day else "tokens" if said.type == "tokens" else "requests"
    return next((scope for scope, pattern in _SCOPES if pattern.search(f"{said.message} {said.quota}")), None)


_ANOTHER_DRAW: Final = frozenset({"tool_use_failed"})
"""Groq: what the model wrote did not fit the tool's schema; another draw may."""


def _retryable(response: HttpResponse, said: Said) -> bool | None:
    """The provider's own word on trying again."""
    given = response.headers.get("x-should-retry")
    if given in ("true", "false"):
        return given == "true"
    return True if said.code in _ANOTHER_DRAW else None


_WAITS: Final = frozenset({Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED, Kind.OVERLOADED, Kind.SERVER, Kind.BAD_GATEWAY, Kind.TIMEOUT})
"""Kinds that a wait is asked for. Providers send `retry-after` with other replies too, where it means nothing."""


def _retry_after(response: HttpResponse, said: Said, views: tuple[QuotaView, ...], wall: float | None) -> float | None:
    """Seconds asked for; None where nobody said. Zero says nothing: Azure sends it (seen 2025), and obeying it is a hot loop."""
    headers = response.headers
    milliseconds = seconds(headers.get("retry-after-ms", "") or headers.get("x-ms-retry-after-ms", ""), wall)
    given = (
        None if milliseconds is None else milliseconds / 1000,
        seconds(headers.get("retry-after", ""), wall),
        said.hint,
        hinted(said.message),
        max((view.reset for view in views if view.remaining == 0 and view.reset), default=None),
    )
    return next((wait for wait in given if wait), None)


def _exhausted(views: tuple[QuotaView, ...]) -> LimitScope | None:
    """The limit that its headers say has nothing left."""
    spent = next((view for view in views if view.remaining == 0), None)
    if spent is None:
        return None
    if spent.window is not None and spent.window >= DAY:
        return "day"
    return "requests" if spent.unit == "requests" else "tokens"
