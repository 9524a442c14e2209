"""Endpoints besides chat, text completion and embeddings: images, speech, moderation, reranking, OCR, token counts and
model lists.

Each function has a blocking form and an async `a…` form. They take OpenAI's parameters and those of every call
(`headrace.options.CallOptions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, overload

from headrace.api import blocking, suspending
from headrace.calls import (
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    MODERATIONS,
    OCR,
    RERANK,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Operation,
)
from headrace.counted import COUNT, TokenCountResponse
from headrace.keeping import at
from headrace.kept import Page
from headrace.objects import (
    BinaryResponse,
    ImageResponse,
    ImageStreamEvent,
    ModerationResponse,
    OCRResponse,
    RerankResponse,
    TranscriptionResponse,
    TranscriptionStreamEvent,
)
from headrace.streams import AsyncStream, Stream

MODELS: Final = Operation("models", "", Page, None, method="GET", named=False)


# ---- with a model ------------------------------------------------------------------------------------------------------------------


@overload
def image_generation(
    prompt: str, model: str = "openai/gpt-image-1", *, stream: Literal[True], **options: Any
) -> Stream[ImageStreamEvent]: ...
@overload
def image_generation(
    prompt: str, model: str = "openai/gpt-image-1", *, stream: Literal[False] | None = None, **options: Any
) -> ImageResponse: ...
def image_generation(prompt: str, model: str = "openai/gpt-image-1", *, stream: bool | None = None, **options: Any) -> Any:
    """Images generated from `prompt`. `n`, `size`, `quality`, … as in OpenAI's API.

    With `stream=True`, a `Stream` of events: up to `partial_images` partial images, then the completed image.
    """
    return blocking(IMAGES, model, prompt, bool(stream), options)


@overload
async def aimage_generation(
    prompt: str, model: str = "openai/gpt-image-1", *, stream: Literal[True], **options: Any
) -> AsyncStream[ImageStreamEvent]: ...
@overload
async def aimage_generation(
    prompt: str, model: str = "openai/gpt-image-1", *, stream: Literal[False] | None = None, **options: Any
) -> ImageResponse: ...
async def aimage_generation(prompt: str, model: str = "openai/gpt-image-1", *, stream: bool | None = None, **options: Any) -> Any:
    return await suspending(IMAGES, model, prompt, bool(stream), options)


@overload
def image_edit(
    image: Any, prompt: str, model: str = "openai/gpt-image-1", *, stream: Literal[True], **options: Any
) -> Stream[ImageStreamEvent]: ...
@overload
def image_edit(
    image: Any, prompt: str, model: str = "openai/gpt-image-1", *, stream: Literal[False] | None = None, **options: Any
) -> ImageResponse: ...
def image_edit(image: Any, prompt: str, model: str = "openai/gpt-image-1", *, stream: bool | None = None, **options: Any) -> Any:
    """`image` (a file or a list of files, optionally with `mask`) edited as `prompt` says. Files are read while they
    are sent.

    Streams as `image_generation` does.
    """
    return blocking(IMAGE_EDITS, model, image, bool(stream), {"prompt": prompt, **options})


@overload
async def aimage_edit(
    image: Any, prompt: str, model: str = "openai/gpt-image-1", *, stream: Literal[True], **options: Any
) -> AsyncStream[ImageStreamEvent]: ...
@overload
async def aimage_edit(
    image: Any, prompt: str, model: str = "openai/gpt-image-1", *, stream: Literal[False] | None = None, **options: Any
) -> ImageResponse: ...
async def aimage_edit(image: Any, prompt: str, model: str = "openai/gpt-image-1", *, stream: bool | None = None, **options: Any) -> Any:
    return await suspending(IMAGE_EDITS, model, image, bool(stream), {"prompt": prompt, **options})


def image_variation(image: Any, model: str = "openai/dall-e-2", **options: Any) -> ImageResponse:
    """Variations of `image`."""
    answer: ImageResponse = blocking(IMAGE_VARIATIONS, model, image, False, options)
    return answer


async def aimage_variation(image: Any, model: str = "openai/dall-e-2", **options: Any) -> ImageResponse:
    answer: ImageResponse = await suspending(IMAGE_VARIATIONS, model, image, False, options)
    return answer


def speech(model: str, input: str, voice: Any = None, **options: Any) -> BinaryResponse:
    """`input` as speech: `.content` is the audio, `.stream_to_file(path)` saves it."""
    answer: BinaryResponse = blocking(SPEECH, model, input, False, {"voice": voice, **options})
    return answer


async def aspeech(model: str, input: str, voice: Any = None, **options: Any) -> BinaryResponse:
    answer: BinaryResponse = await suspending(SPEECH, model, input, False, {"voice": voice, **options})
    return answer


@overload
def transcription(model: str, file: Any, *, stream: Literal[True], **options: Any) -> Stream[TranscriptionStreamEvent]: ...
@overload
def transcription(model: str, file: Any, *, stream: Literal[False] | None = None, **options: Any) -> TranscriptionResponse: ...
def transcription(model: str, file: Any, *, stream: bool | None = None, **options: Any) -> Any:
    """A transcription of `file`: bytes, a path, an open file, or (name, content, type). It is read while it is sent.

    With `response_format` text, srt or vtt, `.text` holds the provider's output unchanged. With `stream=True`, a
    `Stream` of events: pieces of the text, then the whole text. A model that does not stream yields only the latter.
    """
    return blocking(TRANSCRIPTIONS, model, file, bool(stream), options)


@overload
async def atranscription(model: str, file: Any, *, stream: Literal[True], **options: Any) -> AsyncStream[TranscriptionStreamEvent]: ...
@overload
async def atranscription(model: str, file: Any, *, stream: Literal[False] | None = None, **options: Any) -> TranscriptionResponse: ...
async def atranscription(model: str, file: Any, *, stream: bool | None = None, **options: Any) -> Any:
    return await suspending(TRANSCRIPTIONS, model, file, bool(stream), options)


def audio_translation(model: str, file: Any, **options: Any) -> TranscriptionResponse:
    """An English translation of the speech in `file`."""
    answer: TranscriptionResponse = blocking(TRANSLATIONS, model, file, False, options)
    return answer


async def aaudio_translation(model: str, file: Any, **options: Any) -> TranscriptionResponse:
    answer: TranscriptionResponse = await suspending(TRANSLATIONS, model, file, False, options)
    return answer


def moderation(input: str | Sequence[Any], model: str | None = None, **options: Any) -> ModerationResponse:
    """Whether texts or images are harmful, by category."""
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
    """`documents` ranked by relevance to `query`: `results` with `index` and `relevance_score`, at most `top_n`."""
    answer: RerankResponse = blocking(RERANK, model, query, False, {"documents": list(documents), **options})
    return answer


async def arerank(model: str, query: str, documents: Sequence[str | Mapping[str, Any]], **options: Any) -> RerankResponse:
    answer: RerankResponse = await suspending(RERANK, model, query, False, {"documents": list(documents), **options})
    return answer


# ---- counts and lists ---------------------------------------------------------------------------------------------------------------


def ocr(model: str, document: Mapping[str, Any], **options: Any) -> OCRResponse:
    """The text of a document given in Mistral's form: `{"type": "document_url", "document_url": …}`, or an `image_url`.

    A data: URL embeds the document. `pages` hold the text as `markdown`.
    """
    answer: OCRResponse = blocking(OCR, model, document, False, options)
    return answer


async def aocr(model: str, document: Mapping[str, Any], **options: Any) -> OCRResponse:
    answer: OCRResponse = await suspending(OCR, model, document, False, options)
    return answer


def count_tokens(model: str, messages: Sequence[Any], **options: Any) -> TokenCountResponse:
    """Tokens in a prompt: the provider's own count (Anthropic, Gemini, Bedrock), else headrace's.

    Includes `tools` and `system`. Messages are in OpenAI's format; nothing is generated.
    """
    answer: TokenCountResponse = blocking(COUNT, model, _with_system(messages, options), False, options)
    return answer


async def acount_tokens(model: str, messages: Sequence[Any], **options: Any) -> TokenCountResponse:
    answer: TokenCountResponse = await suspending(COUNT, model, _with_system(messages, options), False, options)
    return answer


def _with_system(messages: Sequence[Any], options: dict[str, Any]) -> Sequence[Any]:
    """The messages with `system`, as Anthropic's callers pass it, in front."""
    system = options.pop("system", None)
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def list_models(custom_llm_provider: str = "openai", **options: Any) -> Page:
    """The models that a provider lists."""
    answer: Page = blocking(MODELS, at(custom_llm_provider), None, False, options)
    return answer


async def alist_models(custom_llm_provider: str = "openai", **options: Any) -> Page:
    answer: Page = await suspending(MODELS, at(custom_llm_provider), None, False, options)
    return answer
