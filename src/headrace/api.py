"""The functions that call models, and the Router, bound to real transports, clocks and stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, overload

from headrace.calls import CHAT, COMPLETIONS, EMBEDDINGS, EMPTY, Operation
from headrace.errors import ConfigurationError
from headrace.fan_out import FanOut
from headrace.ports import Worlds
from headrace.routed_keeping import Keeping
from headrace.routing import router
from headrace.runtime.worlds import RealWorlds

if TYPE_CHECKING:
    from headrace.layers.around import RouterLayer
    from headrace.limits.store import Store
    from headrace.objects import EmbeddingResponse, ModelResponse, ModelResponseStream, TextCompletionResponse
    from headrace.options import ChatOptions, EmbeddingOptions, TextOptions
    from headrace.streams import AsyncStream, Stream

_worlds = RealWorlds()


@overload
async def acompletion(
    model: str, messages: Sequence[Any], *, stream: Literal[True], **options: Unpack[ChatOptions]
) -> AsyncStream[ModelResponseStream]: ...
@overload
async def acompletion(
    model: str, messages: Sequence[Any], *, stream: Literal[False] | None = None, **options: Unpack[ChatOptions]
) -> ModelResponse: ...
async def acompletion(model: str, messages: Sequence[Any], *, stream: bool | None = None, **options: Any) -> Any:
    """A chat completion from `model` (`provider/name`); an `AsyncStream` of chunks with `stream=True`.

    Raises HeadraceError; its subclasses are named as in litellm and the OpenAI SDK.
    """
    return await suspending(CHAT, model, messages, bool(stream), options)


@overload
def completion(
    model: str, messages: Sequence[Any], *, stream: Literal[True], **options: Unpack[ChatOptions]
) -> Stream[ModelResponseStream]: ...
@overload
def completion(
    model: str, messages: Sequence[Any], *, stream: Literal[False] | None = None, **options: Unpack[ChatOptions]
) -> ModelResponse: ...
def completion(model: str, messages: Sequence[Any], *, stream: bool | None = None, **options: Any) -> Any:
    """`acompletion`, blocking the calling thread. No event loop is needed or started."""
    return blocking(CHAT, model, messages, bool(stream), options)


@overload
async def atext_completion(
    model: str, prompt: Any, *, stream: Literal[True], **options: Unpack[TextOptions]
) -> AsyncStream[TextCompletionResponse]: ...
@overload
async def atext_completion(
    model: str, prompt: Any, *, stream: Literal[False] | None = None, **options: Unpack[TextOptions]
) -> TextCompletionResponse: ...
async def atext_completion(model: str, prompt: Any, *, stream: bool | None = None, **options: Any) -> Any:
    """A legacy text completion."""
    return await suspending(COMPLETIONS, model, prompt, bool(stream), options)


@overload
def text_completion(
    model: str, prompt: Any, *, stream: Literal[True], **options: Unpack[TextOptions]
) -> Stream[TextCompletionResponse]: ...
@overload
def text_completion(
    model: str, prompt: Any, *, stream: Literal[False] | None = None, **options: Unpack[TextOptions]
) -> TextCompletionResponse: ...
def text_completion(model: str, prompt: Any, *, stream: bool | None = None, **options: Any) -> Any:
    """`atext_completion`, blocking."""
    return blocking(COMPLETIONS, model, prompt, bool(stream), options)


async def aembedding(model: str, input: Any, **options: Unpack[EmbeddingOptions]) -> EmbeddingResponse:
    """Embeddings of a text, a list of texts, or token ids."""
    answer: EmbeddingResponse = await suspending(EMBEDDINGS, model, input, False, options)
    return answer


def embedding(model: str, input: Any, **options: Unpack[EmbeddingOptions]) -> EmbeddingResponse:
    """`aembedding`, blocking."""
    answer: EmbeddingResponse = blocking(EMBEDDINGS, model, input, False, options)
    return answer


async def suspending(
    operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
) -> Any:
    """One call of any operation, for async callers."""
    from headrace import direct  # late: importing headrace must not load the dialects

    return await direct.suspending(_worlds, operation, model, prompt, stream, options, place)


def blocking(
    operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
) -> Any:
    """One call of any operation, blocking the calling thread."""
    from headrace import direct  # late: see `suspending`

    return direct.blocking(_worlds, operation, model, prompt, stream, options, place)


def _store(**address: Any) -> Store:
    from headrace.runtime.redis_store import redis_store  # late: only shared limits need a Redis client

    return redis_store(**address)


def cache_of(**arguments: Any) -> RouterLayer:
    """The cache that a Router's `cache_kwargs` describe. Raises ConfigurationError."""
    from headrace.runtime.caches import Cache  # late: only a configured cache needs a store

    try:
        return Cache(**arguments)
    except TypeError as error:
        raise ConfigurationError(
            f"cache_kwargs: {error}".replace("Cache.__init__() got an unexpected keyword argument", "there is no")
        ) from None


class Router(router.Router, FanOut, Keeping):
    """Many deployments behind model names: reserves rate limits before sending, balances load, retries and falls back.

    model_list: entries `{"model_name": …, "litellm_params": {"model": "provider/name", "api_key", "base_url", "rpm",
    "tpm", …}}`; limits are read from `litellm_params` or from the entry itself. A call that does not fit waits in a
    queue, at most `max_wait` seconds. Raises ConfigurationError that names the entry and field.
    """

    worlds: ClassVar[Worlds] = _worlds
    stores: ClassVar[Callable[..., Store]] = staticmethod(_store)
    caches: ClassVar[Callable[..., RouterLayer]] = staticmethod(cache_of)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A Router over the models configured in the environment and `.env` (`LLM_MODEL`, `EMBEDDING_MODEL`, …)."""
        from headrace.settings import settings  # late: most programs never read a .env

        return cls(settings.model_list(), **options)

    @classmethod
    def from_config(cls, path: str, **options: Any) -> Self:
        """A Router from the `config.yaml` of LiteLLM's proxy and the files it includes. `options` take precedence.

        Settings that only concern a gateway are logged and ignored. Raises ConfigurationError that names the file and
        any unknown key.
        """
        from headrace.proxy_config import read_proxy_config, tell_left_out  # late: most programs have no such file

        config = read_proxy_config(path)
        tell_left_out(path, config)
        return cls(config.model_list, **{**config.options, **options})
