"""Options of a call besides the model's own parameters, and typed parameters for editors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from headrace.wire import Timeouts


class CloudOptions(TypedDict, total=False):
    """Credentials that sign calls to a cloud, named as in litellm. Without any, each cloud's own library looks for them."""

    aws_access_key_id: str | None
    aws_secret_access_key: str | None
    aws_session_token: str | None
    aws_region_name: str | None
    aws_profile_name: str | None
    aws_role_name: str | None
    """ARN of a role to assume with the credentials found otherwise."""
    aws_session_name: str | None
    aws_external_id: str | None
    aws_web_identity_token: str | None
    """The token, or the path of a file that holds the current one."""
    aws_sts_endpoint: str | None
    aws_bedrock_runtime_endpoint: str | None
    model_id: str | None
    """Used in Bedrock's URL in place of the model's name, which then only tells the model family: the ARN of an
    inference profile or of provisioned throughput.
    """
    vertex_project: str | None
    vertex_location: str | None
    vertex_credentials: str | Mapping[str, Any] | None
    """A service account's JSON, or the path of its file."""
    azure_ad_token: str | None
    azure_ad_token_provider: Callable[[], str] | None
    azure_scope: str | None
    tenant_id: str | None
    client_id: str | None
    client_secret: str | None
    oci_region: str | None
    oci_compartment_id: str | None
    oci_user: str | None
    oci_tenancy: str | None
    oci_fingerprint: str | None
    oci_key: str | None
    """The private key in PEM format."""
    oci_key_file: str | None
    oci_signer: Any
    """A signer of Oracle's own library, for instance and resource principals."""


class StorageOptions(TypedDict, total=False):
    """Storage buckets for a cloud's batch input and output, named as in litellm. Never sent with other calls."""

    aws_batch_role_arn: str | None
    """The role that reads and writes the bucket; default `AWS_BATCH_ROLE_ARN`."""
    s3_output_bucket_name: str | None
    """The output bucket, if not the input bucket; default `AWS_S3_OUTPUT_BUCKET_NAME`."""
    s3_bucket_owner: str | None
    """The account that owns the buckets; default `AWS_S3_BUCKET_OWNER`."""
    s3_encryption_key_id: str | None
    """The key that encrypts the output; default `AWS_S3_ENCRYPTION_KEY_ID`."""
    bedrock_tags: Sequence[Mapping[str, str]] | None
    s3_bucket_name: str | None
    """The bucket for files, optionally with a folder (`bucket/folder`); default `AWS_S3_BUCKET_NAME`."""
    s3_region_name: str | None
    """The bucket's region, if not that of the calls."""
    s3_endpoint_url: str | None
    """URL of another S3-compatible service; default `AWS_ENDPOINT_URL_S3`."""
    s3_access_key_id: str | None
    """Key pair for the bucket alone."""
    s3_secret_access_key: str | None
    gcs_bucket_name: str | None
    """The bucket for files in Google Cloud Storage; default `GCS_BATCH_BUCKET_NAME` or `GCS_BUCKET_NAME`."""
    bucket_name: str | None
    """Alias of `gcs_bucket_name`."""
    gcs_endpoint_url: str | None
    """URL of another service compatible with Cloud Storage; default `STORAGE_EMULATOR_HOST`, Google's own variable."""


class CallOptions(CloudOptions, StorageOptions, total=False):
    """Options of every call besides the model's own parameters. None always means not given."""

    api_key: str | None
    base_url: str | None
    api_base: str | None
    """litellm's alias of `base_url`."""
    custom_llm_provider: str | None
    """The provider, if the model's name does not include it."""
    timeout: float | Timeouts | Any | None
    """Seconds for the whole call (for a stream: to the first token, and between tokens), or `Timeouts` for each phase."""
    request_timeout: float | Timeouts | Any | None
    """litellm's alias of `timeout`, which takes precedence."""
    total_timeout: float | None
    """Seconds for the whole call, including queueing, all attempts, and a stream to its end."""
    num_retries: int | None
    max_retries: int | None
    retry_policy: Any
    """Retries by kind of failure, as for a Router: `{"TimeoutErrorRetries": 3}`."""
    drop_params: bool | None
    """Omit parameters that the provider is known to reject, instead of raising UnsupportedParamsError."""
    additional_drop_params: Sequence[str] | None
    """Parameters to omit, whatever the provider accepts."""
    allowed_openai_params: Sequence[str] | None
    """Parameters to send unchanged even if the provider's dialect is not known to have them."""
    extra_headers: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    extra_query: Mapping[str, str] | None
    extra_body: Mapping[str, Any] | None
    """Merged into the body last, unchanged."""
    cache_control_injection_points: Sequence[Mapping[str, Any]] | None
    """Where Claude's prompt cache may end, as in litellm: `[{"location": "message", "role": "system"}]`, or an `index`.
    Has no effect in OpenAI's dialect, whose providers cache by themselves.
    """
    fetch_media: bool | None
    """Fetch media that messages reference by URL and send it as data, for providers that accept only inline data."""
    organization: str | None
    project: str | None
    """OpenAI's project, to which the call is billed."""
    api_version: str | None
    mock_response: Any
    """Response to return without calling the provider: a text, a mapping in OpenAI's format, or an exception to raise."""
    cache: Mapping[str, Any] | None
    """Cache controls of this call: `no-cache`, `no-store`, `ttl`, `s-maxage` (both in seconds), `namespace`, `use-cache`."""
    caching: bool | None
    """False bypasses the cache."""
    input_cost_per_token: float | None
    """Prices of this call in dollars, which override the built-in price table."""
    output_cost_per_token: float | None
    input_cost_per_second: float | None
    output_cost_per_second: float | None
    base_model: str | None
    """The model whose prices apply, if the called name does not identify it, as with a deployment."""
    metadata: Mapping[str, Any] | None
    """For callbacks and routing; never sent. To send OpenAI's `metadata`, use `extra_body`."""


class ChatOptions(CallOptions, total=False):
    """Parameters of a chat completion, as OpenAI names them. Others are passed through unchanged."""

    temperature: float | None
    top_p: float | None
    n: int | None
    stop: str | list[str] | None
    max_tokens: int | None
    max_completion_tokens: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    seed: int | None
    user: str | None
    tools: list[Any] | None
    tool_choice: Any
    parallel_tool_calls: bool | None
    functions: list[Any] | None
    function_call: Any
    response_format: Any
    """A mapping as OpenAI takes it, or a pydantic model class, which becomes a strict JSON schema."""
    reasoning_effort: str | None
    verbosity: str | None
    modalities: list[str] | None
    audio: Mapping[str, Any] | None
    prediction: Mapping[str, Any] | None
    service_tier: str | None
    store: bool | None
    stream_options: Mapping[str, Any] | None
    web_search_options: Mapping[str, Any] | None
    prompt_cache_key: str | None
    safety_identifier: str | None


class TextOptions(CallOptions, total=False):
    """Parameters of a legacy text completion."""

    suffix: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    n: int | None
    logprobs: int | None
    echo: bool | None
    stop: str | list[str] | None
    presence_penalty: float | None
    frequency_penalty: float | None
    best_of: int | None
    logit_bias: Mapping[str, float] | None
    seed: int | None
    user: str | None
    stream_options: Mapping[str, Any] | None


class EmbeddingOptions(CallOptions, total=False):
    """Parameters of an embedding call."""

    dimensions: int | None
    encoding_format: str | None
    user: str | None


class RoutingOptions(TypedDict, total=False):
    """Additional options of a call through a Router."""

    priority: int | None
    """0 is served first; see `headrace.limits.Priority`."""
    tenant: str | None
    """The tenant the call belongs to; the queue serves tenants evenly."""
    seal: str | None
    """A secret of the caller. Response ids returned under it are valid only in calls with the same seal, or without one."""
    charged: bool | None
    """Whether the requested response was already billed: one made in the background reports its usage on every retrieval."""
    scopes: list[str] | None
    """Names given to `Router.add_scope`, whose limits apply to the call besides those of the deployment."""
    max_wait: float | None
    """Seconds the call may wait in the queue; 0 fails at once with the exact time to wait."""
    deadline: float | None
    """Seconds from now by which the call must have started; refused at once if that is impossible."""
    tags: Sequence[str] | None
    """Tags that select deployments, if the Router routes by tags."""
    allowed_model_region: str | None
    """Prefix of the region of deployments that may serve the call."""
    session_id: str | None
    """Identifies a conversation, if the Router routes by sessions."""
    fallbacks: list[str] | None
    """Model groups to try when this one fails, before the Router's own fallbacks."""
    disable_fallbacks: bool | None
    """Disable all fallbacks, including the Router's own."""
    stream_timeout: float | None


class RouterChatOptions(ChatOptions, RoutingOptions, total=False):
    """Parameters of a chat completion through a Router."""


class RouterTextOptions(TextOptions, RoutingOptions, total=False):
    """Parameters of a text completion through a Router."""


class RouterEmbeddingOptions(EmbeddingOptions, RoutingOptions, total=False):
    """Parameters of an embedding call through a Router."""
