"""What the error codes, statuses and messages of every provider mean: the one table for classifying failures.

A code takes precedence over a status, and a status over the message text. Texts are only matched where the code is too
vague (`VAGUE`) or missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from headrace.errors import Kind, LimitScope

Meaning = tuple[Kind, LimitScope | None]

CODES: Final[Mapping[str, Meaning]] = {
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
    "budget_exceeded": (Kind.QUOTA_EXHAUSTED, "spend"),  # LiteLLM's proxy and our gateway
    "insufficient_user_quota": (Kind.QUOTA_EXHAUSTED, "spend"),  # one-api and its forks, the most used gateway of its kind
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
    # Azure's inner error code, the only one of `InnerErrorCode` in its schema (github.com/api-evangelist/microsoft-azure, read
    # 2026-11)
    "responsibleaipolicyviolation": (Kind.CONTENT_POLICY, None),
    # learn.microsoft.com/answers/questions/1465775, read 2026-11: the model does not support the operation
    "operationnotsupported": (Kind.BAD_REQUEST, None),
    # also Azure; both from memory
    "contentfilter": (Kind.CONTENT_POLICY, None),
    "nocapacity": (Kind.OVERLOADED, "capacity"),
    # GitHub Models: a tier's own context limit, smaller than the model's (github.com/eslint/tsc-meetings/pull/593 and
    # github.com/github/gh-models/issues/65, read 2026-11)
    "tokens_limit_reached": (Kind.CONTEXT_WINDOW, None),
    "unknown_model": (Kind.NOT_FOUND, None),
    # docs.databricks.com/api/account/errors for the format; the codes are in `ErrorCode` of databricks.github.io/sdk-js, read
    # 2026-11; those for limits and outages are from memory
    "request_limit_exceeded": (Kind.RATE_LIMIT, None),
    "resource_does_not_exist": (Kind.NOT_FOUND, None),
    "endpoint_not_found": (Kind.NOT_FOUND, None),
    "temporarily_unavailable": (Kind.OVERLOADED, "capacity"),
    "invalid_parameter_value": (Kind.BAD_REQUEST, None),
    # watsonx: the first as github.com/BerriAI/litellm/issues/9219 quotes it; the two for limits as programs on GitHub catch them (403
    # and 429; read 2026-11); the rest from memory
    "authentication_token_expired": (Kind.AUTHENTICATION, None),
    "token_quota_reached": (Kind.QUOTA_EXHAUSTED, "spend"),
    "consumption_limit_reached": (Kind.RATE_LIMIT, None),
    "authentication_token_not_valid": (Kind.AUTHENTICATION, None),
    "authorization_rejected": (Kind.PERMISSION, None),
    "model_not_supported": (Kind.NOT_FOUND, None),
    "invalid_input_argument": (Kind.BAD_REQUEST, None),
    "invalid_request_entity": (Kind.BAD_REQUEST, None),
}
"""Error codes and types of all providers, in lower case."""

# API_runtime_Converse, API_runtime_InvokeModel and CommonErrors in Bedrock's reference; SageMaker Runtime's model in botocore 1.40;
# read 2026-11.
AWS: Final[Mapping[str, Meaning]] = {
    "accessdeniedexception": (Kind.PERMISSION, None),
    "accessdenied": (Kind.PERMISSION, None),
    "invalidaccesskeyid": (Kind.AUTHENTICATION, None),
    "slowdown": (Kind.RATE_LIMIT, None),
    "optinrequired": (Kind.PERMISSION, None),
    "notauthorized": (Kind.PERMISSION, None),
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
    "resourcenotfoundexception": (Kind.NOT_FOUND, None),
    "unknownoperationexception": (Kind.NOT_FOUND, None),
    "validationexception": (Kind.BAD_REQUEST, None),
    "validationerror": (Kind.BAD_REQUEST, None),
    "serializationexception": (Kind.BAD_REQUEST, None),
    "conflictexception": (Kind.BAD_REQUEST, None),
    "throttlingexception": (Kind.RATE_LIMIT, None),
    "throttling": (Kind.RATE_LIMIT, None),
    "toomanyrequestsexception": (Kind.RATE_LIMIT, None),
    "servicequotaexceededexception": (Kind.QUOTA_EXHAUSTED, "requests"),
    "modelnotreadyexception": (Kind.OVERLOADED, "capacity"),
    "serviceunavailableexception": (Kind.OVERLOADED, "capacity"),
    "serviceunavailable": (Kind.OVERLOADED, "capacity"),
    "modeltimeoutexception": (Kind.TIMEOUT, None),
    "modelerrorexception": (Kind.SERVER, None),
    "modelerror": (Kind.SERVER, None),
    "modelstreamerrorexception": (Kind.SERVER, None),
    "modelstreamerror": (Kind.SERVER, None),
    "internalserverexception": (Kind.SERVER, None),
    "internalstreamfailure": (Kind.SERVER, None),
    "internaldependencyexception": (Kind.SERVER, None),
    "internalfailure": (Kind.SERVER, None),
    "internalservererror": (Kind.SERVER, None),
}
"""AWS error names, in lower case."""

GOOGLE: Final[Mapping[str, Meaning]] = {
    "INVALID_ARGUMENT": (Kind.BAD_REQUEST, None),
    "OUT_OF_RANGE": (Kind.BAD_REQUEST, None),
    "FAILED_PRECONDITION": (Kind.PERMISSION, None),
    "UNAUTHENTICATED": (Kind.AUTHENTICATION, None),
    "PERMISSION_DENIED": (Kind.PERMISSION, None),
    "NOT_FOUND": (Kind.NOT_FOUND, None),
    "ALREADY_EXISTS": (Kind.BAD_REQUEST, None),
    "RESOURCE_EXHAUSTED": (Kind.RATE_LIMIT, None),
    "UNIMPLEMENTED": (Kind.NOT_FOUND, None),
    "UNAVAILABLE": (Kind.OVERLOADED, "capacity"),
    "DEADLINE_EXCEEDED": (Kind.TIMEOUT, None),
    "CANCELLED": (Kind.SERVER, None),
    "ABORTED": (Kind.SERVER, None),
    "INTERNAL": (Kind.SERVER, None),
    "UNKNOWN": (Kind.SERVER, None),
    "DATA_LOSS": (Kind.SERVER, None),
    # `google.rpc.ErrorInfo.reason` (cloud.google.com/apis/design/errors, read 2026-11), finer than the status.
    "API_KEY_INVALID": (Kind.AUTHENTICATION, None),
    "CREDENTIALS_MISSING": (Kind.AUTHENTICATION, None),
    "ACCESS_TOKEN_EXPIRED": (Kind.AUTHENTICATION, None),
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": (Kind.AUTHENTICATION, None),
    "API_KEY_SERVICE_BLOCKED": (Kind.PERMISSION, None),
    "API_KEY_HTTP_REFERRER_BLOCKED": (Kind.PERMISSION, None),
    "API_KEY_IP_ADDRESS_BLOCKED": (Kind.PERMISSION, None),
    "SERVICE_DISABLED": (Kind.PERMISSION, None),
    "CONSUMER_INVALID": (Kind.PERMISSION, None),
    "IAM_PERMISSION_DENIED": (Kind.PERMISSION, None),
    "BILLING_DISABLED": (Kind.PAYMENT, "spend"),
    "RATE_LIMIT_EXCEEDED": (Kind.RATE_LIMIT, None),
}
"""google.rpc.Code and ErrorInfo reasons, in their original spelling.

Gemini sends FAILED_PRECONDITION for an unsupported region or an account without billing
(ai.google.dev/gemini-api/docs/troubleshooting, read 2026-11).
"""

VAGUE: Final = frozenset({
    "INVALID_ARGUMENT", "OUT_OF_RANGE", "FAILED_PRECONDITION", "PERMISSION_DENIED", "validationexception", "validationerror",
    "invalid_request_error", "invalid_request",
    "invalid_parameter_value", "invalid_input_argument", "invalid_request_entity", "operationnotsupported",
})  # fmt: skip
"""Codes that only say that something is wrong with the request, so the message text is matched too."""

BY_THE_DAY: Final = frozenset(
    {"RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "throttlingexception", "throttling", "toomanyrequestsexception"}
)
"""Google's and AWS's codes for limits whose daily window follows the calendar: no wait they suggest helps within a call."""

ALONE: Final[Mapping[str, Kind]] = {
    "invalid_request_error": Kind.BAD_REQUEST,
    "invalid_request": Kind.BAD_REQUEST,
    "requests": Kind.RATE_LIMIT,
    "tokens": Kind.RATE_LIMIT,
    "service_unavailable": Kind.OVERLOADED,
    "timeout": Kind.TIMEOUT,
}
"""Error types less specific than a status, used for errors without one: those inside a stream."""

# docs.z.ai/api-reference/api-code, read 2026-11: Z.ai uses its own numbers for everything, and 429 even for an unpaid balance.
_ZAI: Final[Mapping[str, Meaning]] = {
    "1113": (Kind.PAYMENT, "spend"),
    "1301": (Kind.CONTENT_POLICY, None),
    "1302": (Kind.RATE_LIMIT, "concurrency"),
    "1303": (Kind.RATE_LIMIT, "requests"),
    "1304": (Kind.QUOTA_EXHAUSTED, "day"),
    "1305": (Kind.OVERLOADED, "capacity"),
    "1308": (Kind.QUOTA_EXHAUSTED, "day"),
}
# help.aliyun.com/model-studio/error-code, read 2026-11: the per-minute token allocation is used up, not the account's balance.
_DASHSCOPE: Final[Mapping[str, Meaning]] = {"insufficient_quota": (Kind.RATE_LIMIT, "tokens")}
# docs.siliconflow.com/en/faqs/error-code, read 2026-11
_SILICONFLOW: Final[Mapping[str, Meaning]] = {"20012": (Kind.NOT_FOUND, None)}
# platform.minimax.io/docs/api-reference/errorcode, read 2026-11-29
_MINIMAX: Final[Mapping[str, Meaning]] = {
    "1001": (Kind.TIMEOUT, None),
    "1002": (Kind.RATE_LIMIT, None),
    "1004": (Kind.AUTHENTICATION, None),
    "1008": (Kind.PAYMENT, None),
    "1024": (Kind.SERVER, None),
    "1026": (Kind.CONTENT_POLICY, None),
    "1027": (Kind.CONTENT_POLICY, None),
    "1033": (Kind.SERVER, None),
}

OWN_CODES: Final = {
    "minimax": _MINIMAX,
    "minimax_cn": _MINIMAX,
    "zai": _ZAI,
    "zhipuai": _ZAI,
    "bigmodel": _ZAI,
    "dashscope": _DASHSCOPE,
    "siliconflow": _SILICONFLOW,
}

STATUSES: Final[Mapping[int, Kind]] = {
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
    524: Kind.TIMEOUT,  # Cloudflare: the origin did not respond in time
    529: Kind.OVERLOADED,
}

_TOO_LONG: Final = re.compile(
    r"maximum context length|context (?:length|window|size)|prompt (?:is )?too long|maximum number of tokens|(?:model|input) token limit|"
    r"too many (?:input |prompt )?tokens|input is too long|exceeded max context|max_seq_len|`inputs` tokens \+|context limit|"
    r"input tokens exceeded|exceeds? (?:the )?maximum (?:input )?(?:length|context)|too large for model",
    re.IGNORECASE,
)
"""How providers without a code for it say that a prompt exceeds the context window."""

_BAD_KEY: Final = re.compile(r"(?:incorrect|invalid) api key|api key not valid", re.IGNORECASE)
"""Sent with status 400 by xAI and Gemini."""

_NO_MODEL: Final = re.compile(
    r"\bmodel\b.{0,100}?(?:does not exist|not found)|not a valid model|model identifier is invalid|unknown model|invalid model\b|"
    r"could not resolve the foundation model",
    re.IGNORECASE,
)
"""Sent with status 400 by OpenRouter, Bedrock and others."""

_BLOCKED: Final = re.compile(
    r"content filter(?:ing|s)?\b|content (?:filtering |management )?policy|safety system|flagged as potentially violating|"
    r"blocked by (?:the |our |your )?(?:content|safety|guardrail|moderation|usage)",
    re.IGNORECASE,
)

_NO_MONEY: Final = re.compile(
    r"credit balance is too low|insufficient (?:account |paid )?balance|balance (?:is )?(?:insufficient|not enough)|in arrears|"
    r"余额不足|欠费",
    re.IGNORECASE,
)
"""Sent with status 403 by SiliconFlow, 402 or 429 by others."""

_WHO: Final = re.compile(r"security token|request signature|authentication token|api key .{0,20}(?:invalid|expired)", re.IGNORECASE)
"""Sent with status 403 by AWS for invalid credentials when no error name is given."""

_SPENT: Final = re.compile(r"api usage limits", re.IGNORECASE)
"""Sent with status 400 by Anthropic for a spend limit set by its customer."""

ABOVE_THE_LIMIT: Final = re.compile(r"^request too large for", re.IGNORECASE)
"""OpenAI (429) and Groq (413): this single request exceeds a whole minute's tokens, so waiting never helps."""

TEXTS: Final[tuple[tuple[frozenset[int], re.Pattern[str], Kind, LimitScope | None], ...]] = (
    (frozenset({400, 413, 422, 500}), _TOO_LONG, Kind.CONTEXT_WINDOW, None),
    (frozenset({403}), _WHO, Kind.AUTHENTICATION, None),
    (frozenset({400}), _SPENT, Kind.QUOTA_EXHAUSTED, "spend"),
    (frozenset({400}), _BAD_KEY, Kind.AUTHENTICATION, None),
    (frozenset({400, 422}), _NO_MODEL, Kind.NOT_FOUND, None),
    (frozenset({400}), _BLOCKED, Kind.CONTENT_POLICY, None),
    (frozenset({400, 401, 403, 429}), _NO_MONEY, Kind.PAYMENT, "spend"),
    (frozenset({413, 429}), ABOVE_THE_LIMIT, Kind.NEVER_FITS, "tokens"),
)
"""Statuses, message pattern, kind and limit scope: the last resort."""

SCOPES: Final[tuple[tuple[LimitScope, re.Pattern[str]], ...]] = (
    ("capacity", re.compile(r"high demand|upstream|capacity|overloaded|too busy", re.IGNORECASE)),
    ("day", re.compile(r"per ?day|\b[RT]PD\b|\bIPD\b|daily", re.IGNORECASE)),
    ("concurrency", re.compile(r"concurren", re.IGNORECASE)),
    ("tokens", re.compile(r"tokens? (?:per min|rate limit)|\b[IO]?TPM\b|\btokens\b|TokenCount|TokensPer", re.IGNORECASE)),
    ("requests", re.compile(r"requests? ?per|\b[RI]PM\b|\bRPS\b|\brequests\b|\bQPM\b|too many requests", re.IGNORECASE)),
)
