"""Injected faults: by rules in the configuration, by a header, or by the model's name."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

Kind = Literal[
    "status",  # an HTTP status: 401, 404 and 429 before anything is charged, others after
    "slow",  # every delay multiplied by `factor`
    "hang",  # accepted, then silence
    "stall",  # silence in the middle of the body
    "reset",  # TCP reset before the headers
    "break",  # TCP reset in the middle of the body
    "cut",  # the connection closes in the middle of a word, without ending the body
    "unfinished",  # the body ends regularly, but the stream in it has neither finish_reason nor [DONE]
    "garbage",  # status 200 and truncated JSON
    "html",  # an HTML error page, as from a load balancer in front
    "oversized",  # a body of `bytes`
    "error_event",  # an error inside a stream that began with 200
]

KINDS: Final[tuple[str, ...]] = get_args(Kind)
DEFAULT_STATUS: Final = {"html": 502, "error_event": 500, "status": 500}


class BadFault(ValueError):
    """A fault specification that is invalid. The message names the part and the fix."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in one reply. `after`: number of stream chunks that arrive before it."""

    kind: Kind
    status: int = 500
    after: int = 2
    factor: float = 10.0
    bytes: int = 100 * 1024 * 1024
    retry_after: float | None = None
    """Seconds, for statuses with Retry-After."""

    @property
    def name(self) -> str:
        return f"status={self.status}" if self.kind == "status" else self.kind


@dataclass(frozen=True, slots=True)
class FaultRule:
    """A fault that occurs by chance, by count, or during a period. All given conditions must hold."""

    fault: Fault
    probability: float = 1.0
    every: int = 1
    """Occurs on every Nth request that meets the other conditions."""
    since: float = 0.0
    """Seconds since the simulator's start."""
    until: float = math.inf
    models: tuple[str, ...] = ()
    """Only these models; empty for all."""

    def concerns(self, model: str, elapsed: float) -> bool:
        return self.since <= elapsed < self.until and (not self.models or model in self.models)


@dataclass(frozen=True, slots=True)
class Wish:
    """A request's own instructions to the simulator about its reply."""

    fault: Fault | None = None
    tokens: int | None = None
    """Exact number of output tokens."""
    ttft: float | None = None
    """Seconds to the first token."""
    gap: float | None = None
    """Seconds between tokens."""


NO_WISH: Final = Wish()


def parse_wish(text: str) -> Wish:
    """Parse `status=500`, `cut; after=3`, `tokens=50; ttft=0.2; gap=0.01`: separated by ";" or "&". Raises BadFault."""
    kind: str | None = None
    fault: dict[str, float | int] = {}
    wish: dict[str, float | int] = {}
    for part in text.replace("&", ";").split(";"):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name == "status":
            kind = kind or name
            fault["status"] = _number(name, value, int)
        elif name in KINDS:
            kind = name
        elif name in FAULT_FIELDS:
            fault[name] = _number(name, value, FAULT_FIELDS[name])
        elif name in WISH_FIELDS:
            wish[name] = _number(name, value, WISH_FIELDS[name])
        elif name:
            raise BadFault(f"x-simulate: {name!r} is not known; use one of {', '.join((*KINDS, *FAULT_FIELDS, *WISH_FIELDS))}")
    if kind is None and fault:
        raise BadFault(f"x-simulate: {', '.join(fault)} without a fault; name one of {', '.join(KINDS)}")
    return Wish(None if kind is None else make_fault(kind, **fault), **wish)  # type: ignore[arg-type]


FAULT_FIELDS: Final = {"after": int, "factor": float, "bytes": int, "retry_after": float}
WISH_FIELDS: Final = {"tokens": int, "ttft": float, "gap": float}


def make_fault(kind: str, **values: float | int | None) -> Fault:
    """A fault with the defaults of its kind. Raises BadFault that names the field."""
    if kind not in KINDS:
        raise BadFault(f"fault kind {kind!r} is not known; use one of {', '.join(KINDS)}")
    unknown = values.keys() - {field.name for field in fields(Fault)}
    if unknown:
        raise BadFault(f"fault {kind}: {', '.join(sorted(unknown))} is not known")
    status = values.setdefault("status", DEFAULT_STATUS.get(kind, 500))
    if status is None or not 400 <= status <= 599:
        raise BadFault(f"fault {kind}: status must be from 400 to 599, not {status}")
    for name in ("after", "bytes", "factor"):
        value = values.get(name, 1)
        if value is None or value < 0:
            raise BadFault(f"fault {kind}: {name} must not be negative")
    return Fault(kind, **values)  # type: ignore[arg-type]


def _number(name: str, text: str, kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        raise BadFault(f"x-simulate: {name} must be {'an integer' if kind is int else 'a number'}, not {text[:20]!r}") from None
    if not 0 <= value < math.inf:
        raise BadFault(f"x-simulate: {name} must be zero or more, not {text[:20]!r}")
    return value


class FaultBook:
    """The fault rules of one provider, with their counts."""

    def __init__(self, rules: Sequence[FaultRule] = ()) -> None:
        self.rules = list(rules)
        self._turns = [0] * len(self.rules)
        self.dead: Fault | None = None
        """The fault for every request while the provider is dead."""

    def strike(self, model: str, elapsed: float, chance: random.Random) -> Fault | None:
        """The fault for this request: that of the first rule whose conditions hold. `chance` draws the probabilities."""
        if self.dead is not None:
            return self.dead
        for index, rule in enumerate(self.rules):
            if rule.concerns(model, elapsed) and (rule.probability >= 1 or chance.random() < rule.probability):
                self._turns[index] += 1
                if self._turns[index] % rule.every == 0:
                    return rule.fault
        return None

    def replace(self, rules: Sequence[FaultRule]) -> None:
        self.rules = list(rules)
        self._turns = [0] * len(self.rules)
