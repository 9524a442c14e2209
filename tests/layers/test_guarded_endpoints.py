"""Every moment of a guardrail (before a call, beside it, after it) at every endpoint that texts go through, whole and streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.layers.test_guardrails import Echo, Judge

import headrace
from conftest import Colour
from headrace import handlers
from headrace.calls import CHAT
from headrace.layers import around
from headrace.layers.guardrails import Guardrails
from headrace.layers.pii import PII

MAIL = "anna.smith@example.org"

ASKED: dict[str, Callable[[str], dict[str, Any]]] = {
    "completion": lambda text: {"messages": [{"role": "user", "content": text}]},
    "responses": lambda text: {"input": text},
    "anthropic_messages": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 500},
    "embedding": lambda text: {"input": [text, "b"]},
    "text_completion": lambda text: {"prompt": text},
}
STREAMED = [name for name in ASKED if name != "embedding"]
EVERY = [(name, False) for name in ASKED] + [(name, True) for name in STREAMED]
SAYING = [(name, stream) for name, stream in EVERY if name != "embedding"]


class Model(Echo):
    """Says what it is told to, or what it hears; gives vectors as well."""

    def _said(self, call: Any) -> str:
        self.heard.append(str(call.prompt))
        self.answered += 1
        return self.says or self.heard[-1]

    def whole(self, call: Any, model: str, timeouts: Any) -> dict[str, Any]:
        if call.operation.name == "embeddings":
            self._said(call)
            return {"object": "list", "data": [{"object": "embedding", "index": at, "embedding": [0.5]} for at in range(2)]}
        if call.operation.name == CHAT.name:
            return super().whole(call, model, timeouts)
        return {"id": "x", "object": "text_completion", "choices": [{"index": 0, "text": self._said(call), "finish_reason": "stop"}]}

    def chunks(self, call: Any, model: str, timeouts: Any) -> Iterator[dict[str, Any]]:
        if call.operation.name == CHAT.name:
            yield from super().chunks(call, model, timeouts)
            return
        text = self._said(call)
        for at in range(0, len(text), self.size):
            yield {"id": "x", "choices": [{"index": 0, "text": text[at : at + self.size], "finish_reason": None}]}
        yield {"id": "x", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}


@pytest.fixture
def model() -> Iterator[Model]:
    before, around._layers = around._layers, ()
    made = Model()
    handlers.register("echo", made)
    yield made
    around._layers = before


def ask(colour: Colour, name: str, stream: bool, text: str, routed: bool) -> str:
    """The whole of what came, as JSON."""
    on: Any = headrace.Router([{"model_name": "g", "litellm_params": {"model": "echo/m"}}], num_retries=0) if routed else headrace
    given = {"model": "g" if routed else "echo/m", **ASKED[name](text), **({"stream": True} if stream else {})}

    async def whole() -> Any:
        answer = await getattr(on, f"a{name}")(**given)
        return [piece async for piece in answer] if stream else [answer]

    came = asyncio.run(whole()) if colour.is_async else getattr(on, name)(**given)
    pieces = came if colour.is_async or stream else [came]
    return json.dumps([piece.model_dump() for piece in pieces])


def guard(rule: Any) -> None:
    Guardrails([rule]).install()


@pytest.mark.parametrize("routed", [False, True], ids=["direct", "routed"])
@pytest.mark.parametrize(("name", "stream"), EVERY)
def test_before_what_is_masked_is_not_heard(model: Model, colour: Colour, name: str, stream: bool, routed: bool) -> None:
    guard(PII(where=["input"]))
    ask(colour, name, stream, f"I am {MAIL}", routed)
    (heard,) = model.heard
    assert MAIL not in heard
    assert "<EMAIL_ADDRESS>" in heard


@pytest.mark.parametrize(("name", "stream"), EVERY)
def test_before_what_is_blocked_is_never_sent(model: Model, colour: Colour, name: str, stream: bool) -> None:
    guard(PII(action="block", where=["input"]))
    with pytest.raises(headrace.ContentPolicyViolationError, match="refuses the input: EMAIL_ADDRESS"):
        ask(colour, name, stream, f"I am {MAIL}", routed=False)
    assert model.heard == []


@pytest.mark.parametrize("routed", [False, True], ids=["direct", "routed"])
@pytest.mark.parametrize(("name", "stream"), EVERY)
def test_beside_a_judge_refuses_the_answer_and_lets_others_be(model: Model, colour: Colour, name: str, stream: bool, routed: bool) -> None:
    guard(Judge(refuses=False))
    assert ask(colour, name, stream, "hello", routed)
    around._layers = ()
    guard(Judge(refuses=True))
    with pytest.raises(headrace.ContentPolicyViolationError, match="not that"):
        ask(colour, name, stream, "hello", routed)


@pytest.mark.parametrize("routed", [False, True], ids=["direct", "routed"])
@pytest.mark.parametrize(("name", "stream"), SAYING)
def test_after_what_is_masked_is_not_told(model: Model, colour: Colour, name: str, stream: bool, routed: bool) -> None:
    guard(PII(where=["output"]))
    model.says = f"{'word ' * 40}{MAIL} end"
    told = ask(colour, name, stream, "hello", routed)
    assert "anna" not in told
    assert "EMAIL_ADDRESS" in told


@pytest.mark.parametrize(("name", "stream"), SAYING)
def test_after_what_is_blocked_is_an_error_and_not_told(model: Model, colour: Colour, name: str, stream: bool) -> None:
    guard(PII(action="block", where=["output"]))
    model.says = f"{'word ' * 40}{MAIL} end"
    with pytest.raises(headrace.ContentPolicyViolationError, match="refuses the output: EMAIL_ADDRESS"):
        ask(colour, name, stream, "hello", routed=False)
