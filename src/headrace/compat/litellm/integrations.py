"""Integrations that programs name by string in `success_callback`, and their loggers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any, Final

from headrace.compat.litellm.langfuse import EU, LangfuseOtelLogger
from headrace.compat.litellm.listening import CustomLogger
from headrace.compat.litellm.opik import OpikLogger
from headrace.compat.litellm.services import nanoseconds
from headrace.compat.litellm.theirs import theirs
from headrace.errors import ConfigurationError


class MlflowLogger(CustomLogger):
    """Writes a trace of every call with the program's own `mlflow` (3 or newer)."""

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        outputs = response_obj.model_dump() if hasattr(response_obj, "model_dump") else response_obj
        self._write(kwargs, {"outputs": outputs}, start_time, end_time)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._write(kwargs, {"status": "ERROR", "outputs": {"error": str(kwargs.get("exception"))}}, start_time, end_time)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        await asyncio.to_thread(self.log_success_event, kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        await asyncio.to_thread(self.log_failure_event, kwargs, response_obj, start_time, end_time)

    def _write(self, kwargs: Mapping[str, Any], ended: Mapping[str, Any], start: datetime, end: datetime) -> None:
        span = theirs("mlflow").start_span_no_context(
            name=f"litellm-{kwargs['call_type']}",
            span_type="CHAT_MODEL" if kwargs["call_type"] in ("completion", "acompletion") else "LLM",
            inputs={"messages": kwargs["messages"]},
            attributes={"model": kwargs["model"], "custom_llm_provider": kwargs["custom_llm_provider"], **kwargs["optional_params"]},
            start_time_ns=nanoseconds(start),
        )
        span.end(**ended, end_time_ns=nanoseconds(end))


class OpenTelemetry(CustomLogger):
    """`callbacks = ["otel"]`: spans of all calls from now on (`headrace.layers.tracing`)."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        try:
            from headrace.layers.tracing import Tracing  # late: it needs OpenTelemetry
        except ImportError:
            raise ConfigurationError("litellm's 'otel' needs OpenTelemetry: pip install 'headrace[tracing]'") from None
        self.tracing = Tracing()
        self.tracing.install()


class PrometheusLogger(CustomLogger):
    """`callbacks = ["prometheus"]`: metrics of all calls from now on, in the process's default registry (`headrace.layers.metrics`)."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        try:
            from headrace.layers.metrics import Metrics  # late: it needs prometheus_client
        except ImportError:
            raise ConfigurationError("litellm's 'prometheus' needs prometheus_client: pip install 'headrace[metrics]'") from None
        self.metrics = Metrics(theirs("prometheus_client").REGISTRY)
        self.metrics.install()


_LOGGERS: Final[Mapping[str, Callable[[], CustomLogger]]] = {
    "mlflow": MlflowLogger,
    "otel": OpenTelemetry,
    "prometheus": PrometheusLogger,
    "opik": OpikLogger,
    "langfuse_otel": LangfuseOtelLogger,
    "langfuse": partial(LangfuseOtelLogger, cloud=EU),
}


@cache
def named(name: str) -> CustomLogger | None:
    """The logger of an integration, one per process; None if headrace lacks it."""
    logger = _LOGGERS.get(name)
    return None if logger is None else logger()
