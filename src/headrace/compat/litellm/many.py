"""Concurrent calls, and calls with retries, under litellm's names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import headrace
from headrace.errors import HeadraceError


def batch_completion(model: str, messages: Sequence[Any], *, max_workers: int = 100, **options: Any) -> list[Any]:
    """One response for each list of messages, in order; a failed one is replaced by its exception."""

    def one(conversation: Any) -> Any:
        try:
            return headrace.completion(model, conversation, **options)
        except HeadraceError as error:
            return error

    with ThreadPoolExecutor(max(1, min(max_workers, len(messages)))) as pool:
        return list(pool.map(one, messages))


async def abatch_completion(model: str, messages: Sequence[Any], **options: Any) -> list[Any]:
    """`batch_completion` on the running event loop."""
    calls = [headrace.acompletion(model, conversation, **options) for conversation in messages]
    return await asyncio.gather(*calls, return_exceptions=True)


def batch_completion_models(*args: Any, models: str | Sequence[str] = (), deployments: Sequence[Any] = (), **options: Any) -> Any:
    """Send one conversation to several models at once and return the first response. Raises the last error if all fail.

    deployments: mappings of options, each with its model, instead of `models`.
    """
    asked = _each(models, deployments, options)
    pool = ThreadPoolExecutor(max(1, len(asked)))
    failure: BaseException | None = None
    try:
        for done in as_completed([pool.submit(headrace.completion, *args, **own) for own in asked]):
            if (failure := done.exception()) is None:
                return done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # do not wait for the slower ones
    if failure is not None:
        raise failure
    return None


def batch_completion_models_all_responses(*args: Any, models: str | Sequence[str] = (), **options: Any) -> list[Any]:
    """Send one conversation to several models at once and return all successful responses, in the order of the models."""
    with ThreadPoolExecutor(max(1, len(asked := _each(models, (), options)))) as pool:
        running = [pool.submit(headrace.completion, *args, **own) for own in asked]
    return [done.result() for done in running if done.exception() is None]


def _each(models: str | Sequence[str], deployments: Sequence[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
    given = {name: value for name, value in options.items() if name not in ("model", "deployments")}
    names = [models] if isinstance(models, str) else models
    return [{**given, **own} for own in deployments] or [{**given, "model": name} for name in names]


def completion_with_fallbacks(model: str, messages: Sequence[Any], *, fallbacks: Sequence[Any] = (), **options: Any) -> Any:
    """A completion with fallback models."""
    options["fallbacks"] = fallbacks
    return headrace.completion(model, messages, **options)


def responses_with_retries(*args: Any, num_retries: int = 3, **options: Any) -> Any:
    return headrace.responses(*args, num_retries=num_retries, **options)


async def aresponses_with_retries(*args: Any, num_retries: int = 3, **options: Any) -> Any:
    return await headrace.aresponses(*args, num_retries=num_retries, **options)


def completion_with_retries(model: str, messages: Sequence[Any], *, num_retries: int = 3, **options: Any) -> Any:
    return headrace.completion(model, messages, num_retries=num_retries, **options)


async def acompletion_with_retries(model: str, messages: Sequence[Any], *, num_retries: int = 3, **options: Any) -> Any:
    return await headrace.acompletion(model, messages, num_retries=num_retries, **options)


def mock_completion(model: str, messages: Sequence[Any], stream: bool = False, **options: Any) -> Any:
    """A completion without a provider, from `mock_response` or a default sentence."""
    made: dict[str, Any] = {"api_key": "mock", "mock_response": "This is a mock request", **options}
    return headrace.completion(model, messages, stream=stream, **made)  # type: ignore[call-overload]
