"""Loggers of services that take JSON over HTTP: what a call was is sent in a thread beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from headrace.calls import encode
from headrace.compat.litellm.listening import CustomLogger
from headrace.compat.litellm.logs import verbose_logger

PATIENCE: Final = 10.0
"""Seconds a service may take. Nobody waits for it but the thread that tells it."""


class ServiceLogger(CustomLogger):
    """To be subclassed: `write` says what to send. Whoever is called in an event loop sends from a thread of it."""

    def write(self, kwargs: Mapping[str, Any], answer: Any, start: datetime, end: datetime) -> list[tuple[str, Mapping[str, str], Any]]:
        """(address, headers, body) of each request about a call; `kwargs["exception"]` says of a failed one why."""
        raise NotImplementedError

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        for address, headers, body in self.write(kwargs, response_obj, start_time, end_time):
            post(address, headers, body)

    log_failure_event = log_success_event

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        await asyncio.to_thread(self.log_success_event, kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        await asyncio.to_thread(self.log_failure_event, kwargs, response_obj, start_time, end_time)


def post(address: str, headers: Mapping[str, str], body: Any) -> None:
    """Send it as JSON. A service that refuses it, or is away, is told of in the log, without what was sent."""
    import urllib.request  # late: it loads what few programs need

    sent = {"content-type": "application/json", **headers}
    request = urllib.request.Request(address, encode(body), sent, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            answer.read()
    except OSError as error:  # HTTPError is one
        verbose_logger.error("%s did not take what was logged: %s", address, error)


def plain(value: Any) -> Any:
    """As JSON says it."""
    return value.model_dump() if hasattr(value, "model_dump") else value


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
