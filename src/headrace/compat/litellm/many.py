"""Many calls at once, and calls with retries, under litellm's names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import headrace
from headrace.errors import HeadraceError


def batch_completion(model: str, messages: Sequence[Any], *, max_workers: int = 100, **options: Any) -> list[Any]:
    """One answer for each list of messages, in their order; the exception of one that failed stands in its place."""

    def one(conversation: Any) -> Any:
        try:
            return headrace.completion(model, conversation, **options)
        except HeadraceError as error:
            return error

    with ThreadPoolExecutor(max(1, min(max_workers, len(messages)))) as pool:
        return list(pool.map(one, messages))


async def abatch_completion(model: str, messages: Sequence[Any], **options: Any) -> list[Any]:
    """The same on the running loop."""
    calls = [headrace.acompletion(model, conversation, **options) for conversation in messages]
    return await asyncio.gather(*calls, return_exceptions=True)


def completion_with_retries(model: str, messages: Sequence[Any], *, num_retries: int = 3, **options: Any) -> Any:
    return headrace.completion(model, messages, num_retries=num_retries, **options)


async def acompletion_with_retries(model: str, messages: Sequence[Any], *, num_retries: int = 3, **options: Any) -> Any:
    return await headrace.acompletion(model, messages, num_retries=num_retries, **options)


def mock_completion(model: str, messages: Sequence[Any], stream: bool = False, **options: Any) -> Any:
    """A completion that is made here: of `mock_response`, or of a sentence that says so."""
    made: dict[str, Any] = {"api_key": "mock", "mock_response": "This is a mock request", **options}
    return headrace.completion(model, messages, stream=stream, **made)  # type: ignore[call-overload]
