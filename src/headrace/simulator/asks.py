"""Requests to a simulated provider and its responses, independent of dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

Finish = Literal["stop", "length", "tool_calls"]


class Tool(Struct, frozen=True):
    """A function the caller offers. `schema`: JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]
    strict: bool = False


class Chat(Struct, frozen=True):
    """A validated request for text. `legacy`: it has a prompt instead of messages."""

    model: str
    text: str
    """All text of the prompt."""
    last: str
    """The user's last message; empty after a tool result."""
    prompt_tokens: int
    max_tokens: int | None = None
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """None: responses differ between calls."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """auto, none, required, or =NAME."""
    parallel_tools: bool = True
    schema: Mapping[str, Any] | None = None
    """Schema of the response's JSON; {} for any object."""
    logprobs: int | None = None
    """Alternatives to report per token; None for no logprobs."""
    reasoning: bool = False
    legacy: bool = False
    echo: bool = False
    cached_tokens: int = 0


class Embed(Struct, frozen=True):
    """A request for embeddings of texts or of lists of token ids."""

    model: str
    inputs: Sequence[str | Sequence[int]]
    prompt_tokens: int
    dimensions: int | None = None
    base64: bool = False


class Models(Struct, frozen=True):
    """A request to list models; `only` asks for one of them."""

    only: str | None = None


class Other(Struct, frozen=True):
    """A request for anything but text and embeddings: its kind (`others.PLACES`) and its body."""

    model: str
    kind: str
    said: Mapping[str, Any]
    prompt_tokens: int


Ask = Chat | Embed | Models | Other
Limited = Chat | Embed | Other
"""Requests that count against a model's limits."""


class Call(Struct, frozen=True):
    """A tool call. `pieces`: the JSON of its arguments, token by token."""

    id: str
    name: str
    pieces: Sequence[str]

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class Choice(Struct, frozen=True):
    """One choice. Every piece is one output token; a tool call costs one more for its name."""

    pieces: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish: Finish = "stop"
    reasoning: Sequence[str] = ()
    text: str = ""

    @property
    def tokens(self) -> int:
        return len(self.pieces) + len(self.reasoning) + sum(1 + len(call.pieces) for call in self.calls)


class Answer(Struct, frozen=True):
    choices: Sequence[Choice]
    prompt_tokens: int
    cached_tokens: int = 0

    @property
    def output_tokens(self) -> int:
        return sum(choice.tokens for choice in self.choices)

    @property
    def reasoning_tokens(self) -> int:
        return sum(len(choice.reasoning) for choice in self.choices)


class Rejected(Exception):
    """A request that the provider refuses. `headers`: name-value pairs of the response."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = headers
