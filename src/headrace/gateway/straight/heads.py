"""What the head of a request decides, found once: clients send the same head again and again, but for the body's length."""

from __future__ import annotations

import re
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from headrace.calls import Operation
from headrace.errors import HeadraceError
from headrace.gateway.callers import Caller, Keys
from headrace.gateway.fronts import Front, front_of
from headrace.gateway.guard import keys_of
from headrace.gateway.headers import patience_of, said_in
from headrace.gateway.requests import Asked, must_be_json
from headrace.gateway.routes import betas_of
from headrace.gateway.straight.bodies import WORDS, Words
from headrace.routing.straight import OPERATIONS
from headrace.served import MESSAGES

if TYPE_CHECKING:
    from headrace.gateway.straight.courses import Course

LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?(\d{1,9})\r\n")
MOST_DIGITS: Final = 9
MOST: Final = 512
"""Heads that are remembered; then all are forgotten."""

_FRAMING: Final = frozenset({"transfer-encoding", "expect", "upgrade", "content-encoding", "te", "trailer"})
"""Headers of requests that are not simply a body of some length."""


_QUERIES: Final = frozenset({("beta", "true")})
"""What Anthropic's clients ask with, and nobody here looks at."""


class Head(Struct, eq=False):
    """A head that was parsed once and let in."""

    asked: Asked
    operation: Operation
    words: Words
    betas: list[str]
    """Anthropic's, in whose words parts of the body may be."""
    front: Front
    key: str
    master: bool
    patience: float | None
    """Seconds that the client waits for an answer that is not streamed."""
    caller: Caller | None = None
    """Whoever had the key when `courses` were found."""
    courses: dict[tuple[str, bool], Course] = {}
    """By model, and whether it is streamed."""

    def __repr__(self) -> str:
        return f"<Head {self.asked.path} …{self.key[-4:]}>"

    def who(self, keys: Keys) -> Caller | None:
        """Who calls, as far as that is known; what was found for somebody else is forgotten."""
        caller = keys.remembered(self.key) or (keys.administrator() if self.master else None)
        if caller is not self.caller:
            self.caller, self.courses = caller, {}
        return caller


def read_head(asked: Asked, operation: Operation | None, master: str) -> Head | None:
    """None for a request that has to go the long way, whatever its body."""
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
