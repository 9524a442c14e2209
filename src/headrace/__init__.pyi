from typing import Final

from headrace.api import (
    Router as Router,
)
from headrace.api import (
    acompletion as acompletion,
)
from headrace.api import (
    aembedding as aembedding,
)
from headrace.api import (
    atext_completion as atext_completion,
)
from headrace.api import (
    completion as completion,
)
from headrace.api import (
    embedding as embedding,
)
from headrace.api import (
    text_completion as text_completion,
)
from headrace.compat.litellm import (
    install_as_litellm as install_as_litellm,
)
from headrace.endpoints import (
    aaudio_translation as aaudio_translation,
)
from headrace.endpoints import (
    acount_tokens as acount_tokens,
)
from headrace.endpoints import (
    aimage_edit as aimage_edit,
)
from headrace.endpoints import (
    aimage_generation as aimage_generation,
)
from headrace.endpoints import (
    aimage_variation as aimage_variation,
)
from headrace.endpoints import (
    alist_models as alist_models,
)
from headrace.endpoints import (
    amoderation as amoderation,
)
from headrace.endpoints import (
    aocr as aocr,
)
from headrace.endpoints import (
    arerank as arerank,
)
from headrace.endpoints import (
    aspeech as aspeech,
)
from headrace.endpoints import (
    atranscription as atranscription,
)
from headrace.endpoints import (
    audio_translation as audio_translation,
)
from headrace.endpoints import (
    count_tokens as count_tokens,
)
from headrace.endpoints import (
    image_edit as image_edit,
)
from headrace.endpoints import (
    image_generation as image_generation,
)
from headrace.endpoints import (
    image_variation as image_variation,
)
from headrace.endpoints import (
    list_models as list_models,
)
from headrace.endpoints import (
    moderation as moderation,
)
from headrace.endpoints import (
    ocr as ocr,
)
from headrace.endpoints import (
    rerank as rerank,
)
from headrace.endpoints import (
    speech as speech,
)
from headrace.endpoints import (
    transcription as transcription,
)
from headrace.errors import (
    APIConnectionError as APIConnectionError,
)
from headrace.errors import (
    APIError as APIError,
)
from headrace.errors import (
    APIResponseValidationError as APIResponseValidationError,
)
from headrace.errors import (
    AuthenticationError as AuthenticationError,
)
from headrace.errors import (
    BadGatewayError as BadGatewayError,
)
from headrace.errors import (
    BadRequestError as BadRequestError,
)
from headrace.errors import (
    BudgetExceededError as BudgetExceededError,
)
from headrace.errors import (
    ConfigurationError as ConfigurationError,
)
from headrace.errors import (
    ContentPolicyViolationError as ContentPolicyViolationError,
)
from headrace.errors import (
    ContextWindowExceededError as ContextWindowExceededError,
)
from headrace.errors import (
    HeadraceError as HeadraceError,
)
from headrace.errors import (
    InternalServerError as InternalServerError,
)
from headrace.errors import (
    NeverFits as NeverFits,
)
from headrace.errors import (
    NotFoundError as NotFoundError,
)
from headrace.errors import (
    PaymentRequiredError as PaymentRequiredError,
)
from headrace.errors import (
    PermissionDeniedError as PermissionDeniedError,
)
from headrace.errors import (
    QueueFull as QueueFull,
)
from headrace.errors import (
    QueueTimeout as QueueTimeout,
)
from headrace.errors import (
    RateLimitError as RateLimitError,
)
from headrace.errors import (
    ServiceUnavailableError as ServiceUnavailableError,
)
from headrace.errors import (
    Timeout as Timeout,
)
from headrace.errors import (
    TruncatedStream as TruncatedStream,
)
from headrace.errors import (
    UnprocessableEntityError as UnprocessableEntityError,
)
from headrace.errors import (
    UnsupportedParamsError as UnsupportedParamsError,
)
from headrace.keeping import (
    acancel_batch as acancel_batch,
)
from headrace.keeping import (
    acreate_batch as acreate_batch,
)
from headrace.keeping import (
    acreate_file as acreate_file,
)
from headrace.keeping import (
    afile_content as afile_content,
)
from headrace.keeping import (
    afile_delete as afile_delete,
)
from headrace.keeping import (
    afile_list as afile_list,
)
from headrace.keeping import (
    afile_retrieve as afile_retrieve,
)
from headrace.keeping import (
    alist_batches as alist_batches,
)
from headrace.keeping import (
    aretrieve_batch as aretrieve_batch,
)
from headrace.keeping import (
    cancel_batch as cancel_batch,
)
from headrace.keeping import (
    create_batch as create_batch,
)
from headrace.keeping import (
    create_file as create_file,
)
from headrace.keeping import (
    file_content as file_content,
)
from headrace.keeping import (
    file_delete as file_delete,
)
from headrace.keeping import (
    file_list as file_list,
)
from headrace.keeping import (
    file_retrieve as file_retrieve,
)
from headrace.keeping import (
    list_batches as list_batches,
)
from headrace.keeping import (
    retrieve_batch as retrieve_batch,
)
from headrace.models.counting import (
    token_counter as token_counter,
)
from headrace.models.info import (
    completion_cost as completion_cost,
)
from headrace.models.info import (
    cost_per_token as cost_per_token,
)
from headrace.models.info import (
    get_max_tokens as get_max_tokens,
)
from headrace.models.info import (
    get_model_info as get_model_info,
)
from headrace.models.info import (
    register_model as register_model,
)
from headrace.objects import (
    BinaryResponse as BinaryResponse,
)
from headrace.objects import (
    ChatCompletionDeltaToolCall as ChatCompletionDeltaToolCall,
)
from headrace.objects import (
    ChatCompletionMessageToolCall as ChatCompletionMessageToolCall,
)
from headrace.objects import (
    Choices as Choices,
)
from headrace.objects import (
    Delta as Delta,
)
from headrace.objects import (
    Embedding as Embedding,
)
from headrace.objects import (
    EmbeddingResponse as EmbeddingResponse,
)
from headrace.objects import (
    Function as Function,
)
from headrace.objects import (
    ImageObject as ImageObject,
)
from headrace.objects import (
    ImageResponse as ImageResponse,
)
from headrace.objects import (
    ImageStreamEvent as ImageStreamEvent,
)
from headrace.objects import (
    Message as Message,
)
from headrace.objects import (
    ModelResponse as ModelResponse,
)
from headrace.objects import (
    ModelResponseStream as ModelResponseStream,
)
from headrace.objects import (
    ModerationResponse as ModerationResponse,
)
from headrace.objects import (
    OCRResponse as OCRResponse,
)
from headrace.objects import (
    RerankResponse as RerankResponse,
)
from headrace.objects import (
    StreamingChoices as StreamingChoices,
)
from headrace.objects import (
    TextChoices as TextChoices,
)
from headrace.objects import (
    TextCompletionResponse as TextCompletionResponse,
)
from headrace.objects import (
    TranscriptionResponse as TranscriptionResponse,
)
from headrace.objects import (
    TranscriptionStreamEvent as TranscriptionStreamEvent,
)
from headrace.objects import (
    Usage as Usage,
)
from headrace.providers.catalog import (
    providers as providers,
)
from headrace.providers.catalog import (
    register_provider as register_provider,
)
from headrace.rebuild import (
    stream_chunk_builder as stream_chunk_builder,
)
from headrace.routing.events import (
    Event as Event,
)
from headrace.routing.events import (
    subscribe as subscribe,
)
from headrace.runtime.caches import (
    Cache as Cache,
)
from headrace.served import (
    AnthropicMessage as AnthropicMessage,
)
from headrace.served import (
    DeleteResponseResult as DeleteResponseResult,
)
from headrace.served import (
    GenerateContentResponse as GenerateContentResponse,
)
from headrace.served import (
    ResponseItemList as ResponseItemList,
)
from headrace.served import (
    ResponsesAPIResponse as ResponsesAPIResponse,
)
from headrace.served import (
    ResponsesAPIStreamingResponse as ResponsesAPIStreamingResponse,
)
from headrace.settings import (
    Settings as Settings,
)
from headrace.settings import (
    settings as settings,
)
from headrace.speaking import (
    aanthropic_messages as aanthropic_messages,
)
from headrace.speaking import (
    acancel_responses as acancel_responses,
)
from headrace.speaking import (
    acompact_responses as acompact_responses,
)
from headrace.speaking import (
    adelete_responses as adelete_responses,
)
from headrace.speaking import (
    agenerate_content as agenerate_content,
)
from headrace.speaking import (
    agenerate_content_stream as agenerate_content_stream,
)
from headrace.speaking import (
    aget_responses as aget_responses,
)
from headrace.speaking import (
    alist_input_items as alist_input_items,
)
from headrace.speaking import (
    anthropic_messages as anthropic_messages,
)
from headrace.speaking import (
    aresponses as aresponses,
)
from headrace.speaking import (
    cancel_responses as cancel_responses,
)
from headrace.speaking import (
    compact_responses as compact_responses,
)
from headrace.speaking import (
    delete_responses as delete_responses,
)
from headrace.speaking import (
    generate_content as generate_content,
)
from headrace.speaking import (
    generate_content_stream as generate_content_stream,
)
from headrace.speaking import (
    get_responses as get_responses,
)
from headrace.speaking import (
    list_input_items as list_input_items,
)
from headrace.speaking import (
    responses as responses,
)
from headrace.streams import (
    AsyncStream as AsyncStream,
)
from headrace.streams import (
    Stream as Stream,
)
from headrace.wire import (
    Timeouts as Timeouts,
)

__version__: Final[str]
