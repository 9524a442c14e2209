"""What outlives a process: keys, the ledger, and the desk that administers both. The application knows only this much of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from headrace.gateway.belongings import Belongings
from headrace.gateway.callers import Caller, Keys
from headrace.gateway.records import Ledger
from headrace.gateway.requests import Asked
from headrace.gateway.standing import Standing


class Desired(Struct, frozen=True):
    """One thing that may be asked at the desk, and in which words."""

    path: str
    methods: tuple[str, ...]
    what: str
    words: Mapping[str, Any]
    """JSON schemas of the body's fields; empty where the address says it all."""


class Desk(Protocol):
    """Answers what administrators ask."""

    def serves(self, path: str) -> bool:
        """Whether a path is the desk's to answer."""
        ...

    def described(self) -> Iterable[Desired]:
        """What may be asked."""
        ...

    async def answer(self, asked: Asked, caller: Caller, content: bytes) -> Any:
        """JSON. Raises refusals."""
        ...


class State(Protocol):
    """Opened before the first call and closed after the last."""

    @property
    def keys(self) -> Keys: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def desk(self) -> Desk: ...
    @property
    def belongings(self) -> Belongings: ...
    async def start(self) -> None: ...
    async def use(self, standing: Standing) -> None:
        """Other terms of a configuration are in force."""
        ...

    async def stop(self) -> None: ...
