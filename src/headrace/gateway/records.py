"""The record of a call: one `Record`, passed to the ledger before the last byte of its response is sent."""

from __future__ import annotations

import enum
import random
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from headrace.errors import Failure
from headrace.gateway.callers import Caller
from headrace.gateway.contents import Content
from headrace.models.cost import Bill
from headrace.models.prices import Beside, rates_said
from headrace.routing.events import Event


def new_id() -> str:
    """A request id. Ids sort by time, so that the ledger's index grows at its end however long it is."""
    return "req_" + (time.time_ns() >> 14 << 48 | random.getrandbits(48)).to_bytes(12, "big").hex()


class Outcome(enum.Enum):
    """How a call ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    LEFT = "left"
    """The client disconnected; usage is what had arrived by then."""


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call. Times are in Unix seconds, money in nano-dollars."""

    id: str
    """The request id that the caller was given."""
    began: float
    ended: float
    first: float | None = None
    """When a stream's first chunk was sent."""
    key: str = ""
    name: str = ""
    """The key's alias."""
    team: str = ""
    user: str = ""
    customer: str = ""
    """The end user that the caller named (`user` of the body)."""
    tags: tuple[str, ...] = ()
    path: str = ""
    operation: str = ""
    model: str = ""
    """As requested."""
    group: str = ""
    deployment: str = ""
    provider: str = ""
    served: str = ""
    """The provider's name for the model."""
    stream: bool = False
    outcome: Outcome = Outcome.ANSWERED
    status: int = 200
    error: str = ""
    """The kind of failure."""
    usage: Mapping[str, int | float] = {}
    """By class, as in `headrace.models.cost.Bill`; classes without usage are omitted."""
    cost: int | None = None
    """None if the price or the usage is unknown."""
    waited: float = 0.0
    """Seconds in the queue."""
    attempts: int = 0
    session: str = ""
    metadata: Mapping[str, Any] = {}
    """Notes by the caller (`metadata.spend_logs_metadata`)."""
    content: Mapping[str, Any] | None = None
    """Request and response, if the configuration asks for them."""


class Ledger(Protocol):
    """Takes records."""

    def append(self, record: Record, decision: Mapping[str, Any] | None = None) -> None:
        """Store a record without awaiting anything. Once this returns, it survives the end of the process.

        decision: the Router's record of how the call was routed, for display.
        """
        ...


class NoLedger:
    """Keeps no records."""

    def append(self, record: Record, decision: Mapping[str, Any] | None = None) -> None:
        pass


class Entry:
    """Collects the record of one call. Closing it a second time has no effect.

    The application opens it when the call is known, reports the result (`answered`) and a stream's first chunk
    (`began_to_answer`), and closes it before the last byte is sent.
    """

    __slots__ = ("_decision", "_hidden", "_ledger", "_open", "_told", "caller", "content", "first")

    def __init__(
        self, ledger: Ledger, id: str, path: str, caller: Caller, began: float | None = None, content: Content | None = None
    ) -> None:
        """began: when the call arrived, if not now. content: collects its content, if that is recorded."""
        self.content = content
        self.caller = caller
        self._ledger = ledger
        self._open = True
        self._hidden: Beside | None = None
        self._decision: Mapping[str, Any] | None = None
        self.first: float | None = None
        _present.set(self)
        self._told: dict[str, Any] = {
            "id": id, "path": path, "began": time.time() if began is None else began, "tags": caller.tags,
            "key": caller.key, "name": caller.name, "team": caller.team, "user": caller.user,
        }  # fmt: skip

    def asked(self, operation: str, model: str, *, stream: bool, options: Mapping[str, Any]) -> None:
        """Note what the call is. options: those of the body, of which end user, tags, session and metadata are recorded."""
        self._told.update(operation=operation, model=model, stream=stream)
        if isinstance(user := options.get("user"), str):
            self._told["customer"] = user
        said = options.get("metadata")
        if isinstance(said, Mapping):
            self._note(said)
        if tags := _strings(options.get("tags")):
            self._told["tags"] = (*self._told["tags"], *tags)

    def _note(self, said: Mapping[str, Any]) -> None:
        self._told["tags"] = (*self._told["tags"], *_strings(said.get("tags")))
        if isinstance(session := said.get("session_id"), str):
            self._told["session"] = session
        if isinstance(notes := said.get("spend_logs_metadata"), Mapping):
            self._told["metadata"] = notes
        if isinstance(customer := said.get("user_id"), str):  # Anthropic's name for it
            self._told["customer"] = customer

    def asked_by_headers(self, options: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        """Note what headers say about the call and its body does not. said: the body's options."""
        if "tags" in options and "tags" not in said:
            self._told["tags"] = (*self._told["tags"], *_strings(options["tags"]))
        if "session_id" in options:
            self._told.setdefault("session", options["session_id"])

    def noted(self, notes: Mapping[str, Any]) -> None:
        """Note metadata from headers; that in the body takes precedence."""
        if notes:
            self._told["metadata"] = {**notes, **self._told.get("metadata", {})}

    def asked_for(self, customer: str) -> None:
        """Set the end user of the call, whatever its body says."""
        if customer:
            self._told["customer"] = customer

    def sent(self, event: Event) -> None:
        """Note where an attempt goes, for a call that fails or whose client disconnects before the response."""
        self._told.update(
            group=event.group, deployment=event.deployment or "", provider=event.provider, served=event.model,
            waited=event.waited, attempts=event.attempt,
        )  # fmt: skip

    def told(self, name: str) -> Any:
        """What is known of the call under a field of `Record`; None if nothing."""
        return self._told.get(name)

    def settled(self, event: Event) -> None:
        """Note how the last attempt was routed, whatever its result."""
        self._decision = event.record

    def answered(self, hidden: Any) -> None:
        """Note the result. hidden: the `_hidden_params` of the response or of the stream."""
        self._hidden = hidden

    def used(self, usage: Any) -> None:
        """Set the usage of a stream, if it is known before the end."""
        if self._hidden is not None and self._hidden.usage is None:
            self._hidden.usage = usage

    def began_to_answer(self) -> None:
        """Note the time of a stream's first chunk."""
        if self.first is None:
            self.first = time.time()

    def close(self, outcome: Outcome = Outcome.ANSWERED, failure: Failure | None = None, status: int = 200) -> None:
        """Write the record to the ledger. failure: what the caller was told; only its kind is recorded."""
        if not self._open:
            return
        self._open = False
        told = self._told
        if failure is not None:
            told["error"] = failure.kind.value
        if self._hidden is not None:
            told.update(of_answer(self._hidden))
        if self.content is not None:
            told["content"] = self.content.written() or None
        decision = self._decision if self._hidden is None else self._hidden.get("headrace")
        self._ledger.append(Record(ended=time.time(), first=self.first, outcome=outcome, status=status, **told), decision)

    @property
    def open(self) -> bool:
        return self._open


_present: Final[ContextVar[Entry | None]] = ContextVar("headrace.gateway.entry", default=None)


def present() -> Entry | None:
    """The entry of the call in this context."""
    return _present.get()


def hear(event: Event) -> None:
    """For `headrace.subscribe`: attempts are made in the context of their call."""
    if (entry := _present.get()) is None:
        return
    if event.kind == "sent":
        entry.sent(event)
    elif event.kind == "settled":
        entry.settled(event)


def _strings(value: Any) -> tuple[str, ...]:
    return tuple([one for one in value if isinstance(one, str)]) if isinstance(value, list | tuple) else ()


def of_answer(hidden: Beside) -> dict[str, Any]:
    """The fields of a record that a result provides."""
    provider, served = hidden["custom_llm_provider"], hidden["model"]
    told = {"group": hidden.get("model_group", ""), "deployment": hidden.get("model_id", ""), "provider": provider, "served": served}
    how = hidden.get("headrace")
    if how is not None:
        told |= {"waited": how["waited"], "attempts": len(how["failed"]) + 1}
    bill, cost = hidden.bill(), hidden.cost()
    if bill is None:
        bill = _counted(how)
        rates = hidden.rates or rates_said({}, served, provider, hidden.tier)
        cost = None if bill is None or rates is None else rates.of(bill)
    return told if bill is None else {**told, "usage": used_in(bill), "cost": cost}


used_in: Final[Callable[[Bill], dict[str, int | float]]] = msgspec.to_builtins
"""The usage classes of a bill that are not zero."""


def _counted(how: Mapping[str, Any] | None) -> Bill | None:
    """What the Router counted for a call whose provider did not get to report its usage."""
    used = how["settled"] if how is not None else None
    return None if used is None else Bill(input=used.input - used.cached, cached=used.cached, output=used.output)
