"""Many chats in one Router call: several conversations, several models, or whichever model answers first."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, Unpack, overload

from headrace.calls import shape
from headrace.errors import BadRequestError, HeadraceError

if TYPE_CHECKING:
    from asyncio import Future

    from headrace.objects import ModelResponse, ModelResponseStream
    from headrace.options import RouterChatOptions
    from headrace.streams import AsyncStream

T = TypeVar("T")
Conversation: TypeAlias = Sequence[Any]


class FanOut:
    """Mixin that runs `acompletion` concurrently. A failed chat yields its HeadraceError in place of a response."""

    acompletion: Any

    @overload
    async def abatch_completion(
        self, models: Sequence[str], messages: Sequence[Sequence[Any]], **options: Unpack[RouterChatOptions]
    ) -> list[list[ModelResponse | HeadraceError]]: ...
    @overload
    async def abatch_completion(
        self, models: Sequence[str], messages: Sequence[Any], **options: Unpack[RouterChatOptions]
    ) -> list[ModelResponse | HeadraceError]: ...
    async def abatch_completion(self, models: Sequence[str], messages: Sequence[Any], **options: Any) -> Any:
        """One conversation answered by each of `models`, in their order. For several conversations, a list of such lists."""
        if not isinstance(models, list | tuple) or not models:
            raise BadRequestError(f"models must be a list of model groups, got {shape(models)}")
        several = bool(messages) and all(isinstance(one, list | tuple) for one in messages)
        conversations = messages if several else [messages]
        found = await _all([self.acompletion(model, one, **options) for one in conversations for model in models])
        each = [found[start : start + len(models)] for start in range(0, len(found), len(models))]
        return each if several else each[0]

    async def abatch_completion_one_model_multiple_requests(
        self, model: str, messages: Sequence[Conversation], **options: Unpack[RouterChatOptions]
    ) -> list[ModelResponse | HeadraceError]:
        """A response to each conversation, in order, from the group `model`."""
        return await _all([self.acompletion(model, one, **options) for one in messages])

    @overload
    async def abatch_completion_fastest_response(
        self, model: str, messages: Conversation, stream: Literal[True], **options: Unpack[RouterChatOptions]
    ) -> AsyncStream[ModelResponseStream]: ...
    @overload
    async def abatch_completion_fastest_response(
        self, model: str, messages: Conversation, stream: Literal[False] | None = None, **options: Unpack[RouterChatOptions]
    ) -> ModelResponse: ...
    async def abatch_completion_fastest_response(
        self, model: str, messages: Conversation, stream: bool | None = None, **options: Any
    ) -> Any:
        """The first response, or begun stream, of all the groups in `model` ("gpt, claude"). The other calls are
        cancelled.

        Every group is called and may be billed; `hedge` calls a second one only if the first is unusually slow. Raises
        the last error if all fail.
        """
        names = [name for part in model.split(",") if (name := part.strip())]
        answer = await _first([self.acompletion(name, messages, stream=stream, **options) for name in names])
        answer._hidden_params["fastest_response_batch_completion"] = True
        return answer


async def _all(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T | HeadraceError]:
    import asyncio  # late: importing headrace does not load it

    async def one(call: Coroutine[Any, Any, T]) -> T | HeadraceError:
        try:
            return await call
        except HeadraceError as error:
            return error

    return await asyncio.gather(*map(one, calls))


async def _first(calls: Sequence[Coroutine[Any, Any, T]]) -> T:
    """The first call to succeed; the others are cancelled before this returns. Raises the last error if all fail."""
    import asyncio  # late: see above

    if not calls:
        raise BadRequestError("model must name one or more model groups, such as 'gpt, claude'")
    left = {asyncio.ensure_future(call) for call in calls}
    try:
        while True:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            answered = [task for task in done if task.exception() is None]
            if answered:
                left.update(answered[1:])
                return answered[0].result()
            if not left:
                return done.pop().result()
    finally:
        await _give_up(left)


async def _give_up(tasks: Iterable[Future[Any]]) -> None:
    import asyncio  # late: see above

    for task in tasks:
        task.cancel()
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        if close := getattr(answer, "aclose", None):  # a stream that had just begun
            await close()
