"""What a Router reports about its calls: to hooks, and to the log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from headrace.limits import Availability

LOGGER: Final = "headrace"
DEBUG: Final = 10
SETTLED: Final = "%s on %s after %.3f s in the queue: %s"


EventKind: TypeAlias = Literal["queued", "sent", "settled", "refused"]


class Event(Struct, frozen=True, kw_only=True):
    """One step of one attempt of a call. All times are in seconds.

    An attempt has the events `queued` (only if it has to wait), `sent` and `settled`, or `refused` in place of the last
    two. All but `settled` are reported in the caller's thread and context; `settled` of a stream where the stream was
    ended.
    """

    kind: EventKind
    """queued: it has to wait · sent: a deployment had room and the request goes there · settled: it has ended, with
    success or not · refused: it was not sent, because it could not be in time, or was given up."""
    group: str
    call: int = 0
    """The same in all events of one call, and unique in this process."""
    attempt: int = 1
    """1 for the first try of a call."""
    at: float = 0.0
    """By the Router's clock: only differences are meaningful."""
    tenant: str = ""
    deployment: str | None = None
    provider: str = ""
    """The deployment's provider, as `headrace.Router` names it: `openai`."""
    model: str = ""
    """The provider's name for the model."""
    waited: float = 0.0
    """Seconds in the queue, over all attempts so far."""
    availability: Availability | None = None
    """For `queued`: its position, the expected wait and the limit that determines it."""
    record: Mapping[str, Any] | None = None
    """For `settled`: the decision record, the same as `response._hidden_params["headrace"]`."""
    error: BaseException | None = None
    """Why it was refused, failed, or was abandoned by its caller."""


Hook: TypeAlias = Callable[[Event], object]
"""Called with each event. It runs on the call's path, so it should be quick; exceptions are logged and do not affect
the call."""

_everywhere: tuple[Hook, ...] = ()


def subscribe(hook: Hook) -> Callable[[], None]:
    """Call `hook` with the events of every Router in this process, besides each Router's own `on_event`.

    Returns a function that unsubscribes, once. A hook subscribed twice is called twice until both are unsubscribed.
    """
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
    """The hooks that receive every Router's events. The same tuple object until that changes."""
    return _everywhere


def listening(own: Hook | None) -> bool:
    """Whether anyone receives the events of a Router whose `on_event` is `own`. If not, no event need be built."""
    return own is not None or bool(_everywhere)


def tell(own: Hook | None, event: Event) -> None:
    """Call all hooks with the event."""
    for hook in _everywhere if own is None else (own, *_everywhere):
        try:
            hook(event)
        except Exception:
            _logger().exception("on_event failed for %s", event.kind)


def be_verbose(level: str) -> None:
    """Set the logger `headrace` to that level. Without handlers of the program's own, it writes to standard error."""
    import logging  # late as well

    logger = _logger()
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)


def log_settled(record: Mapping[str, Any], group: str, error: BaseException | None, *, level: int = 10) -> None:
    """Log the decision record to the logger `headrace`, at DEBUG by default.

    Does nothing in programs that do not use logging.
    """
    if "logging" not in sys.modules:
        return
    logger = _logger()
    if logger.isEnabledFor(level):
        outcome = "ok" if error is None else type(error).__name__
        told = (group, record["deployment"], record["waited"], outcome)
        # Built here rather than by logger.log, which walks the stack to find this line: a third of the cost.
        logger.handle(logger.makeRecord(LOGGER, level, __file__, 0, SETTLED, told, None, "log_settled", {"headrace": dict(record)}))


def log_left_out(names: Sequence[str], provider: str, model: str) -> None:
    """Log at DEBUG which parameters a translated request could not express."""
    if "logging" in sys.modules and (logger := _logger()).isEnabledFor(DEBUG):
        logger.debug("%s/%s was not sent %s: its dialect cannot express it", provider, model, ", ".join(names))


def warn(message: str) -> None:
    """Log a warning."""
    _logger().warning(message)


@lru_cache(maxsize=1)
def _logger() -> Any:
    import logging  # late: most programs have it loaded, and the others pay nothing

    return logging.getLogger(LOGGER)
