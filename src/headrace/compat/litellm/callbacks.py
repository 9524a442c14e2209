"""Callbacks in litellm's three lists: objects with `log_*_event` methods and plain functions, called once per call."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import inspect
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import uuid4

from headrace.calls import Call
from headrace.compat.litellm import integrations
from headrace.compat.litellm.logs import executor, verbose_logger
from headrace.compat.litellm.stand_in import setting
from headrace.errors import ConfigurationError, HeadraceError
from headrace.models.cost import NANO
from headrace.models.prices import cost_of
from headrace.providers.catalog import resolve

_CALL_TYPES: Final[Mapping[str, str]] = {
    "chat": "completion", "completions": "text_completion", "embeddings": "embedding", "images": "image_generation",
    "moderations": "moderation", "transcriptions": "transcription",
}  # fmt: skip
"""litellm's names of operations, where they differ."""

_ONE_COLOUR: Final = frozenset({"messages", "generate_content"})
"""Operations that litellm names the same for sync and async calls."""


class Record:
    """What callbacks are told about one call."""

    def __init__(self, call: Call, blocking: bool) -> None:
        self.blocking = blocking
        self.started = datetime.now()
        self.kwargs = _described(call, blocking, self.started)
        self._logger_fn = call.control.get("logger_fn")
        self._own: dict[str, Any] = {name: call.control[name] for name in ("callbacks", *_LISTS) if name in call.control}
        """Callback lists passed with the call, besides those of the module."""
        self._telling: Future[None] | None = None

    def begin(self) -> None:
        """Before the request is sent, synchronously. Raises ConfigurationError for an integration named by string that headrace lacks."""
        for listener in self._listeners("input_callback"):
            if hasattr(listener, "log_pre_api_call"):
                _tell(listener.log_pre_api_call, self.kwargs["model"], self.kwargs["messages"], self.kwargs)
            elif callable(listener) and not inspect.iscoroutinefunction(listener):
                _tell(listener, self.kwargs)
        if self._logger_fn is not None:
            _tell(self._logger_fn, self.kwargs)
        for name in ("success_callback", "failure_callback"):
            tuple(self._listeners(name))

    def answered(self, hidden: Mapping[str, Any], answer: Any) -> None:
        """A response, the start of a stream, or a failure has arrived."""
        self.kwargs |= {"log_event_type": "post_api_call", "original_response": answer}
        self._placed(hidden)
        for listener in self._listeners("input_callback"):
            if hasattr(listener, "log_post_api_call"):
                _tell(listener.log_post_api_call, self.kwargs, answer, self.started, datetime.now())
        if self._logger_fn is not None:
            _tell(self._logger_fn, self.kwargs)

    def _placed(self, hidden: Mapping[str, Any]) -> None:
        """Record which deployment responded, where litellm's programs look for it."""
        params = self.kwargs["litellm_params"]
        params["api_base"] = hidden.get("api_base") or params["api_base"]
        if "model_id" in hidden:
            params["model_info"] = {"id": hidden["model_id"]}
            self.kwargs |= {"model": hidden["model"], "custom_llm_provider": hidden["custom_llm_provider"]}
            deployment = f"{hidden['custom_llm_provider']}/{hidden['model']}"
            about = {"model_group": hidden["model_group"], "deployment": deployment, "model_info": params["model_info"]}
            self.kwargs["metadata"] |= about | {"api_base": params["api_base"]}

    def succeeded(self, answer: Any, hidden: Mapping[str, Any], *, streamed: bool = False) -> None:
        """`hidden`: what is known about the response besides its body."""
        answer = _redacted(answer) if setting("turn_off_message_logging") else answer
        cost = hidden.get("response_cost")
        self.kwargs |= {
            "response_cost": _counted_cost(answer, hidden) if cost is None else cost, "cache_hit": hidden.get("cache_hit"),
            "original_response": answer,
        }  # fmt: skip
        if streamed:
            self.kwargs |= {"complete_streaming_response": answer, "async_complete_streaming_response": answer}
        self._end("success", answer)

    def failed(self, error: BaseException) -> None:
        self.kwargs |= {"exception": error, "traceback_exception": "".join(traceback.format_exception(error)), "response_cost": 0.0}
        self._end("failure", None)

    def _end(self, outcome: str, answer: Any) -> None:
        """Notify all callbacks without delaying the call: coroutines on its loop, plain functions in a thread of the
        executor.

        In the blocking world, a failure is reported before it is raised, as in litellm: programs check what their
        callbacks recorded.
        """
        ended = datetime.now()
        self.kwargs |= {"end_time": ended, "log_event_type": "successful_api_call" if outcome == "success" else "failed_api_call"}
        self.kwargs["standard_logging_object"] = _payload(self.kwargs, outcome, answer, self.started, ended)
        plain: list[Callable[[], Any]] = []
        for told in self._told(outcome, answer, ended):
            if not inspect.iscoroutinefunction(told.func):
                plain.append(told)
            elif not self.blocking:
                _in_background(told())
        if outcome == "failure" and self.blocking:
            _one_by_one(plain)
        elif plain:
            self._telling = _beside(plain)

    def wait(self) -> None:
        """Wait briefly for plain callbacks, as programs expect of one that writes a line; a slow one continues in the background."""
        if self._telling is not None:
            wait([self._telling], PATIENCE)

    async def await_(self) -> None:
        """`wait`, on an event loop."""
        await asyncio.sleep(0)  # lets the coroutines start, even if this call is the loop's last
        if self._telling is None:
            return
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: Future[None]) -> None:
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(over.set)

        self._telling.add_done_callback(tell)
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), PATIENCE)

    def _listeners(self, name: str) -> Iterator[Any]:
        """Callbacks of one event, without duplicates. Raises ConfigurationError for an unknown integration."""
        told: list[Any] = []
        for where in ("callbacks", name, f"_async_{name}"):
            for found in (*(setting(where) or ()), *self._own.get(where, ())):
                one = _logger(where, found) if isinstance(found, str) else found
                if not any(one is other for other in told):
                    told.append(one)
                    yield one

    def _told(self, outcome: str, answer: Any, ended: datetime) -> Iterator[partial[Any]]:
        """The callbacks to notify, with their arguments."""
        method = f"log_{outcome}_event" if self.blocking else f"async_log_{outcome}_event"
        for listener in self._listeners(f"{outcome}_callback"):
            event, kwargs = getattr(listener, method, None), self.kwargs
            if event is not None:
                yield partial(event, kwargs=kwargs, response_obj=answer, start_time=self.started, end_time=ended)
            elif callable(listener):
                yield partial(listener, kwargs, answer, self.started, ended)


def _tell(listener: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Call a listener; its exceptions are only logged."""
    try:
        said = listener(*args, **kwargs)
        if inspect.iscoroutine(said):  # a plain function that returns a coroutine, which cannot be awaited here
            said.close()
    except Exception:
        verbose_logger.exception("a callback failed")


def _one_by_one(plain: Sequence[Callable[[], Any]]) -> None:
    for told in plain:
        _tell(told)


def _beside(plain: Sequence[Callable[[], Any]]) -> Future[None] | None:
    """Call them one after another in a thread, in the caller's context, so that a slow one delays no call."""
    context = contextvars.copy_context()
    try:
        return executor.submit(context.run, _one_by_one, plain)
    except RuntimeError:  # the interpreter is shutting down
        _one_by_one(plain)
        return None


PATIENCE: Final = 0.05
"""Seconds that a call waits for plain callbacks."""

_running: set[asyncio.Task[None]] = set()


def _in_background(said: Coroutine[Any, Any, Any]) -> None:
    async def watched() -> None:
        try:
            await said
        except Exception:
            verbose_logger.exception("a callback failed")

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a stream dropped after its loop had ended
        said.close()
        return
    task = loop.create_task(watched())
    _running.add(task)
    task.add_done_callback(_running.discard)


def wanted(call: Call) -> bool:
    """Whether any callback applies to a call."""
    control = call.control
    lists = ("callbacks", *_LISTS)
    return not control.get("no-log") and ("logger_fn" in control or any(setting(name) or name in control for name in lists))


_LISTS: Final = ("input_callback", "success_callback", "failure_callback", "_async_success_callback", "_async_failure_callback")


def _logger(where: str, name: str) -> Any:
    logger = integrations.named(name)
    if logger is None:
        raise ConfigurationError(
            f"litellm.{where} names the integration {name!r}, which headrace does not have: give the integration's own "
            "CustomLogger object or function instead of its name"
        )
    return logger


def _counted_cost(answer: Any, hidden: Mapping[str, Any]) -> float | None:
    """Dollars for tokens counted locally, since the provider reported none."""
    usage = getattr(answer, "usage", None)
    if usage is None or "custom_llm_provider" not in hidden:
        return None
    nano = cost_of(usage, hidden["model"], hidden["custom_llm_provider"], rates=getattr(hidden, "rates", None))
    return None if nano is None else nano / NANO


def _call_type(call: Call, blocking: bool) -> str:
    name = call.operation.name
    return ("" if blocking or name in _ONE_COLOUR else "a") + _CALL_TYPES.get(name, name)


def _described(call: Call, blocking: bool, started: datetime) -> dict[str, Any]:
    control = call.control
    provider, model = _whose(call)
    metadata = {**(control.get("metadata") or {}), **(control.get("litellm_metadata") or {})}
    options = {name: value for name, value in call.body.items() if name != call.operation.prompt}
    prompt = [{"role": "user", "content": REDACTED}] if setting("turn_off_message_logging") else call.prompt
    address = control.get("base_url") or control.get("api_base")
    return {
        "model": model,
        "messages": prompt,
        "input": prompt,
        "optional_params": options,
        "litellm_params": {"metadata": metadata, "api_base": address, "litellm_session_id": control.get("litellm_session_id")},
        "litellm_trace_id": control.get("litellm_trace_id"),
        "metadata": metadata,
        "custom_llm_provider": provider,
        "stream": call.stream,
        "user": call.body.get("user"),
        "call_type": _call_type(call, blocking),
        "log_event_type": "pre_api_call",
        "litellm_call_id": control.get("litellm_call_id") or str(uuid4()),
        "start_time": started,
        "standard_callback_dynamic_params": {name: value for name, value in control.items() if name.startswith("langfuse_")},
        "additional_args": {"complete_input_dict": {"model": model, **call.body, **_prompt(call, prompt)}, "api_base": address},
        "input_tokens": None,
        **options,
    }


def _prompt(call: Call, prompt: Any) -> dict[str, Any]:
    return {call.operation.prompt: prompt} if call.operation.prompt else {}


REDACTED: Final = "redacted-by-litellm"
"""Replaces message content in callbacks with `litellm.turn_off_message_logging`; dashboards look for this text."""


def _redacted(answer: Any) -> Any:
    """The response with its content redacted; usage and ids stay."""
    bare = copy.deepcopy(answer)
    for choice in getattr(bare, "choices", None) or ():
        message = getattr(choice, "message", None)
        if message is not None:
            choice.message = type(message)(role="assistant", content=REDACTED)
        elif hasattr(choice, "text"):
            choice.text = REDACTED
    return bare


def _whose(call: Call) -> tuple[str, str]:
    control = call.control
    try:
        found = resolve(
            call.model,
            custom_llm_provider=control.get("custom_llm_provider"),
            base_url=control.get("base_url") or control.get("api_base"),
        )
    except HeadraceError:  # a Router's group
        return "", call.model
    return found.provider.name, found.model


def _payload(kwargs: Mapping[str, Any], outcome: str, answer: Any, started: datetime, ended: datetime) -> dict[str, Any]:
    usage = getattr(answer, "usage", None)
    error = kwargs.get("exception")
    metadata, params = kwargs["metadata"], kwargs["litellm_params"]
    return {
        "id": getattr(answer, "id", None) or kwargs["litellm_call_id"],
        "litellm_call_id": kwargs["litellm_call_id"],
        "call_type": kwargs["call_type"],
        "status": outcome,
        "model": kwargs["model"],
        "custom_llm_provider": kwargs["custom_llm_provider"],
        "messages": kwargs["messages"],
        "response": answer.model_dump() if hasattr(answer, "model_dump") else None,
        "response_cost": kwargs.get("response_cost"),
        "prompt_tokens": getattr(usage, "prompt_tokens", 0) or 0,
        "completion_tokens": getattr(usage, "completion_tokens", 0) or 0,
        "total_tokens": getattr(usage, "total_tokens", 0) or 0,
        "startTime": started.timestamp(),
        "endTime": ended.timestamp(),
        "response_time": (ended - started).total_seconds(),
        "completionStartTime": ended.timestamp(),
        "trace_id": kwargs["litellm_trace_id"] or kwargs["litellm_call_id"],
        "session_id": params["litellm_session_id"] or metadata.get("session_id"),
        "api_base": params["api_base"],
        "model_id": params.get("model_info", {}).get("id"),
        "model_group": metadata.get("model_group"),
        "end_user": kwargs["user"],
        "request_tags": list(metadata.get("tags") or ()),
        "cache_key": None,
        "saved_cache_cost": 0.0,
        "hidden_params": dict(getattr(answer, "_hidden_params", None) or {}),
        "error_information": _error_information(error),
        "metadata": metadata,
        "model_parameters": kwargs["optional_params"],
        "stream": kwargs["stream"],
        "cache_hit": kwargs.get("cache_hit"),
        "error_str": None if error is None else str(error),
    }


def _error_information(error: BaseException | None) -> dict[str, Any] | None:
    if error is None:
        return None
    known = {"error_code": "status_code", "llm_provider": "llm_provider"}
    return {
        "error_class": type(error).__name__,
        "error_message": str(error),
        "traceback": "".join(traceback.format_tb(error.__traceback__)),
        **{name: str(getattr(error, field, "") or "") for name, field in known.items()},
    }
