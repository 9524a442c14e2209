"""The calls that a Router offers, sync and async: signatures and documentation; each is one line into the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from headrace.calls import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    EMPTY,
    IMAGE_EDITS,
    IMAGES,
    MODERATIONS,
    OCR,
    RERANK,
    SPEECH,
    TRANSCRIPTIONS,
    Operation,
)

if TYPE_CHECKING:
    from headrace.objects import (
        BinaryResponse,
        EmbeddingResponse,
        ImageResponse,
        ImageStreamEvent,
        ModelResponse,
        ModelResponseStream,
        ModerationResponse,
        OCRResponse,
        RerankResponse,
        TextCompletionResponse,
        TranscriptionResponse,
        TranscriptionStreamEvent,
    )
    from headrace.options import RouterChatOptions, RouterEmbeddingOptions, RouterTextOptions
    from headrace.streams import AsyncStream, Stream


class Completions:
    """Chat completions as the OpenAI SDK spells them."""

    def __init__(self, face: Face) -> None:
        self._face = face

    @overload
    def create(
        self, messages: Sequence[Any], model: str | None = None, *, stream: Literal[True], **options: Unpack[RouterChatOptions]
    ) -> Stream[ModelResponseStream]: ...
    @overload
    def create(
        self,
        messages: Sequence[Any],
        model: str | None = None,
        *,
        stream: Literal[False] | None = None,
        **options: Unpack[RouterChatOptions],
    ) -> ModelResponse: ...
    def create(self, messages: Sequence[Any], model: str | None = None, *, stream: bool | None = None, **options: Any) -> Any:
        """`Router.completion`, or an awaitable as in litellm if `default_litellm_params` contains `acompletion`.

        model: the group; by default the `model` of `default_litellm_params`.
        """
        own = self._face._defaults()
        group = model or own.get("model") or ""
        call: Any = self._face.acompletion if own.get("acompletion") else self._face.completion
        return call(group, messages, stream=stream, **options)


class Chat:
    def __init__(self, face: Face) -> None:
        self.completions = Completions(face)


class Face:
    """Base class of a Router: subclasses implement `_suspending`, `_blocking` and `_defaults`."""

    async def _suspending(
        self, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
    ) -> Any:
        raise NotImplementedError

    def _blocking(
        self, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
    ) -> Any:
        raise NotImplementedError

    def _defaults(self) -> Mapping[str, Any]:
        """The Router's `default_litellm_params`."""
        raise NotImplementedError

    @overload
    async def acompletion(
        self, model: str, messages: Sequence[Any], *, stream: Literal[True], **options: Unpack[RouterChatOptions]
    ) -> AsyncStream[ModelResponseStream]: ...
    @overload
    async def acompletion(
        self, model: str, messages: Sequence[Any], *, stream: Literal[False] | None = None, **options: Unpack[RouterChatOptions]
    ) -> ModelResponse: ...
    async def acompletion(self, model: str, messages: Sequence[Any], *, stream: bool | None = None, **options: Any) -> Any:
        """A chat completion from the group `model`; with `stream=True` an `AsyncStream` of chunks.

        Waits for room under the deployments' limits. Raises HeadraceError once retries and fallbacks are used up.
        """
        return await self._suspending(CHAT, model, messages, bool(stream), options)

    @overload
    def completion(
        self, model: str, messages: Sequence[Any], *, stream: Literal[True], **options: Unpack[RouterChatOptions]
    ) -> Stream[ModelResponseStream]: ...
    @overload
    def completion(
        self, model: str, messages: Sequence[Any], *, stream: Literal[False] | None = None, **options: Unpack[RouterChatOptions]
    ) -> ModelResponse: ...
    def completion(self, model: str, messages: Sequence[Any], *, stream: bool | None = None, **options: Any) -> Any:
        """`acompletion`, blocking the calling thread."""
        return self._blocking(CHAT, model, messages, bool(stream), options)

    @overload
    async def schedule_acompletion(
        self, model: str, messages: Sequence[Any], priority: int, stream: Literal[True], **options: Any
    ) -> AsyncStream[ModelResponseStream]: ...
    @overload
    async def schedule_acompletion(
        self,
        model: str,
        messages: Sequence[Any],
        priority: int,
        stream: Literal[False] | None = None,
        **options: Any,
    ) -> ModelResponse: ...
    async def schedule_acompletion(
        self, model: str, messages: Sequence[Any], priority: int, stream: bool | None = None, **options: Any
    ) -> Any:
        """`acompletion` with `priority`: among waiting calls, the lower number goes first."""
        return await self._suspending(CHAT, model, messages, bool(stream), {**options, "priority": priority})

    @property
    def chat(self) -> Chat:
        """`router.chat.completions.create(…)`, as in the OpenAI SDK."""
        return Chat(self)

    @overload
    async def atext_completion(
        self, model: str, prompt: Any, *, stream: Literal[True], **options: Unpack[RouterTextOptions]
    ) -> AsyncStream[TextCompletionResponse]: ...
    @overload
    async def atext_completion(
        self, model: str, prompt: Any, *, stream: Literal[False] | None = None, **options: Unpack[RouterTextOptions]
    ) -> TextCompletionResponse: ...
    async def atext_completion(self, model: str, prompt: Any, *, stream: bool | None = None, **options: Any) -> Any:
        """A legacy text completion from the group `model`."""
        return await self._suspending(COMPLETIONS, model, prompt, bool(stream), options)

    @overload
    def text_completion(
        self, model: str, prompt: Any, *, stream: Literal[True], **options: Unpack[RouterTextOptions]
    ) -> Stream[TextCompletionResponse]: ...
    @overload
    def text_completion(
        self, model: str, prompt: Any, *, stream: Literal[False] | None = None, **options: Unpack[RouterTextOptions]
    ) -> TextCompletionResponse: ...
    def text_completion(self, model: str, prompt: Any, *, stream: bool | None = None, **options: Any) -> Any:
        """`atext_completion`, blocking."""
        return self._blocking(COMPLETIONS, model, prompt, bool(stream), options)

    async def aembedding(self, model: str, input: Any, **options: Unpack[RouterEmbeddingOptions]) -> EmbeddingResponse:
        """Embeddings of a text, a list of texts, or token ids, from the group `model`."""
        answer: EmbeddingResponse = await self._suspending(EMBEDDINGS, model, input, False, options)
        return answer

    def embedding(self, model: str, input: Any, **options: Unpack[RouterEmbeddingOptions]) -> EmbeddingResponse:
        """`aembedding`, blocking."""
        answer: EmbeddingResponse = self._blocking(EMBEDDINGS, model, input, False, options)
        return answer

    async def arerank(self, model: str, query: str, documents: Sequence[str | Mapping[str, Any]], **options: Any) -> RerankResponse:
        """Documents ranked by relevance to `query`, from the group `model`."""
        answer: RerankResponse = await self._suspending(RERANK, model, query, False, {"documents": list(documents), **options})
        return answer

    def rerank(self, model: str, query: str, documents: Sequence[str | Mapping[str, Any]], **options: Any) -> RerankResponse:
        """`arerank`, blocking."""
        answer: RerankResponse = self._blocking(RERANK, model, query, False, {"documents": list(documents), **options})
        return answer

    async def aocr(self, model: str, document: Mapping[str, Any], **options: Any) -> OCRResponse:
        """The text of a document, from the group `model`; see `headrace.ocr`."""
        answer: OCRResponse = await self._suspending(OCR, model, document, False, options)
        return answer

    def ocr(self, model: str, document: Mapping[str, Any], **options: Any) -> OCRResponse:
        """`aocr`, blocking."""
        answer: OCRResponse = self._blocking(OCR, model, document, False, options)
        return answer

    @overload
    async def aimage_generation(
        self, prompt: str, model: str, *, stream: Literal[True], **options: Any
    ) -> AsyncStream[ImageStreamEvent]: ...
    @overload
    async def aimage_generation(
        self, prompt: str, model: str, *, stream: Literal[False] | None = None, **options: Any
    ) -> ImageResponse: ...
    async def aimage_generation(self, prompt: str, model: str, *, stream: bool | None = None, **options: Any) -> Any:
        """Images generated from `prompt` by the group `model`; with `stream=True` their events."""
        return await self._suspending(IMAGES, model, prompt, bool(stream), options)

    @overload
    def image_generation(self, prompt: str, model: str, *, stream: Literal[True], **options: Any) -> Stream[ImageStreamEvent]: ...
    @overload
    def image_generation(self, prompt: str, model: str, *, stream: Literal[False] | None = None, **options: Any) -> ImageResponse: ...
    def image_generation(self, prompt: str, model: str, *, stream: bool | None = None, **options: Any) -> Any:
        """`aimage_generation`, blocking."""
        return self._blocking(IMAGES, model, prompt, bool(stream), options)

    @overload
    async def aimage_edit(
        self, image: Any, prompt: str, model: str, *, stream: Literal[True], **options: Any
    ) -> AsyncStream[ImageStreamEvent]: ...
    @overload
    async def aimage_edit(
        self, image: Any, prompt: str, model: str, *, stream: Literal[False] | None = None, **options: Any
    ) -> ImageResponse: ...
    async def aimage_edit(self, image: Any, prompt: str, model: str, *, stream: bool | None = None, **options: Any) -> Any:
        """`image` edited as `prompt` says, by the group `model`; with `stream=True` its events."""
        return await self._suspending(IMAGE_EDITS, model, image, bool(stream), {"prompt": prompt, **options})

    @overload
    def image_edit(self, image: Any, prompt: str, model: str, *, stream: Literal[True], **options: Any) -> Stream[ImageStreamEvent]: ...
    @overload
    def image_edit(self, image: Any, prompt: str, model: str, *, stream: Literal[False] | None = None, **options: Any) -> ImageResponse: ...
    def image_edit(self, image: Any, prompt: str, model: str, *, stream: bool | None = None, **options: Any) -> Any:
        """`aimage_edit`, blocking."""
        return self._blocking(IMAGE_EDITS, model, image, bool(stream), {"prompt": prompt, **options})

    @overload
    async def atranscription(
        self, file: Any, model: str, *, stream: Literal[True], **options: Any
    ) -> AsyncStream[TranscriptionStreamEvent]: ...
    @overload
    async def atranscription(
        self, file: Any, model: str, *, stream: Literal[False] | None = None, **options: Any
    ) -> TranscriptionResponse: ...
    async def atranscription(self, file: Any, model: str, *, stream: bool | None = None, **options: Any) -> Any:
        """The transcript of `file`, from the group `model`; with `stream=True` its events."""
        return await self._suspending(TRANSCRIPTIONS, model, file, bool(stream), options)

    @overload
    def transcription(self, file: Any, model: str, *, stream: Literal[True], **options: Any) -> Stream[TranscriptionStreamEvent]: ...
    @overload
    def transcription(self, file: Any, model: str, *, stream: Literal[False] | None = None, **options: Any) -> TranscriptionResponse: ...
    def transcription(self, file: Any, model: str, *, stream: bool | None = None, **options: Any) -> Any:
        """`atranscription`, blocking."""
        return self._blocking(TRANSCRIPTIONS, model, file, bool(stream), options)

    async def aspeech(self, model: str, input: str, voice: Any = None, **options: Any) -> BinaryResponse:
        """`input` as speech, from the group `model`."""
        answer: BinaryResponse = await self._suspending(SPEECH, model, input, False, {"voice": voice, **options})
        return answer

    def speech(self, model: str, input: str, voice: Any = None, **options: Any) -> BinaryResponse:
        """`aspeech`, blocking."""
        answer: BinaryResponse = self._blocking(SPEECH, model, input, False, {"voice": voice, **options})
        return answer

    async def amoderation(self, model: str, input: Any, **options: Any) -> ModerationResponse:
        """Whether texts or images are harmful, according to the group `model`."""
        answer: ModerationResponse = await self._suspending(MODERATIONS, model, input, False, options)
        return answer

    def moderation(self, model: str, input: Any, **options: Any) -> ModerationResponse:
        """`amoderation`, blocking."""
        answer: ModerationResponse = self._blocking(MODERATIONS, model, input, False, options)
        return answer
