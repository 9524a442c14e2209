"""What a call takes besides the model's own parameters, and the parameters that editors complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from headrace.wire import Timeouts


class CloudOptions(TypedDict, total=False):
    """Whose credentials sign a call to a cloud, in litellm's words; without any, each cloud's own library looks for them."""

    aws_access_key_id: str | None
    aws_secret_access_key: str | None
    aws_session_token: str | None
    aws_region_name: str | None
    aws_profile_name: str | None
    aws_role_name: str | None
    """A role's ARN, taken on with the credentials that are otherwise found."""
    aws_session_name: str | None
    aws_external_id: str | None
    aws_web_identity_token: str | None
    """The token, or the path of the file that holds the current one."""
    aws_sts_endpoint: str | None
    aws_bedrock_runtime_endpoint: str | None
    model_id: str | None
    """What stands in Bedrock's address instead of the model's name, which then only tells the family: the ARN of an inference profile or
    of provisioned throughput."""
    vertex_project: str | None
    vertex_location: str | None
    vertex_credentials: str | Mapping[str, Any] | None
    """A service account's JSON, or its file's path."""
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
    """The private key in PEM."""
    oci_key_file: str | None
    oci_signer: Any
    """A signer of Oracle's own library, for instances and resources."""


class StorageOptions(TypedDict, total=False):
    """Where a cloud's batches find their calls and put their answers, in litellm's words: never sent with anything else."""

    aws_batch_role_arn: str | None
    """The role that reads and writes the bucket; else `AWS_BATCH_ROLE_ARN`."""
    s3_output_bucket_name: str | None
    """The bucket of the answers, where it is another than that of the calls; else `AWS_S3_OUTPUT_BUCKET_NAME`."""
    s3_bucket_owner: str | None
    """The account that owns the buckets; else `AWS_S3_BUCKET_OWNER`."""
    s3_encryption_key_id: str | None
    """The key that the answers are encrypted with; else `AWS_S3_ENCRYPTION_KEY_ID`."""
    bedrock_tags: Sequence[Mapping[str, str]] | None
    s3_bucket_name: str | None
    """The bucket that files go to, and a folder in it where they shall (`bucket/folder`); else `AWS_S3_BUCKET_NAME`."""
    s3_region_name: str | None
    """The bucket's region, where it is another than that of the calls."""
    s3_endpoint_url: str | None
    """Another service that speaks S3's language; else `AWS_ENDPOINT_URL_S3`."""
    s3_access_key_id: str | None
    """A pair of keys for the bucket alone."""
    s3_secret_access_key: str | None
    gcs_bucket_name: str | None
    """The same in Google's cloud; else `GCS_BATCH_BUCKET_NAME` or `GCS_BUCKET_NAME`."""
    bucket_name: str | None
    """The same as `gcs_bucket_name`."""
    gcs_endpoint_url: str | None
    """Another service that speaks Cloud Storage's language; else `STORAGE_EMULATOR_HOST`, Google's own variable."""


class CallOptions(CloudOptions, StorageOptions, total=False):
    """What every call takes besides the model's own parameters. None anywhere means: not given."""

    api_key: str | None
    base_url: str | None
    api_base: str | None
    """The same as `base_url`, in litellm's word."""
    custom_llm_provider: str | None
    """The provider, when the model's name does not say it."""
    timeout: float | Timeouts | Any | None
    """Seconds for the whole call (for a stream: to the first token, and between tokens), or `Timeouts` for each phase."""
    request_timeout: float | Timeouts | Any | None
    """The same as `timeout`, in litellm's word; `timeout` wins."""
    total_timeout: float | None
    """Seconds for the whole call: its waiting, all its attempts, and a stream to its end."""
    num_retries: int | None
    max_retries: int | None
    retry_policy: Any
    """Further attempts by kind of failure, as a Router takes them: `{"TimeoutErrorRetries": 3}`."""
    drop_params: bool | None
    """Leave out what the provider is known to refuse, instead of raising UnsupportedParamsError."""
    additional_drop_params: Sequence[str] | None
    """Parameters to leave out whatever the provider takes."""
    allowed_openai_params: Sequence[str] | None
    """Parameters to send as they are although the provider's dialect is not known to have them."""
    extra_headers: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    extra_query: Mapping[str, str] | None
    extra_body: Mapping[str, Any] | None
    """Merged into the body last, sent as it is."""
    cache_control_injection_points: Sequence[Mapping[str, Any]] | None
    """Where the prompt cache of Claude may end, in litellm's words: `[{"location": "message", "role": "system"}]`, or an `index`.
    OpenAI's dialect has no such points: its providers cache by themselves."""
    fetch_media: bool | None
    """Fetch pictures, sounds and documents that messages name by address, and send their data: for providers that take nothing else."""
    organization: str | None
    project: str | None
    """OpenAI's, by whom the call is paid."""
    api_version: str | None
    mock_response: Any
    """Answers in the provider's place: a text, a mapping in OpenAI's form, or an exception to raise."""
    cache: Mapping[str, Any] | None
    """What a cache may do with this call: `no-cache`, `no-store`, `ttl`, `s-maxage` (both in seconds), `namespace`, `use-cache`."""
    caching: bool | None
    """False leaves the cache out of it."""
    input_cost_per_token: float | None
    """What this call costs, in dollars, where the catalogue does not know or knows otherwise."""
    output_cost_per_token: float | None
    input_cost_per_second: float | None
    output_cost_per_second: float | None
    base_model: str | None
    """The model whose prices count, where the name that is called (a deployment's) does not say it."""
    metadata: Mapping[str, Any] | None
    """For callbacks and routing; never sent. To send OpenAI's `metadata` use `extra_body`."""


class ChatOptions(CallOptions, total=False):
    """Parameters of a chat completion, in OpenAI's words. Others are passed on as they are."""

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
    """What a Router takes with a call besides."""

    priority: int | None
    """0 is served first; see `headrace.limits.Priority`."""
    tenant: str | None
    """Whose call it is: tenants share a busy channel evenly."""
    seal: str | None
    """A secret of whoever asks: ids of responses that it is given are good for calls with the same seal, and for calls without one."""
    charged: bool | None
    """Whether what is asked for was paid for before: a response that is made in the background tells of its usage each time."""
    scopes: list[str] | None
    """Limits of one's own that apply to it besides those of the deployment: names given to `Router.add_scope`."""
    max_wait: float | None
    """Seconds the call may wait for room; 0 fails at once with the exact time to wait."""
    deadline: float | None
    """Seconds from now by which the call must have started; refused at once when it cannot."""
    tags: Sequence[str] | None
    """Which deployments may serve it, where the Router goes by tags."""
    allowed_model_region: str | None
    """What the region of a deployment that may serve it begins with."""
    session_id: str | None
    """What calls of one conversation have in common, where the Router goes by sessions."""
    fallbacks: list[str] | None
    """Model groups to ask when this one cannot answer, before the router's own fallbacks."""
    disable_fallbacks: bool | None
    """Whether no other group is asked, the router's own fallbacks neither."""
    stream_timeout: float | None


class RouterChatOptions(ChatOptions, RoutingOptions, total=False):
    """Parameters of a chat completion through a Router."""


class RouterTextOptions(TextOptions, RoutingOptions, total=False):
    """Parameters of a text completion through a Router."""


class RouterEmbeddingOptions(EmbeddingOptions, RoutingOptions, total=False):
    """Parameters of an embedding call through a Router."""
