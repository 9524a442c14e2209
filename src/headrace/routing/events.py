"""What a Router tells of the calls it handles: to a hook, and to the log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from headrace.limits import Availability

LOGGER: Final = "headrace"


class Event(Struct, frozen=True, kw_only=True):
    """One step of a call. Seconds throughout."""

    kind: Literal["queued", "sent", "settled"]
    """queued: it has to wait · sent: a deployment had room and it goes there · settled: it is over, well or badly."""
    group: str
    tenant: str = ""
    deployment: str | None = None
    waited: float = 0.0
    availability: Availability | None = None
    """Of a queued call: its place, the wait to expect and the limit that decides it."""
    record: Mapping[str, Any] | None = None
    """The decision record, as `response._hidden_params["headrace"]` has it."""
    error: BaseException | None = None


Hook: TypeAlias = Callable[[Event], object]


def tell(hook: Hook | None, event: Event) -> None:
    """Tell the hook. What it raises is logged and hurts no call."""
    if hook is None:
        return
    try:
        hook(event)
    except Exception:
        _logger().exception("on_event failed for %s", event.kind)


def log_settled(record: Mapping[str, Any], group: str, error: BaseException | None) -> None:
    """The decision record at level DEBUG of the logger `headrace`, for programs that log at all."""
    if "logging" not in sys.modules:
        return
    logger = _logger()
    if logger.isEnabledFor(10):
        outcome = "ok" if error is None else type(error).__name__
        logger.debug(
            "%s by %s after %.3f s in line: %s", group, record["deployment"], record["waited"], outcome, extra={"headrace": dict(record)}
        )


def log_left_out(names: Sequence[str], provider: str, model: str) -> None:
    """What a translated request could not say, at level DEBUG of the same logger."""
    if "logging" in sys.modules and (logger := _logger()).isEnabledFor(10):
        logger.debug("%s/%s was not told %s: its dialect has no word for it", provider, model, ", ".join(names))


def warn(message: str) -> None:
    """To whoever reads the log."""
    _logger().warning(message)


def _logger() -> Any:
    import logging  # late: most programs have it, and those that do not pay nothing

    return logging.getLogger(LOGGER)
