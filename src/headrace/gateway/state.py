"""Persistent state as the application sees it: keys, the ledger, and the admin API for both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from headrace.gateway.callers import Caller, Keys
from headrace.gateway.default_terms import DefaultTerms
from headrace.gateway.records import Ledger
from headrace.gateway.requests import IncomingRequest
from headrace.gateway.stored_objects import StoredObjects


class Desired(Struct, frozen=True):
    """One route of the admin API."""

    path: str
    methods: tuple[str, ...]
    what: str
    words: Mapping[str, Any]
    """JSON schemas of the body's fields; empty if there is no body."""


class AdminRoutes(Protocol):
    """The admin API."""

    def serves(self, path: str) -> bool:
        """Whether a path belongs to the admin API."""
        ...

    def described(self) -> Iterable[Desired]:
        """All its routes."""
        ...

    async def answer(self, asked: IncomingRequest, caller: Caller, content: bytes) -> Any:
        """The response as JSON. Raises refusals."""
        ...


class State(Protocol):
    """Opened before the first call and closed after the last."""

    @property
    def keys(self) -> Keys: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def admin(self) -> AdminRoutes: ...
    @property
    def stored_objects(self) -> StoredObjects: ...
    async def start(self) -> None: ...
    async def use(self, standing: DefaultTerms) -> None:
        """Apply the terms of a reloaded configuration."""
        ...

    async def stop(self) -> None: ...
