"""The classes that programs listen by: subclasses of litellm's `CustomLogger`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class CustomLogger:
    """To be subclassed: hears of every call. Sync calls tell the plain methods, async ones those that begin with `async_`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Options of litellm's integrations are taken and mean nothing here."""

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None: ...
    def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    def log_stream_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    async def async_log_stream_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...


class CustomBatchLogger(CustomLogger):
    """A logger that gathers what it hears; the subclass says when it sends."""

    def __init__(self, flush_lock: Any = None, batch_size: int | None = None, flush_interval: int | None = None, **_: Any) -> None:
        super().__init__()
        self.log_queue: list[Any] = []
        self.flush_lock, self.batch_size, self.flush_interval = flush_lock, batch_size or 512, flush_interval or 5

    async def flush_queue(self) -> None:
        if self.log_queue:
            await self.async_send_batch()
            self.log_queue.clear()

    async def async_send_batch(self) -> None: ...


class CustomGuardrail(CustomLogger):
    """The base class of guardrails, so that programs which have some import; they are run by LiteLLM's proxy alone."""

    def __init__(self, guardrail_name: str | None = None, event_hook: Any = None, default_on: bool = False, **_: Any) -> None:
        super().__init__()
        self.guardrail_name, self.event_hook, self.default_on = guardrail_name, event_hook, default_on


def log_guardrail_information(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


class Logging:
    """What programs annotate a call's log with."""
