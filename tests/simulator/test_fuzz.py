"""Whatever a caller sends, a provider replies; it never breaks, and it never holds a slot for what it refused."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.simulator.engine import Incoming, Provider
from headrace.simulator.exchange import Exchange
from simulator.conftest import quick

CHAT: dict[str, Any] = {
    "model": "gpt-sim",
    "messages": [
        {"role": "system", "content": "Answer in json."},
        {"role": "user", "content": [{"type": "text", "text": "weather"}, {"type": "image_url", "image_url": {"url": "data:"}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        {"role": "user", "content": "and the weather tomorrow?"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "maxLength": 9, "format": "date"},
                        "days": {"type": "array", "items": {"type": "integer", "minimum": 1, "multipleOf": 2}, "minItems": 1},
                        "unit": {"enum": ["c", "f"]},
                        "where": {"anyOf": [{"$ref": "#/$defs/p"}, {"type": "null"}]},
                    },
                    "required": ["city", "unit", "where"],
                    "$defs": {"p": {"allOf": [{"properties": {"x": {"type": "number"}}, "required": ["x"]}]}},
                },
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": {"a": {}}}}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["x"],
    "n": 2,
    "seed": 1,
    "logprobs": True,
    "top_logprobs": 2,
    "temperature": 1,
    "max_tokens": 50,
}
EMBEDDING: dict[str, Any] = {"model": "embed-sim", "input": ["a", "b"], "dimensions": 4, "encoding_format": "float"}
TEXT: dict[str, Any] = {"model": "gpt-sim", "prompt": ["once"], "max_tokens": 4, "logprobs": 1, "echo": True, "stop": "x", "n": 1}

scalars = st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=False) | st.text(max_size=6)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=5
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside `value`."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def spend(exchange: Exchange) -> None:
    """Carry a reply out, however long it says it takes."""
    for _, _, tokens in exchange.pieces or ():
        exchange.produced(2.0, tokens)
    exchange.done(3.0)


@settings(max_examples=300)
@given(st.sampled_from([("chat/completions", CHAT), ("embeddings", EMBEDDING), ("completions", TEXT)]), st.data())
def test_any_part_of_a_request_may_be_anything(what: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    endpoint, body = what[0], copy.deepcopy(what[1])
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(body)))
        if data.draw(st.booleans()):
            container[key] = data.draw(anything)
        elif isinstance(container, dict):
            del container[key]
        if not body:
            break
    provider = Provider(quick())
    exchange = provider.handle(Incoming("POST", f"/v1/{endpoint}", {}, json.dumps(body).encode()), 1.0)
    assert exchange.status in (200, 400, 404)
    if exchange.status != 200:
        assert json.loads(exchange.body)["error"]["message"]
    spend(exchange)
    assert provider.stats.in_flight == 0
    assert all(enforcer.in_flight == 0 for enforcer in provider.quotas.values())


@given(st.binary(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_any_bytes_any_path_and_any_wish_are_answered(body: bytes, path: str, wish: str) -> None:
    provider = Provider(quick())
    for incoming in (
        Incoming("POST", "/v1/chat/completions", {}, body),
        Incoming("POST", f"/v1/{path}", {"authorization": path}, body),
        Incoming("POST", "/v1/embeddings", {"x-simulate": wish}, b'{"model":"embed-sim","input":"a"}'),
    ):
        exchange = provider.handle(incoming, 1.0)
        assert exchange.status in (200, 400, 404)
        spend(exchange)
    assert provider.stats.in_flight == 0
