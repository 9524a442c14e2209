"""Loggers for services that accept JSON over HTTP, sent from a background thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from headrace.calls import encode
from headrace.compat.litellm.listening import CustomLogger
from headrace.compat.litellm.logs import verbose_logger

PATIENCE: Final = 10.0
"""Seconds until a request to a service times out. Only the background thread waits for it."""


class ServiceLogger(CustomLogger):
    """Base class: `write` defines the requests. In an event loop, they are sent from a thread."""

    def write(self, kwargs: Mapping[str, Any], answer: Any, start: datetime, end: datetime) -> list[tuple[str, Mapping[str, str], Any]]:
        """(url, headers, body) of each request about a call; for a failed one, `kwargs["exception"]` is its error."""
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
    """POST a body as JSON. Errors are logged, without the body."""
    import urllib.request  # late: it loads much that few programs need

    sent = {"content-type": "application/json", **headers}
    request = urllib.request.Request(address, encode(body), sent, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            answer.read()
    except OSError as error:  # including HTTPError
        verbose_logger.error("sending a log record to %s failed: %s", address, error)


def plain(value: Any) -> Any:
    """A value in plain JSON types."""
    return value.model_dump() if hasattr(value, "model_dump") else value


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
