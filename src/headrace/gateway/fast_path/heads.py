"""Request heads of the fast path, parsed once: a client repeats the same head except for its `content-length`."""

from __future__ import annotations

import re
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from headrace.calls import Operation
from headrace.errors import HeadraceError
from headrace.gateway.callers import Caller, Keys
from headrace.gateway.client_apis import ClientApi, front_of
from headrace.gateway.fast_path.bodies import WORDS, Words
from headrace.gateway.guard import keys_of
from headrace.gateway.headers import patience_of, said_in
from headrace.gateway.requests import IncomingRequest, must_be_json
from headrace.gateway.routes import betas_of
from headrace.routing.fast_path import OPERATIONS
from headrace.served import MESSAGES

if TYPE_CHECKING:
    from headrace.gateway.fast_path.prepared import Route

LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?(\d{1,9})\r\n")
MOST_DIGITS: Final = 9
MOST: Final = 512
"""Heads that are cached; beyond that the cache is emptied."""

_FRAMING: Final = frozenset({"transfer-encoding", "expect", "upgrade", "content-encoding", "te", "trailer"})
"""Headers of requests whose body is not simply `content-length` bytes."""


_QUERIES: Final = frozenset({("beta", "true")})
"""Query parameters that Anthropic's clients send and the gateway ignores."""


class Head(Struct, eq=False):
    """A request head that was parsed and accepted once."""

    asked: IncomingRequest
    operation: Operation
    words: Words
    betas: list[str]
    """Anthropic's beta names, which decide the format of parts of the body."""
    front: ClientApi
    key: str
    master: bool
    patience: float | None
    """Seconds that the client waits for a response that is not streamed."""
    caller: Caller | None = None
    """The caller to whom the key belonged when `routes` were found."""
    routes: dict[tuple[str, bool], Route] = {}
    """By model and whether the call is streamed."""

    def __repr__(self) -> str:
        return f"<Head {self.asked.path} …{self.key[-4:]}>"

    def who(self, keys: Keys) -> Caller | None:
        """The caller, or None if it is not in the cache. A change of caller drops the cached routes."""
        caller = keys.remembered(self.key) or (keys.administrator() if self.master else None)
        if caller is not self.caller:
            self.caller, self.routes = caller, {}
        return caller


def read_head(asked: IncomingRequest, operation: Operation | None, master: str) -> Head | None:
    """The head for the fast path, or None if its requests must take the slow path whatever their body."""
    headers = asked.headers
    shown = keys_of(asked)
    if (
        operation not in OPERATIONS
        or not asked.query.items() <= _QUERIES
        or len(shown) != 1
        or not _FRAMING.isdisjoint(headers)
        or said_in(headers)
        or "origin" in headers
    ):
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    try:
        must_be_json(headers)
    except HeadraceError:
        return None
    mastered = bool(master) and compare_digest(shown[0].encode(), master.encode())
    betas = betas_of(headers) if operation is MESSAGES else []
    return Head(asked, operation, WORDS[operation.name], betas, front_of(asked), shown[0], mastered, patience_of(headers))
