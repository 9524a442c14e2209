"""Error replies, one row each: what a provider says and what it means."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from headrace.dialects.failures import mask, read_error, read_error_inside
from headrace.errors import Failure, Kind, error_of
from headrace.wire import Headers, HttpResponse

NOW = 1_787_000_000.0


def refused(status: int, body: Any, headers: dict[str, str] | None = None, provider: str = "openai") -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_error(HttpResponse(status, Headers.of(headers or {}), raw), provider=provider, model="m", now_wall=NOW)


def openai(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": None, "param": None, "code": None, **fields}}


ROWS: list[tuple[str, str, int, Any, Kind]] = [
    ("unknown model", "openai", 404, openai("The model `x` does not exist", code="model_not_found"), Kind.NOT_FOUND),
    ("unknown model under 400", "openai", 400, openai("No such model", code="model_not_found"), Kind.NOT_FOUND),
    ("bad key", "openai", 401, openai("Incorrect API key provided", code="invalid_api_key"), Kind.AUTHENTICATION),
    ("context by code", "openai", 400, openai("too long", code="context_length_exceeded"), Kind.CONTEXT_WINDOW),
    ("no money left", "openai", 429, openai("You exceeded your current quota", code="insufficient_quota"), Kind.QUOTA_EXHAUSTED),
    ("billing limit", "openai", 400, openai("Billing hard limit", code="billing_hard_limit_reached"), Kind.PAYMENT),
    ("policy", "azure", 400, openai("filtered", code="content_filter"), Kind.CONTENT_POLICY),
    ("odd parameter", "openai", 400, openai("Unsupported value", code="unsupported_value"), Kind.BAD_REQUEST),
    ("country", "openai", 403, openai("no", code="unsupported_country_region_territory"), Kind.PERMISSION),
    ("azure deployment", "azure", 404, {"error": {"code": "DeploymentNotFound", "message": "none"}}, Kind.NOT_FOUND),
    ("azure code is a status", "azure", 401, {"error": {"code": "401", "message": "Access denied"}}, Kind.AUTHENTICATION),
    ("context in words, deepseek", "deepseek", 400, openai("This model's maximum context length is 65536 tokens."), Kind.CONTEXT_WINDOW),
    ("context in words, ollama", "ollama", 400, openai("prompt too long; exceeded max context length by 3 tokens"), Kind.CONTEXT_WINDOW),
    ("context in words, moonshot", "moonshot", 400, openai("Your request exceeded model token limit: 8192"), Kind.CONTEXT_WINDOW),
    (
        "context by type, perplexity",
        "perplexity",
        400,
        {"error": {"message": "x", "type": "too_many_prompt_tokens", "code": 400}},
        Kind.CONTEXT_WINDOW,
    ),
    (
        "context by type, llama.cpp",
        "local",
        400,
        {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error"}},
        Kind.CONTEXT_WINDOW,
    ),
    (
        "context, anthropic",
        "anthropic",
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}},
        Kind.CONTEXT_WINDOW,
    ),
    (
        "context, vertex",
        "vertex",
        400,
        {
            "error": {
                "code": 400,
                "message": "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                "status": "INVALID_ARGUMENT",
            }
        },
        Kind.CONTEXT_WINDOW,
    ),
    ("context, cohere", "cohere", 400, {"id": "1", "message": "too many", "error_type": "TOO_MANY_TOKENS"}, Kind.CONTEXT_WINDOW),
    ("bad key under 400, xai", "xai", 400, {"code": "invalid-argument", "error": "Incorrect API key provided"}, Kind.AUTHENTICATION),
    (
        "bad key under 400, gemini",
        "gemini",
        400,
        {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}},
        Kind.AUTHENTICATION,
    ),
    ("a list around it, gemini", "gemini", 404, [{"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}], Kind.NOT_FOUND),
    (
        "bad model under 400, openrouter",
        "openrouter",
        400,
        {"error": {"message": "foo/bar is not a valid model ID", "code": 400}},
        Kind.NOT_FOUND,
    ),
    ("credits, openrouter", "openrouter", 402, {"error": {"message": "Insufficient credits", "code": 402}}, Kind.PAYMENT),
    (
        "overloaded, anthropic",
        "anthropic",
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        Kind.OVERLOADED,
    ),
    ("too long a wait, anthropic", "anthropic", 504, {"type": "error", "error": {"type": "timeout_error", "message": "x"}}, Kind.TIMEOUT),
    ("detail is a text, mistral", "mistral", 401, {"detail": "Invalid API Key"}, Kind.AUTHENTICATION),
    (
        "detail is a list, mistral",
        "mistral",
        422,
        {"detail": [{"loc": ["body"], "msg": "Extra inputs are not permitted"}]},
        Kind.UNPROCESSABLE,
    ),
    (
        "model in code, mistral",
        "mistral",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        Kind.NOT_FOUND,
    ),
    ("error is a text, ollama", "ollama", 404, {"error": "model 'x' not found"}, Kind.NOT_FOUND),
    ("error is a list, hugging face", "huggingface", 422, {"error": ["one", "two"]}, Kind.UNPROCESSABLE),
    ("no error object, siliconflow", "siliconflow", 400, {"code": 20012, "message": "Model does not exist.", "data": None}, Kind.NOT_FOUND),
    ("bare text, siliconflow", "siliconflow", 401, "Invalid token", Kind.AUTHENTICATION),
    (
        "no balance under 403, siliconflow",
        "siliconflow",
        403,
        {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None},
        Kind.PAYMENT,
    ),
    ("arrears under 429, zai", "zai", 429, {"error": {"code": "1113", "message": "overdue"}}, Kind.PAYMENT),
    ("busy, zai", "zai", 429, {"error": {"code": "1305", "message": "busy"}}, Kind.OVERLOADED),
    ("overdue, volcengine", "volcengine", 403, openai("overdue", code="AccountOverdueError"), Kind.PAYMENT),
    ("quota means rate, dashscope", "dashscope", 429, openai("Allocated quota exceeded", code="insufficient_quota"), Kind.RATE_LIMIT),
    (
        "above a minute's tokens, groq",
        "groq",
        413,
        openai("Request too large for model `x`", type="tokens", code="rate_limit_exceeded"),
        Kind.NEVER_FITS,
    ),
    (
        "above a minute's tokens, openai",
        "openai",
        429,
        openai("Request too large for gpt-4 on tokens per min", type="tokens", code="rate_limit_exceeded"),
        Kind.NEVER_FITS,
    ),
    ("flex is full, groq", "groq", 498, openai("capacity"), Kind.OVERLOADED),
    ("throttled, bedrock", "bedrock", 429, {"message": "Too many requests"}, Kind.RATE_LIMIT),
    ("html from a proxy", "any", 502, b"<html><head><title>502 Bad Gateway</title></head></html>", Kind.BAD_GATEWAY),
    ("nothing at all", "any", 503, b"", Kind.OVERLOADED),
    ("not json", "any", 500, b"upstream connect error", Kind.SERVER),
    ("cloudflare waits no more", "any", 524, b"<html>", Kind.TIMEOUT),
    ("a redirect", "any", 302, b"", Kind.BAD_RESPONSE),
    ("a teapot", "any", 418, b"", Kind.BAD_REQUEST),
]


@pytest.mark.parametrize(("provider", "status", "body", "kind"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_what_an_error_means(provider: str, status: int, body: Any, kind: Kind) -> None:
    failure = refused(status, body, provider=provider)
    assert failure.kind is kind
    assert failure.message.startswith(f"{provider}: ")
    assert (failure.status, failure.provider, failure.model) == (status, provider, "m")
    assert str(error_of(failure)) == failure.message


@pytest.mark.parametrize(
    ("body", "scope"),
    [
        (openai("Rate limit reached on tokens per min (TPM): Limit 1, Used 1", type="tokens", code="rate_limit_exceeded"), "tokens"),
        (openai("Rate limit reached on requests per min (RPM)", type="requests", code="rate_limit_exceeded"), "requests"),
        (openai("Rate limit reached on requests per day (RPD)", type="requests", code="rate_limit_exceeded"), "day"),
        (openai("Rate limit reached for model `x` on tokens per day (TPD)", type="tokens", code="rate_limit_exceeded"), "day"),
        ({"error": {"code": "RateLimitReached", "message": "Your requests have exceeded token rate limit."}}, "tokens"),
        (openai("The system is currently experiencing high demand"), "capacity"),
        (
            {"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "temporarily rate-limited upstream"}}},
            "capacity",
        ),
        (openai("Your account reached max request concurrency: 1", type="rate_limit_reached_error"), "concurrency"),
        (openai("busy", code="limit_requests"), "requests"),
        (openai("busy", code="RateLimitExceeded.EndpointTPMExceeded"), "tokens"),
        ({"object": "error", "message": "Requests rate limit exceeded", "type": "rate_limited", "code": "1300"}, "requests"),
        (
            [
                {
                    "error": {
                        "code": 429,
                        "message": "Quota",
                        "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}],
                    }
                }
            ],
            "day",
        ),
        ({"code": 50603, "message": "Request was rejected due to rate limiting. Details: TPM limit reached.", "data": None}, "tokens"),
        ({"detail": "slow down"}, None),
    ],
)
def test_which_limit_a_429_was_about(body: Any, scope: str | None) -> None:
    failure = refused(429, body, provider="any")
    assert (failure.kind, failure.scope) == (Kind.RATE_LIMIT, scope)


@pytest.mark.parametrize(
    ("headers", "scope"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "10"}, "requests"),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-remaining-tokens": "0"}, "tokens"),
        ({"x-ratelimit-remaining-requests-day": "0"}, "day"),
    ],
)
def test_where_the_text_is_silent_the_empty_limit_says_which_it_was(headers: dict[str, str], scope: str) -> None:
    assert refused(429, {"detail": "slow down"}, headers).scope == scope


RETRY_INFO = {"error": {"code": 429, "message": "Quota. Please retry in 9s.", "details": [{"@type": "RetryInfo", "retryDelay": "48s"}]}}


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, openai("try again in 7s"), 1.5),
        ({"retry-after": "9"}, openai("Please try again in 7s."), 9.0),
        ({"retry-after": "Mon, 17 Aug 2026 20:53:50 GMT"}, openai("x"), 30.0),
        ({"x-ms-retry-after-ms": "250"}, openai("x"), 0.25),
        ({}, RETRY_INFO, 48.0),
        ({}, openai("Please try again in 5.289s. Visit our page"), 5.289),
        ({}, openai("Please try again in 6m0s."), 360.0),
        ({}, openai("Please retry after 27 seconds."), 27.0),
        ({}, openai("Please try again in 26ms."), 0.026),
        (
            {
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "2m59.56s",
                "x-ratelimit-remaining-requests": "5",
                "x-ratelimit-reset-requests": "1h",
            },
            openai("x"),
            179.56,
        ),
        ({"retry-after": "1", "retry-after-ms": "0"}, openai("x"), 1.0),
        ({"retry-after": "0", "retry-after-ms": "0"}, openai("x"), None),
        ({"retry-after": "-5"}, openai("x"), None),
        ({"retry-after": "soon"}, openai("x"), None),
        ({}, openai("x"), None),
    ],
)
def test_how_long_a_refusal_asks_to_wait(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    """Milliseconds before seconds before the body's hint before the reset of the empty limit; a zero says nothing."""
    assert refused(429, body, headers).retry_after == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_a_wait_is_not_taken_from_refusals_that_no_wait_mends(status: int) -> None:
    assert refused(status, openai("x"), {"retry-after": "25"}).retry_after is None


@pytest.mark.parametrize(("given", "taken"), [("true", True), ("false", False), ("perhaps", None)])
def test_the_providers_word_on_retrying_is_kept(given: str, taken: bool | None) -> None:
    assert refused(500, openai("x"), {"x-should-retry": given}).retryable is taken


def test_what_a_model_wrote_wrongly_may_be_drawn_again() -> None:
    assert refused(400, openai("Failed to call a function", code="tool_use_failed"), provider="groq").retryable is True


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Incorrect API key provided: sk-proj-abcdefgh12345678. You can find", "abcdefgh12345678"),
        ("Incorrect API key provided: abcd1234efgh.", "abcd1234efgh"),
        ("bad gsk_abcdefghijk1234", "abcdefghijk1234"),
        ("Authorization: Bearer eyJhbGciOi.J9xx12", "eyJhbGciOi"),
        ("https://x/?key=1&api_key=AbCdEf123456", "AbCdEf123456"),
        ("key AIzaSyA1234567890abcdef", "SyA1234567890abcdef"),
    ],
)
def test_a_key_that_a_provider_repeats_is_masked(text: str, secret: str) -> None:
    failure = refused(401, openai(text, code="invalid_api_key"))
    assert secret not in failure.message
    assert secret not in repr(failure)
    assert secret not in repr(refused(401, text.encode()))


@pytest.mark.parametrize(
    "text", ["Invalid API key provided. You can find yours", "Bearer authentication required", "a risk-assessment of key-value stores"]
)
def test_plain_words_are_not_masked(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(
    ("body", "kind", "retryable"),
    [
        (
            {
                "error": {
                    "message": "Tool choice is required",
                    "type": "invalid_request_error",
                    "code": "tool_use_failed",
                    "status_code": 400,
                }
            },
            Kind.BAD_REQUEST,
            True,
        ),
        ({"error": {"message": "Provider returned error", "code": 502}}, Kind.BAD_GATEWAY, None),
        ({"error": {"message": "slow", "code": 429}}, Kind.RATE_LIMIT, None),
        ({"error": {"message": "The server had an error", "type": "server_error"}}, Kind.SERVER, None),
        ({"error": {"message": "bad", "type": "invalid_request_error"}}, Kind.BAD_REQUEST, None),
        ({"error": {"message": "busy", "type": "overloaded_error"}}, Kind.OVERLOADED, None),
        ({"error": "something broke"}, Kind.SERVER, None),
        ({"code": 20012, "message": "Model does not exist", "data": None}, Kind.SERVER, None),
    ],
)
def test_an_error_under_status_200_goes_by_what_it_says_itself(body: Any, kind: Kind, retryable: bool | None) -> None:
    failure = read_error_inside(body, provider="any", model="m")
    assert (failure.kind, failure.retryable, failure.status) == (kind, retryable, None)


AWS = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"}


@pytest.mark.parametrize(
    ("provider", "status", "body", "headers", "kind"),
    [
        ("vertex_ai", 403, {"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}}, {}, Kind.PERMISSION),
        ("vertex_ai", 429, [{"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}}], {}, Kind.RATE_LIMIT),
        ("vertex_ai", 400, {"error": {"code": 400, "message": "x", "status": "FAILED_PRECONDITION"}}, {}, Kind.PERMISSION),
        ("bedrock", 429, {"message": "Too many requests"}, AWS, Kind.RATE_LIMIT),
        ("bedrock", 429, {"message": "Too many tokens per day"}, AWS, Kind.QUOTA_EXHAUSTED),
        ("bedrock", 400, {"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "x"}, {}, Kind.AUTHENTICATION),
        ("sagemaker", 424, {"Message": "x", "ErrorCode": "x"}, {"x-amzn-errortype": "ModelError"}, Kind.SERVER),
        ("azure", 400, openai("x", code="BadRequest", innererror={"code": "ResponsibleAIPolicyViolation"}), {}, Kind.CONTENT_POLICY),
        ("azure", 400, {"error": {"code": "contentFilter", "message": "Your task failed"}}, {}, Kind.CONTENT_POLICY),
        ("openai", 400, openai("Your prompt was flagged as potentially violating", code="invalid_prompt"), {}, Kind.CONTENT_POLICY),
        ("github", 413, openai("Request body too large. Max size: 8000", code="tokens_limit_reached"), {}, Kind.CONTEXT_WINDOW),
        ("databricks", 429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded workspace rate limit"}, {}, Kind.RATE_LIMIT),
        ("databricks", 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "x"}, {}, Kind.NOT_FOUND),
        ("watsonx", 401, {"errors": [{"code": "authentication_token_expired", "message": "x"}]}, {}, Kind.AUTHENTICATION),
        ("watsonx", 404, {"errors": [{"code": "model_not_supported", "message": "x"}], "status_code": 404}, {}, Kind.NOT_FOUND),
        ("cloudflare", 401, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}, {}, Kind.AUTHENTICATION),
        ("snowflake", 400, {"message": "unknown model foo", "request_id": "1"}, {}, Kind.NOT_FOUND),
        ("anthropic", 400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}, {}, Kind.PAYMENT),
    ],
)  # fmt: skip
def test_clouds_say_it_in_their_own_way_whatever_the_dialect(
    provider: str, status: int, body: Any, headers: dict[str, str], kind: Kind
) -> None:
    assert refused(status, body, headers, provider=provider).kind is kind


def test_a_code_is_believed_over_the_words_beside_it() -> None:
    """A text that sounds like something else does not turn a code that says what it is."""
    said = openai("The model does not exist in a context window of maximum context length", code="rate_limit_exceeded")
    assert refused(429, said).kind is Kind.RATE_LIMIT
    assert refused(400, openai("maximum context length", code="content_filter")).kind is Kind.CONTENT_POLICY


def test_all_that_was_signed_is_not_told() -> None:
    text = "The signature does not match. The Canonical String for this request should have been 'POST\nx-amz-security-token:IQoJsecret'"
    failure = refused(403, {"message": text}, {"x-amzn-errortype": "InvalidSignatureException"}, provider="bedrock")
    assert failure.kind is Kind.AUTHENTICATION
    assert "IQoJsecret" not in repr(failure) + str(failure.body)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, openai("no", type="invalid_request_error", param="n", code="x"), ("BadRequestError", "invalid_request_error", "x", "n")),
        (429, openai("x", type="tokens", code="rate_limit_exceeded"), ("RateLimitError", "tokens", "rate_limit_exceeded", None)),
        (402, {"error": {"message": "Insufficient credits", "code": 402}}, ("PaymentRequiredError", "payment", "402", None)),
        (503, b"<html>", ("ServiceUnavailableError", "overloaded", None, None)),
    ],
)  # fmt: skip
def test_an_exception_says_what_programs_written_for_litellm_read(status: int, body: Any, said: tuple[Any, ...]) -> None:
    error: Any = error_of(refused(status, body, {"x-request-id": "r-1", "retry-after": "3"}))
    assert (type(error).__name__, error.type, error.code, error.param) == said
    assert (error.status_code, error.llm_provider, error.model, error.message) == (status, "openai", "m", str(error))
    assert (error.response.status_code, error.response.headers["retry-after"]) == (status, "3")
    assert error.headers["x-request-id"] == error.request_id == "r-1"
    assert error.response.text == (body.decode() if isinstance(body, bytes) else error.response.text)
    assert error.body == (body.decode() if isinstance(body, bytes) else body)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.response.status_code, again.code) == (type(error), status, error.code)


def test_a_limits_exception_says_whose_it_was_and_which() -> None:
    theirs: Any = error_of(refused(429, openai("Rate limit reached on tokens per min (TPM)", code="rate_limit_exceeded")))
    ours: Any = error_of(Failure(Kind.QUEUE_TIMEOUT, "no room", scope="requests"))
    spent: Any = error_of(Failure(Kind.BUDGET, "spent"))
    assert (theirs.category, theirs.rate_limit_type) == ("vendor_rate_limit", "tokens")
    assert (ours.category, ours.rate_limit_type, ours.response) == ("litellm_rate_limit", "requests", None)
    assert (spent.category, spent.rate_limit_type) == ("litellm_rate_limit", "budget")
