"""What a Router tells of the calls it handles: to a hook, and to the log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from headrace.limits import Availability

LOGGER: Final = "headrace"
DEBUG: Final = 10
SETTLED: Final = "%s by %s after %.3f s in line: %s"


EventKind: TypeAlias = Literal["queued", "sent", "settled", "refused"]


class Event(Struct, frozen=True, kw_only=True):
    """One step of one attempt of a call. Seconds throughout.

    An attempt is told of as `queued` (only when it has to wait), `sent`, `settled`, or in the place of the last two as `refused`.
    All but `settled` come in the thread and the context of the caller; `settled` of a stream where the stream was ended.
    """

    kind: EventKind
    """queued: it has to wait · sent: a deployment had room and it goes there · settled: it is over, well or badly ·
    refused: it was not sent, because it could not be in time, or was given up."""
    group: str
    call: int = 0
    """The same in all events of one call, of no other call in this process."""
    attempt: int = 1
    """1 for the first try of a call."""
    at: float = 0.0
    """By the clock of the Router's world: only differences mean something."""
    tenant: str = ""
    deployment: str | None = None
    provider: str = ""
    """Of the deployment, as `headrace.Router` knows it: `openai`."""
    model: str = ""
    """What the provider calls it."""
    waited: float = 0.0
    """In line, over all attempts so far."""
    availability: Availability | None = None
    """Of a queued call: its place, the wait to expect and the limit that decides it."""
    record: Mapping[str, Any] | None = None
    """Of a settled one: the decision record, as `response._hidden_params["headrace"]` has it."""
    error: BaseException | None = None
    """Why it was refused, failed, or was left by its caller."""


Hook: TypeAlias = Callable[[Event], object]
"""Told of each event. It is called in the way of the call: it should be quick, and what it raises is logged and hurts no call."""

_everywhere: tuple[Hook, ...] = ()


def subscribe(hook: Hook) -> Callable[[], None]:
    """Tell `hook` of the events of every Router in this process, besides each Router's own `on_event`. Returns what ends it, once: a hook
    given twice is told twice until both are ended."""
    global _everywhere
    _everywhere = (*_everywhere, hook)
    subscribed = True

    def end() -> None:
        global _everywhere
        nonlocal subscribed
        if subscribed:
            subscribed = False
            at = _everywhere.index(hook)
            _everywhere = (*_everywhere[:at], *_everywhere[at + 1 :])

    return end


def hooks() -> tuple[Hook, ...]:
    """Those who are told of every Router: the same object until that changes."""
    return _everywhere


def listening(own: Hook | None) -> bool:
    """Whether anybody wants to be told of a Router whose `on_event` is `own`: an event that nobody hears need not be made."""
    return own is not None or bool(_everywhere)


def tell(own: Hook | None, event: Event) -> None:
    """Tell all who listen."""
    for hook in _everywhere if own is None else (own, *_everywhere):
        try:
            hook(event)
        except Exception:
            _logger().exception("on_event failed for %s", event.kind)


def be_verbose(level: str) -> None:
    """Let the logger `headrace` tell from that level on: to the program's handlers, else to standard error."""
    import logging  # late as well

    logger = _logger()
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)


def log_settled(record: Mapping[str, Any], group: str, error: BaseException | None, *, level: int = 10) -> None:
    """The decision record in the logger `headrace`, at DEBUG unless told otherwise, for programs that log at all."""
    if "logging" not in sys.modules:
        return
    logger = _logger()
    if logger.isEnabledFor(level):
        outcome = "ok" if error is None else type(error).__name__
        told = (group, record["deployment"], record["waited"], outcome)
        # Made here rather than by logger.log, which would walk the stack to find this line: a third of what it costs.
        logger.handle(logger.makeRecord(LOGGER, level, __file__, 0, SETTLED, told, None, "log_settled", {"headrace": dict(record)}))


def log_left_out(names: Sequence[str], provider: str, model: str) -> None:
    """What a translated request could not say, at level DEBUG of the same logger."""
    if "logging" in sys.modules and (logger := _logger()).isEnabledFor(DEBUG):
        logger.debug("%s/%s was not told %s: its dialect has no word for it", provider, model, ", ".join(names))


def warn(message: str) -> None:
    """To whoever reads the log."""
    _logger().warning(message)


@lru_cache(maxsize=1)
def _logger() -> Any:
    import logging  # late: most programs have it, and those that do not pay nothing

    return logging.getLogger(LOGGER)
