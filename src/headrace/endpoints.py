"""What providers offer besides chat, text and embeddings: images, speech, moderation, reranking, files and batches.

Each function has a blocking form and an `a…` form. They take OpenAI's parameters, and those of every call (`headrace.options.CallOptions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.api import blocking, suspending
from headrace.calls import (
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    MODERATIONS,
    RERANK,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Operation,
)
from headrace.counted import COUNT, TokenCountResponse
from headrace.objects import (
    BinaryResponse,
    ImageResponse,
    JsonObject,
    ModerationResponse,
    RerankResponse,
    TranscriptionResponse,
)


class FileObject(JsonObject):
    """A file that a provider keeps."""

    id: str = ""
    object: str = "file"
    purpose: str | None = None


class BatchObject(JsonObject):
    """Many calls in one file, answered within a day."""

    id: str = ""
    object: str = "batch"
    status: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None


class Page(JsonObject):
    """A list, or the first part of one: `has_more` says so."""

    data: list[Any]
    has_more: bool = False


class Deleted(JsonObject):
    id: str = ""
    deleted: bool = False


FILES: Final = Operation("files", "file", FileObject, None, files=("file",), named=False)
FILE_LIST: Final = Operation("files", "", Page, None, method="GET", named=False)
FILE: Final = Operation("file", "", FileObject, None, method="GET", named=False)
FILE_DELETE: Final = Operation("file", "", Deleted, None, method="DELETE", named=False)
FILE_CONTENT: Final = Operation("file_content", "", JsonObject, None, method="GET", reads="bytes", named=False)
BATCHES: Final = Operation("batches", "input_file_id", BatchObject, None, named=False)
BATCH_LIST: Final = Operation("batches", "", Page, None, method="GET", named=False)
BATCH: Final = Operation("batch", "", BatchObject, None, method="GET", named=False)
BATCH_CANCEL: Final = Operation("batch_cancel", "", BatchObject, None, named=False)
MODELS: Final = Operation("models", "", Page, None, method="GET", named=False)


# ---- with a model ------------------------------------------------------------------------------------------------------------------


def image_generation(prompt: str, model: str = "openai/gpt-image-1", **options: Any) -> ImageResponse:
    """Images of what `prompt` says. `n`, `size`, `quality`, … as OpenAI has them."""
    answer: ImageResponse = blocking(IMAGES, model, prompt, False, options)
    return answer


async def aimage_generation(prompt: str, model: str = "openai/gpt-image-1", **options: Any) -> ImageResponse:
    answer: ImageResponse = await suspending(IMAGES, model, prompt, False, options)
    return answer


def image_edit(image: Any, prompt: str, model: str = "openai/gpt-image-1", **options: Any) -> ImageResponse:
    """`image` (a file, or a list of files; `mask` besides) changed as `prompt` says. Files are read while they are sent."""
    answer: ImageResponse = blocking(IMAGE_EDITS, model, image, False, {"prompt": prompt, **options})
    return answer


async def aimage_edit(image: Any, prompt: str, model: str = "openai/gpt-image-1", **options: Any) -> ImageResponse:
    answer: ImageResponse = await suspending(IMAGE_EDITS, model, image, False, {"prompt": prompt, **options})
    return answer


def image_variation(image: Any, model: str = "openai/dall-e-2", **options: Any) -> ImageResponse:
    """Images like `image`."""
    answer: ImageResponse = blocking(IMAGE_VARIATIONS, model, image, False, options)
    return answer


async def aimage_variation(image: Any, model: str = "openai/dall-e-2", **options: Any) -> ImageResponse:
    answer: ImageResponse = await suspending(IMAGE_VARIATIONS, model, image, False, options)
    return answer


def speech(model: str, input: str, voice: Any = None, **options: Any) -> BinaryResponse:
    """`input` spoken: `.content` are the bytes of the recording, `.stream_to_file(path)` keeps them."""
    answer: BinaryResponse = blocking(SPEECH, model, input, False, {"voice": voice, **options})
    return answer


async def aspeech(model: str, input: str, voice: Any = None, **options: Any) -> BinaryResponse:
    answer: BinaryResponse = await suspending(SPEECH, model, input, False, {"voice": voice, **options})
    return answer


def transcription(model: str, file: Any, **options: Any) -> TranscriptionResponse:
    """What is said in `file`: bytes, a path, an open file, or (name, content, type). It is read while it is sent.

    With `response_format` text, srt or vtt the text is in `.text`, as it came.
    """
    answer: TranscriptionResponse = blocking(TRANSCRIPTIONS, model, file, False, options)
    return answer


async def atranscription(model: str, file: Any, **options: Any) -> TranscriptionResponse:
    answer: TranscriptionResponse = await suspending(TRANSCRIPTIONS, model, file, False, options)
    return answer


def audio_translation(model: str, file: Any, **options: Any) -> TranscriptionResponse:
    """What is said in `file`, in English."""
    answer: TranscriptionResponse = blocking(TRANSLATIONS, model, file, False, options)
    return answer


async def aaudio_translation(model: str, file: Any, **options: Any) -> TranscriptionResponse:
    answer: TranscriptionResponse = await suspending(TRANSLATIONS, model, file, False, options)
    return answer


def moderation(input: str | Sequence[Any], model: str | None = None, **options: Any) -> ModerationResponse:
    """Whether texts or images are harmful, and how."""
    answer: ModerationResponse = blocking(MODERATIONS, _moderator(model), input, False, options)
    return answer


async def amoderation(input: str | Sequence[Any], model: str | None = None, **options: Any) -> ModerationResponse:
    answer: ModerationResponse = await suspending(MODERATIONS, _moderator(model), input, False, options)
    return answer


def _moderator(model: str | None) -> str:
    if model is None:
        return "openai/omni-moderation-latest"
    return model if "/" in model else f"openai/{model}"


def rerank(model: str, query: str, documents: Sequence[str | Mapping[str, Any]], **options: Any) -> RerankResponse:
    """`documents` by their relevance to `query`: `results` of `index` and `relevance_score`, the best `top_n` of them."""
    answer: RerankResponse = blocking(RERANK, model, query, False, {"documents": list(documents), **options})
    return answer


async def arerank(model: str, query: str, documents: Sequence[str | Mapping[str, Any]], **options: Any) -> RerankResponse:
    answer: RerankResponse = await suspending(RERANK, model, query, False, {"documents": list(documents), **options})
    return answer


# ---- without a model: files, batches, models ----------------------------------------------------------------------------------------


def _at(provider: str) -> str:
    """A name that leads to a provider and to none of its models."""
    return f"{provider}/-"


def create_file(file: Any, purpose: str, custom_llm_provider: str = "openai", **options: Any) -> FileObject:
    """Give a provider a file to keep: `purpose` batch, assistants, fine-tune, … It is read while it is sent."""
    answer: FileObject = blocking(FILES, _at(custom_llm_provider), file, False, {"purpose": purpose, **options})
    return answer


async def acreate_file(file: Any, purpose: str, custom_llm_provider: str = "openai", **options: Any) -> FileObject:
    answer: FileObject = await suspending(FILES, _at(custom_llm_provider), file, False, {"purpose": purpose, **options})
    return answer


def file_list(custom_llm_provider: str = "openai", **options: Any) -> Page:
    """The files a provider keeps. `purpose`, `limit`, `after`, `order` narrow it."""
    answer: Page = blocking(FILE_LIST, _at(custom_llm_provider), None, False, options)
    return answer


async def afile_list(custom_llm_provider: str = "openai", **options: Any) -> Page:
    answer: Page = await suspending(FILE_LIST, _at(custom_llm_provider), None, False, options)
    return answer


def file_retrieve(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> FileObject:
    """What a provider knows of a file."""
    answer: FileObject = blocking(FILE, _at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


async def afile_retrieve(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> FileObject:
    answer: FileObject = await suspending(FILE, _at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


def file_delete(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> Deleted:
    """Have a provider forget a file."""
    answer: Deleted = blocking(FILE_DELETE, _at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


async def afile_delete(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> Deleted:
    answer: Deleted = await suspending(FILE_DELETE, _at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


def file_content(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> BinaryResponse:
    """The bytes of a file."""
    answer: BinaryResponse = blocking(FILE_CONTENT, _at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


async def afile_content(file_id: str, custom_llm_provider: str = "openai", **options: Any) -> BinaryResponse:
    answer: BinaryResponse = await suspending(FILE_CONTENT, _at(custom_llm_provider), None, False, options, {"id": file_id})
    return answer


def create_batch(
    completion_window: str, endpoint: str, input_file_id: str, custom_llm_provider: str = "openai", **options: Any
) -> BatchObject:
    """Have the calls in a file answered within `completion_window` (24h). `endpoint`: /v1/chat/completions, …"""
    given = {"completion_window": completion_window, "endpoint": endpoint, **sent_metadata(options)}
    answer: BatchObject = blocking(BATCHES, _at(custom_llm_provider), input_file_id, False, given)
    return answer


async def acreate_batch(
    completion_window: str, endpoint: str, input_file_id: str, custom_llm_provider: str = "openai", **options: Any
) -> BatchObject:
    given = {"completion_window": completion_window, "endpoint": endpoint, **sent_metadata(options)}
    answer: BatchObject = await suspending(BATCHES, _at(custom_llm_provider), input_file_id, False, given)
    return answer


def sent_metadata(options: Mapping[str, Any]) -> dict[str, Any]:
    """A batch's `metadata` is the provider's to keep, where a call's is ours."""
    given = dict(options)
    metadata = given.pop("metadata", None)
    return {**given, "extra_body": {"metadata": metadata, **(given.get("extra_body") or {})}} if metadata else given


def retrieve_batch(batch_id: str, custom_llm_provider: str = "openai", **options: Any) -> BatchObject:
    """How far a batch is."""
    answer: BatchObject = blocking(BATCH, _at(custom_llm_provider), None, False, options, {"id": batch_id})
    return answer


async def aretrieve_batch(batch_id: str, custom_llm_provider: str = "openai", **options: Any) -> BatchObject:
    answer: BatchObject = await suspending(BATCH, _at(custom_llm_provider), None, False, options, {"id": batch_id})
    return answer


def list_batches(custom_llm_provider: str = "openai", **options: Any) -> Page:
    """The batches there are. `limit`, `after` narrow it."""
    answer: Page = blocking(BATCH_LIST, _at(custom_llm_provider), None, False, options)
    return answer


async def alist_batches(custom_llm_provider: str = "openai", **options: Any) -> Page:
    answer: Page = await suspending(BATCH_LIST, _at(custom_llm_provider), None, False, options)
    return answer


def cancel_batch(batch_id: str, custom_llm_provider: str = "openai", **options: Any) -> BatchObject:
    """Stop a batch; what is answered already stays."""
    answer: BatchObject = blocking(BATCH_CANCEL, _at(custom_llm_provider), None, False, options, {"id": batch_id})
    return answer


async def acancel_batch(batch_id: str, custom_llm_provider: str = "openai", **options: Any) -> BatchObject:
    answer: BatchObject = await suspending(BATCH_CANCEL, _at(custom_llm_provider), None, False, options, {"id": batch_id})
    return answer


def count_tokens(model: str, messages: Sequence[Any], **options: Any) -> TokenCountResponse:
    """How many tokens a prompt has: by its provider's own count (Anthropic, Gemini, Bedrock), else by ours.

    `tools` and `system` count as well. The messages are OpenAI's; nothing is generated.
    """
    answer: TokenCountResponse = blocking(COUNT, model, _with_system(messages, options), False, options)
    return answer


async def acount_tokens(model: str, messages: Sequence[Any], **options: Any) -> TokenCountResponse:
    answer: TokenCountResponse = await suspending(COUNT, model, _with_system(messages, options), False, options)
    return answer


def _with_system(messages: Sequence[Any], options: dict[str, Any]) -> Sequence[Any]:
    """`system`, as callers of Anthropic say it, stands before the messages."""
    system = options.pop("system", None)
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def list_models(custom_llm_provider: str = "openai", **options: Any) -> Page:
    """The models a provider has, as it lists them."""
    answer: Page = blocking(MODELS, _at(custom_llm_provider), None, False, options)
    return answer


async def alist_models(custom_llm_provider: str = "openai", **options: Any) -> Page:
    answer: Page = await suspending(MODELS, _at(custom_llm_provider), None, False, options)
    return answer
