"""litellm's base classes for callbacks: `CustomLogger` and its subclasses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from headrace.compat.litellm.logs import verbose_logger


class CustomLogger:
    """Base class for callbacks, notified of every call: sync calls use the plain methods, async ones those prefixed with `async_`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Accepts and ignores the options of litellm's integrations."""

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None: ...
    def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    def log_stream_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...
    async def async_log_stream_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None: ...


class CustomBatchLogger(CustomLogger):
    """A logger that collects records in `log_queue`, to be sent by the subclass (`async_send_batch`), at once or in `periodic_flush`."""

    def __init__(self, flush_lock: Any = None, batch_size: int | None = None, flush_interval: int | None = None, **_: Any) -> None:
        super().__init__()
        self.log_queue: list[Any] = []
        self.flush_lock, self.batch_size, self.flush_interval = flush_lock, batch_size or 512, flush_interval or 5
        self.last_flush_time = time.time()

    async def periodic_flush(self) -> None:
        """Send queued records every `flush_interval` seconds. Runs forever; the subclass starts it as a task and cancels it."""
        while True:
            await asyncio.sleep(self.flush_interval)
            try:
                await self.flush_queue()
            except Exception:
                verbose_logger.exception("a batch of %s was not sent", type(self).__name__)

    async def flush_queue(self) -> None:
        """Send the queued records. Those that arrive meanwhile wait for the next flush; if sending fails, all are kept."""
        async with self.flush_lock if self.flush_lock is not None else nullcontext():
            if not (queue := self.log_queue):
                return
            there = len(queue)
            await self.async_send_batch()
            if self.log_queue is queue:  # else the subclass has replaced the queue
                del queue[:there]
            self.last_flush_time = time.time()

    async def async_send_batch(self) -> None: ...


class CustomGuardrail(CustomLogger):
    """Base class for guardrails: while one is in `litellm.callbacks`, the hooks it overrides run around every call.

    event_hook: "pre_call", "during_call", "post_call", a list of them, or None for all. default_on: applies to every
    call; otherwise only to calls that name it in `guardrails` or in `metadata={"guardrails": […]}`. A hook refuses a
    call by raising.
    """

    def __init__(self, guardrail_name: str | None = None, event_hook: Any = None, default_on: bool = False, **options: Any) -> None:
        super().__init__()
        self.guardrail_name, self.event_hook, self.default_on = guardrail_name, event_hook, default_on
        self.optional_params = options

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any) -> Any:
        """The changed request; None for the given one, which may have been changed in place."""

    async def async_moderation_hook(self, data: dict[str, Any], user_api_key_dict: Any, call_type: Any) -> Any:
        """Runs concurrently with the call, whose response waits for it."""

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> Any:
        """The changed response; None leaves it as it is."""

    async def async_post_call_streaming_iterator_hook(self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]) -> Any:
        """An async generator of chunks over the stream's chunks."""
        async for chunk in response:
            yield chunk

    def should_run_guardrail(self, data: Mapping[str, Any], event_type: Any) -> bool:
        """Whether the guardrail applies to a request: it is on by default, or named in it."""
        named = data.get("guardrails") or (data.get("metadata") or {}).get("guardrails") or ()
        hooks = self.event_hook if isinstance(self.event_hook, list | tuple) else [self.event_hook]
        at = {str(getattr(hook, "value", hook)) for hook in hooks if hook is not None}
        return (self.default_on or self.guardrail_name in named) and (not at or str(getattr(event_type, "value", event_type)) in at)


def log_guardrail_information(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


class Logging:
    """Exists for programs that annotate with it."""
