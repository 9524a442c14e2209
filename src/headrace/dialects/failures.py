"""Error responses of any format as `Failure`s: the code decides before the status, the text only if there is no code.

Formats seen in recorded traffic (2024-10 to 2026-09) or documented: an `error` object, an `error` string, `detail`,
`message` next to `code`, a list, plain text, an HTML page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects.codes import (
    ABOVE_THE_LIMIT,
    ALONE,
    AWS,
    BY_THE_DAY,
    CODES,
    GOOGLE,
    OWN_CODES,
    SCOPES,
    STATUSES,
    TEXTS,
    VAGUE,
    Meaning,
)
from headrace.dialects.durations import hinted, seconds
from headrace.dialects.quota import DAY, read_quota
from headrace.errors import Failure, Kind, LimitScope
from headrace.limits.view import QuotaView
from headrace.wire import Headers, HttpResponse


class Said(Struct, frozen=True):
    """The contents of an error body, whatever its format."""

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    hint: float | None = None
    """Seconds to wait, from a field of the body."""
    status: int | None = None
    """The HTTP status given in the body: the only one when the response itself had status 200."""
    quota: str = ""
    """Google's names of the exceeded quotas."""


_SECRET: Final = re.compile(
    r"\b((?:sk|pk|rk|gsk|xai|pplx|hf|nvapi|csk|fw|tgp|r8)[-_]|AIza)[\w.*-]{8,}"
    r"|\b((?:Bearer|Basic) )(?=[\w.*+/-]*[\d*])[\w.*+/=-]{8,}"
    r"|((?:api|access|secret)[ _-]?(?:key|token)[^:=\n]{0,24}[:=]\s*[\"'\\<]{0,2})(?=[\w.*+/-]*[\d*])[\w.*+/-]{6,}",
    re.IGNORECASE,
)
"""A key with a known prefix, or a value with a digit or asterisk after an auth scheme or a label such as `api key:`."""


_CANONICAL: Final = re.compile(r"\s*The Canonical String for this request.*", re.IGNORECASE | re.DOTALL)
"""AWS includes everything that was signed, even the session token, when it rejects a signature."""


def mask(text: str) -> str:
    """`text` with anything that looks like a key masked: some providers quote the key they reject."""
    return _SECRET.sub(r"\1\2\3…", _CANONICAL.sub("", text))


def read_error(response: HttpResponse, *, provider: str, model: str, now_wall: float | None = None) -> Failure:
    """The `Failure` for an error response. Anything in it that looks like a key is masked.

    now_wall: epoch seconds, for providers that give a time to retry at instead of a delay.
    """
    body = _parsed(response.body)
    said = read_said(body, response)
    kind, scope = classify(said, response.status, provider)
    waits = kind in _WAITS and not (kind is Kind.QUOTA_EXHAUSTED and _ends_by_the_day(said.code or ""))
    views = read_quota(response.headers, now_wall=now_wall) if waits else ()
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
        retry_after=_retry_after(response, said, views, now_wall) if waits else None,
        scope=scope,
        retryable=_retryable(response, said),
        body=body,
        headers=response.headers,
    )


def read_error_inside(body: Mapping[str, Any], *, provider: str, model: str) -> Failure:
    """The `Failure` for an error sent with status 200, in a body or within a stream.

    Uses the status that the error itself gives, if any.
    """
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


_NESTED: Final = 100
"""Maximum depth of nested lists and objects; deeper values are dropped."""


def _masked(value: Any, deep: int = 0) -> Any:
    if deep > _NESTED:
        return "…"
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(item, deep + 1) for item in value]
    return {name: _masked(item, deep + 1) for name, item in value.items()} if isinstance(value, Mapping) else value


def _parsed(body: bytes) -> Any:
    try:
        return _masked(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = mask(body[:4096].decode("utf-8", "replace"))
    found = _XML.search(text)
    return text if found is None else {"code": found[1], "message": found[2]}


_XML: Final = re.compile(r"<Error>\s*<Code>(\w{1,100})</Code>\s*<Message>([^<]*)</Message>")
"""S3's error format."""


def read_said(body: Any, response: HttpResponse) -> Said:
    """Extracts the fields of an error body."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, str):
        return Said(_page(body, response))
    if not isinstance(body, Mapping):
        return Said(f"status {response.status} with a body of {len(response.body)} bytes")
    error = body.get("error")
    if isinstance(error, Mapping):
        return _hinted(_error_object(error), error, body)
    if error is not None:
        return Said(_text(error), _code(body.get("code")) or _code(body.get("error_type")), status=_status(body))
    if isinstance(errors := body.get("errors"), list) and errors and isinstance(errors[0], Mapping):  # watsonx, Cloudflare
        return msgspec.structs.replace(_error_object(errors[0]), status=_status(body))
    if "detail" in body:
        return Said(_text(body["detail"]), _code(body.get("code")), _code(body.get("type")))
    message = next((body[name] for name in _MESSAGES if body.get(name)), None)
    if message is None and (inner := _within(body)) is not None:
        body, message = inner, next(inner[name] for name in _MESSAGES if inner.get(name))
    code = _aws_type(body, response) or next((code for name in _CODE_FIELDS if (code := _code(body.get(name)))), None)
    text = _text(message) if message else f"status {response.status}" if response.status >= 300 else "no message"
    return _hinted(Said(text, code, _code(body.get("type")), _code(body.get("param")), status=_status(body)), body)


_MESSAGES: Final = (
    "message", "Message", "msg", "errorMessage", "error_msg", "error_message", "status_msg", "error_description", "faultstring", "title",
)  # fmt: skip
_CODE_FIELDS: Final = ("code", "Code", "error_type", "error_code", "errorcode", "status_code")
_DEEPEST: Final = 2


def _within(body: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any] | None:
    """The nested object with a message, if the body itself has none: every cloud and gateway has its own envelope."""
    for inner in body.values():
        if isinstance(inner, Mapping):
            if any(isinstance(inner.get(name), str) and inner[name] for name in _MESSAGES):
                return inner
            if depth < _DEEPEST and (found := _within(inner, depth + 1)) is not None:
                return found
    return None


def _hinted(said: Said, *bodies: Mapping[str, Any]) -> Said:
    """`said` with the delay from a field of the bodies, unless it has one already."""
    if said.hint is not None:
        return said
    for body in bodies:
        for name, unit in _WAITING.items():
            value = body.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value * unit < DAY:
                return msgspec.structs.replace(said, hint=value * unit)
    return said


_WAITING: Final = {"retry_after": 1.0, "retryAfter": 1.0, "retry_after_seconds": 1.0, "retry_after_ms": 0.001}
"""Fields that give a delay, with their unit in seconds."""


def _error_object(error: Mapping[str, Any]) -> Said:
    message = _text(error.get("message") or error.get("type") or error.get("code") or "no message")
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("raw"):
        message = f"{message} ({_text(metadata['raw'])})"  # OpenRouter: the upstream provider's message
    details = [detail for detail in _list(error.get("details")) if isinstance(detail, Mapping)]
    return Said(
        message,
        _finest(error, details),
        _code(error.get("type")),
        _code(error.get("param")),
        next((seconds(delay) for detail in details if isinstance(delay := detail.get("retryDelay"), str)), None),
        _status(error),
        " ".join(
            _text(violation.get("quotaId"))
            for detail in details
            for violation in _list(detail.get("violations"))
            if isinstance(violation, Mapping)
        ),
    )


def _violations(detail: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [violation for violation in _list(detail.get("violations")) if isinstance(violation, Mapping)]


def _finest(error: Mapping[str, Any], details: list[Mapping[str, Any]]) -> str | None:
    """The most specific code: Google's reason, Azure's inner error, Google's status next to a numeric code, or the code itself."""
    inner = error.get("innererror")
    inside = _code(inner.get("code")) if isinstance(inner, Mapping) else None
    reasons = [reason for detail in details if (reason := _code(detail.get("reason")))]
    code, status = _code(error.get("code")), _code(error.get("status"))
    told = next((reason for reason in (*reasons, inside) if reason and meaning_of(reason)), None)
    named = status if status and not status.isdecimal() and (code is None or code.isdecimal()) else code or status
    return told or named or next(iter(reasons), None)


def _status(error: Mapping[str, Any]) -> int | None:
    """The error's first number that is an HTTP error status."""
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


def _aws_type(body: Mapping[str, Any], response: HttpResponse) -> str | None:
    """AWS's error name, from the header or, for older services, the body."""
    given = response.headers.get("x-amzn-errortype") or body.get("__type")
    return aws_name(given) or None if isinstance(given, str) else None


def aws_name(name: str) -> str:
    """The bare name: `com.amazon.coral.service#ThrottlingException:http://…` gives "ThrottlingException"."""
    return name.partition(":")[0].rpartition("#")[2].strip()


def meaning_of(code: str) -> Meaning | None:
    """The meaning of a code, whichever provider sent it."""
    low = code.lower()
    return GOOGLE.get(code) or CODES.get(low) or AWS.get(low)


def classify(said: Said, status: int, provider: str) -> tuple[Kind, LimitScope | None]:
    """The kind of an error, and the scope of the limit it is about.

    By code, then type, then status; by text if code and type are not decisive.

    status: 0 if the only status is 200.
    """
    code, row = _by_code(said, provider)
    if row is None or _is_vague(code):
        row = _by_text(said, status) or row or (_by_status(said, status), None)
    elif row[0] is Kind.RATE_LIMIT and (status == 413 or ABOVE_THE_LIMIT.match(said.message)):
        row = (Kind.NEVER_FITS, "tokens")
    kind, scope = row
    if kind is Kind.OVERLOADED:
        return kind, "capacity"
    if kind is not Kind.RATE_LIMIT:
        return kind, scope
    scope = scope or _scope(said)
    return (Kind.QUOTA_EXHAUSTED if scope == "day" and _ends_by_the_day(code) else kind), scope


def _by_code(said: Said, provider: str) -> tuple[str, Meaning | None]:
    """The first known code, and its meaning."""
    own = OWN_CODES.get(provider, {})
    for code in (said.code, said.type):
        if code is not None and (row := own.get(code) or meaning_of(code)):
            return code, row
    return "", None


def _is_vague(code: str) -> bool:
    return code in VAGUE or code.lower() in VAGUE


def _ends_by_the_day(code: str) -> bool:
    return code in BY_THE_DAY or code.lower() in BY_THE_DAY


def _by_text(said: Said, status: int) -> Meaning | None:
    """The meaning of the message text. An error without a status whose code blames the request is treated as a 400."""
    if status == 0 and any(code and _is_vague(code) for code in (said.code, said.type)):
        status = 400
    return next(((kind, scope) for statuses, text, kind, scope in TEXTS if status in statuses and text.search(said.message)), None)


def _by_status(said: Said, status: int) -> Kind:
    if status == 0:
        return ALONE.get(said.type or "", Kind.SERVER)
    return STATUSES.get(status) or (Kind.BAD_RESPONSE if status < 400 else Kind.BAD_REQUEST if status < 500 else Kind.SERVER)


def _scope(said: Said) -> LimitScope | None:
    if said.type == "tokens" or said.type == "requests":
        day = SCOPES[1][1].search(said.message)
        return "day" if day else "tokens" if said.type == "tokens" else "requests"
    return next((scope for scope, pattern in SCOPES if pattern.search(f"{said.message} {said.quota}")), None)


_ANOTHER_DRAW: Final = frozenset({"tool_use_failed"})
"""Groq: the model's output did not match the tool's schema; another sample may."""


def _retryable(response: HttpResponse, said: Said) -> bool | None:
    """The provider's own statement on whether to retry."""
    given = response.headers.get("x-should-retry")
    if given in ("true", "false"):
        return given == "true"
    return True if said.code in _ANOTHER_DRAW else None


_WAITS: Final = frozenset({Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED, Kind.OVERLOADED, Kind.SERVER, Kind.BAD_GATEWAY, Kind.TIMEOUT})
"""The kinds that may have a `retry_after`. Providers also send `retry-after` with other errors, where it is meaningless."""


def _retry_after(response: HttpResponse, said: Said, views: tuple[QuotaView, ...], wall: float | None) -> float | None:
    """Seconds to wait, or None if not given. Zero is ignored: Azure sends it (seen 2025), and obeying it would be a hot loop."""
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
    """The scope of the limit that the headers report as exhausted."""
    spent = next((view for view in views if view.remaining == 0), None)
    if spent is None:
        return None
    if spent.window is not None and spent.window >= DAY:
        return "day"
    return "requests" if spent.unit == "requests" else "tokens"
