"""What a caller asks of a simulated provider and what its model answers, in no dialect."""

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
    """One request for text, read and found valid. `legacy`: asked by prompt, not by messages."""

    model: str
    text: str
    """All that the model reads."""
    last: str
    """What the user said last, empty after a tool result."""
    prompt_tokens: int
    max_tokens: int | None = None
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """None: answers differ from call to call."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """auto, none, required, or =NAME."""
    parallel_tools: bool = True
    schema: Mapping[str, Any] | None = None
    """What the answer's JSON must satisfy; {} for any object."""
    logprobs: int | None = None
    """Alternatives to report for each token, None for no logprobs at all."""
    reasoning: bool = False
    legacy: bool = False
    echo: bool = False
    cached_tokens: int = 0


class Embed(Struct, frozen=True):
    """One request for embeddings: texts, or token ids as they were given."""

    model: str
    inputs: Sequence[str | Sequence[int]]
    prompt_tokens: int
    dimensions: int | None = None
    base64: bool = False


class Models(Struct, frozen=True):
    """What models are there? `only`: the one asked for."""

    only: str | None = None


class Other(Struct, frozen=True):
    """A request for something else than texts and vectors: what it is (`others.PLACES`), and what was said."""

    model: str
    kind: str
    said: Mapping[str, Any]
    prompt_tokens: int


Ask = Chat | Embed | Models | Other
Limited = Chat | Embed | Other
"""What is asked of a model, and counts against its limits."""


class Call(Struct, frozen=True):
    """A tool call. `pieces`: the JSON of its arguments, token by token."""

    id: str
    name: str
    pieces: Sequence[str]

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class Choice(Struct, frozen=True):
    """One answer. Every piece is one output token; a tool call costs one more for its name."""

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
    """A request that the provider will not work on. `headers`: names and values that go with the refusal."""

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
