"""What is remembered of a call: one `Record`, handed to the ledger before the last byte of its answer goes out."""

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
    """A request's id. Later ones sort behind earlier ones, so that the ledger's index grows at its end, however long it is."""
    return "req_" + (time.time_ns() >> 14 << 48 | random.getrandbits(48)).to_bytes(12, "big").hex()


class Outcome(enum.Enum):
    """How a call ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    LEFT = "left"
    """The caller went away: what was used is what had arrived by then."""


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call. Moments are seconds since 1970, money is in nano-dollars. No content."""

    id: str
    """The request id that the caller was told."""
    began: float
    ended: float
    first: float | None = None
    """When a stream's first chunk went out."""
    key: str = ""
    name: str = ""
    """Of the key."""
    team: str = ""
    user: str = ""
    customer: str = ""
    """Whom the caller says it asks for (`user` of the body)."""
    tags: tuple[str, ...] = ()
    path: str = ""
    operation: str = ""
    model: str = ""
    """As it was asked for."""
    group: str = ""
    deployment: str = ""
    provider: str = ""
    served: str = ""
    """The model as the provider calls it."""
    stream: bool = False
    outcome: Outcome = Outcome.ANSWERED
    status: int = 200
    error: str = ""
    """The kind of failure."""
    usage: Mapping[str, int | float] = {}
    """By class, as `headrace.models.cost.Bill` names them; classes of which nothing was used are left out."""
    cost: int | None = None
    """None where no price is known, or not what was used."""
    waited: float = 0.0
    """Seconds in line."""
    attempts: int = 0
    session: str = ""
    metadata: Mapping[str, Any] = {}
    """What the caller wants noted with it (`metadata.spend_logs_metadata`)."""
    content: Mapping[str, Any] | None = None
    """Question and answer, where the configuration asks for them."""


class Ledger(Protocol):
    """Where records go."""

    def append(self, record: Record, decision: Mapping[str, Any] | None = None) -> None:
        """Remember it. Awaits nothing: when this returns, the end of the process loses it no more.

        decision: the Router's record of how the call came about, for whoever shows it.
        """
        ...


class NoLedger:
    def append(self, record: Record, decision: Mapping[str, Any] | None = None) -> None:
        pass


class Entry:
    """One call on its way into the ledger. Closed once; a second time changes nothing.

    The application opens it when it knows the call, tells it of the answer (`answered`) and of a stream's first chunk (`began_to_answer`),
    and closes it before it sends the last byte.
    """

    __slots__ = ("_decision", "_hidden", "_ledger", "_open", "_told", "caller", "content", "first")

    def __init__(
        self, ledger: Ledger, id: str, path: str, caller: Caller, began: float | None = None, content: Content | None = None
    ) -> None:
        """began: when the call came in, where that is a while ago. content: where what it says is to be remembered."""
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
        """What the call is. options: those of the body, of which customer, tags, session and notes are remembered."""
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
        if isinstance(customer := said.get("user_id"), str):  # Anthropic's word for it
            self._told["customer"] = customer

    def asked_by_headers(self, options: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        """What headers say of the call, where its body does not. said: the body's options."""
        if "tags" in options and "tags" not in said:
            self._told["tags"] = (*self._told["tags"], *_strings(options["tags"]))
        if "session_id" in options:
            self._told.setdefault("session", options["session_id"])

    def asked_for(self, customer: str) -> None:
        """Whom the call is for, whatever its body says."""
        if customer:
            self._told["customer"] = customer

    def sent(self, event: Event) -> None:
        """Where an attempt goes: what is known of a call that fails, or whose caller leaves before it is answered."""
        self._told.update(
            group=event.group, deployment=event.deployment or "", provider=event.provider, served=event.model,
            waited=event.waited, attempts=event.attempt,
        )  # fmt: skip

    def told(self, name: str) -> Any:
        """What is known of the call under a name of `Record`; None where nothing is."""
        return self._told.get(name)

    def settled(self, event: Event) -> None:
        """How the last attempt came about, whatever came of it."""
        self._decision = event.record

    def answered(self, hidden: Any) -> None:
        """hidden: the `_hidden_params` of the answer, or of the stream that is going to be one."""
        self._hidden = hidden

    def used(self, usage: Any) -> None:
        """What a stream has used, where that is known before it is over."""
        if self._hidden is not None and self._hidden.usage is None:
            self._hidden.usage = usage

    def began_to_answer(self) -> None:
        if self.first is None:
            self.first = time.time()

    def close(self, outcome: Outcome = Outcome.ANSWERED, failure: Failure | None = None, status: int = 200) -> None:
        """Into the ledger with it. failure: what the caller was told; its kind is remembered, not its words."""
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
    """The call that is under way here."""
    return _present.get()


def hear(event: Event) -> None:
    """For `headrace.subscribe`: an attempt goes out in the context of the call that it is one of."""
    if (entry := _present.get()) is None:
        return
    if event.kind == "sent":
        entry.sent(event)
    elif event.kind == "settled":
        entry.settled(event)


def _strings(value: Any) -> tuple[str, ...]:
    return tuple([one for one in value if isinstance(one, str)]) if isinstance(value, list | tuple) else ()


def of_answer(hidden: Beside) -> dict[str, Any]:
    """What an answer tells of its call."""
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
"""The classes of a bill of which something was used."""


def _counted(how: Mapping[str, Any] | None) -> Bill | None:
    """What the Router counted of a call whose provider had no time to say what was used."""
    used = how["settled"] if how is not None else None
    return None if used is None else Bill(input=used.input - used.cached, cached=used.cached, output=used.output)
