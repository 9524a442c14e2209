"""Structured logs: one JSON object per line, with the id of the request it is about."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from typing import Final

import msgspec

REQUEST: Final[ContextVar[str]] = ContextVar("headrace_request", default="")
"""The id of the current request."""

access: Final = logging.getLogger("headrace.access")


class Lines(logging.Formatter):
    """`{"time", "level", "logger", "message", "request_id", …}`, plus whatever a record has in `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := REQUEST.get():
            told["request_id"] = request
        told |= getattr(record, "fields", {})
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(told, enc_hook=str).decode()


def set_up(form: str, level: str, *, calls: bool) -> None:
    """Log to standard error. form: "text" or "json". calls: whether to log a line per request."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    access.setLevel(logging.INFO if calls else logging.WARNING)
