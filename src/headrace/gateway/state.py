"""Persistent state as the application sees it: keys, the ledger, and the admin API for both."""

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
    """One route of the admin API."""

    path: str
    methods: tuple[str, ...]
    what: str
    words: Mapping[str, Any]
    """JSON schemas of the body's fields; empty if there is no body."""


class Desk(Protocol):
    """The admin API."""

    def serves(self, path: str) -> bool:
        """Whether a path belongs to the admin API."""
        ...

    def described(self) -> Iterable[Desired]:
        """All its routes."""
        ...

    async def answer(self, asked: Asked, caller: Caller, content: bytes) -> Any:
        """The response as JSON. Raises refusals."""
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
        """Apply the terms of a reloaded configuration."""
        ...

    async def stop(self) -> None: ...
